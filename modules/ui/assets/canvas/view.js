// The stage: source below, mask and sketch above it, guides on top. Only changed parts are redrawn, once per frame.

import { h } from "../js/core/dom.js";
import { Bitmap } from "./bitmap.js";
import { boxOf, clipped, isVoid, union } from "./boxes.js";
import { Camera } from "./camera.js";
import { Overlay } from "./overlay.js";

const ROOM = 0.18; // margin around a frame, as a fraction of its longer side

export class View {
  constructor(document, tint) {
    this.document = document;
    this.tint = tint;
    this.camera = new Camera();
    this.bitmap = new Bitmap();
    this.overlay = new Overlay(document);
    this.below = h("canvas", { className: "canvas-source", "aria-hidden": "true" });
    this.above = h("canvas", { className: "canvas-layers", "aria-hidden": "true" });
    this.guides = globalThis.document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.guides.setAttribute("class", "canvas-guides");
    this.element = h(
      "div",
      { className: "canvas-stage", tabindex: "0", role: "application", "aria-label": "Picture with mask" },
      this.below,
      this.above,
      this.guides,
    );
    this.under = this.below.getContext("2d", { alpha: true });
    this.over = this.above.getContext("2d", { alpha: true });
    this.stale = null; // box of the screen's pixels to redraw
    this.isSourceStale = true;
    this.frame = 0;
    this.hidesSketch = false;
    this.camera.onChange(() => {
      const { scale, x, y } = this.camera;
      this.element.dataset.camera = JSON.stringify({ scale, x, y }); // for scripts that control the page
      this.redraw();
    });
    document.onChange((what, box) => {
      if (what === "picture") this.fit();
      else if (what === "mask" || what === "sketch") this.changed(box);
      else if (what === "mode") this.changed(null);
    });
    new ResizeObserver(() => this.measure()).observe(this.element);
  }

  // Adds an element to the guides.
  svg(name, attributes) {
    const element = globalThis.document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    this.guides.append(element);
    return element;
  }

  get content() {
    const { width, height, frame } = this.document;
    return frame ? union(boxOf(0, 0, width, height), frame) : boxOf(0, 0, width, height);
  }

  // The box fitted to the stage: with a frame there is room around it for dragging it outward.
  get fitted() {
    const { left, top, right, bottom } = this.content;
    const room = this.document.frame ? Math.max(right - left, bottom - top) * ROOM : 0;
    return boxOf(left - room, top - room, right + room, bottom + room);
  }

  // From the picture's pixels to the screen's.
  get screen() {
    const { scale, x, y, ratio } = this.camera;
    return { scale: scale * ratio, x: x * ratio, y: y * ratio };
  }

  measure() {
    const box = this.element.getBoundingClientRect();
    if (!box.width || !box.height) return; // on a tab that is not open
    const ratio = globalThis.devicePixelRatio || 1;
    const [width, height] = [this.element.clientWidth, this.element.clientHeight];
    for (const canvas of [this.below, this.above]) {
      const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
    }
    this.camera.resize(width, height, ratio, this.fitted);
  }

  async show(picture) {
    this.redraw();
    await this.bitmap.load(picture);
    this.redraw();
  }

  fit() {
    this.measure();
    this.camera.fit(this.fitted);
  }

  redraw() {
    this.isSourceStale = true;
    this.changed(null);
  }

  // box of the picture's pixels that look different now; null for all.
  changed(box) {
    const { scale, x, y } = this.screen;
    const all = boxOf(0, 0, this.above.width, this.above.height);
    const line = this.line + 1;
    const region = box
      ? clipped(
          boxOf(
            box.left * scale + x - line,
            box.top * scale + y - line,
            box.right * scale + x + line,
            box.bottom * scale + y + line,
          ),
          all.right,
          all.bottom,
        )
      : all;
    if (!isVoid(region)) this.stale = union(this.stale, region);
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  get line() {
    return Math.max(1, Math.round(this.camera.ratio));
  }

  draw() {
    this.frame = 0;
    if (this.isSourceStale) this.drawSource();
    const box = this.stale;
    this.stale = null;
    if (!isVoid(box)) {
      const image = this.overlay.paint(
        box,
        this.screen,
        { ...this.tint(), line: this.line },
        !this.hidesSketch &&
          this.document.mode !== "img2img" &&
          this.document.mode !== "inpaint" &&
          this.document.mode !== "inpaint_upload",
      );
      this.over.putImageData(image, box.left, box.top);
    }
    this.element.dataset.drawn = String(performance.now()); // for measurements
  }

  drawSource() {
    this.isSourceStale = false;
    const { under, below, document } = this;
    under.setTransform(1, 0, 0, 1, 0, 0);
    under.clearRect(0, 0, below.width, below.height);
    if (!document.picture) return;
    this.bitmap.draw(under, this.screen, document);
  }
}
