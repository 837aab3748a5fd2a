// The frame around the picture. Dragged outward, it adds an area for the model to paint (outpainting); dragged inward,
// it is a crop.

import { button, h } from "../js/core/dom.js";
import { toast } from "../js/core/toast.js";

const STEP = 8; // pixels; the model works in cells of this size
const MOST = 4096; // pixels that can be added on one side
const NEAR = { mouse: 9, pen: 12, touch: 22 }; // CSS pixels from an edge within which it can be grabbed
const LEAST = 16; // pixels of a crop
const FILLS = ["stretched edges", "blur", "noise shaped like the picture"];

export class Frame {
  // canvas: {document, view, settings, crop(box)}.
  constructor(canvas) {
    this.canvas = canvas;
    this.dragged = null; // {sides, start, frame}
    const { settings } = canvas;
    this.size = h("span", { className: "canvas-frame-size", id: "canvas_frame_size" });
    this.lock = h("input", { type: "checkbox", id: "canvas_frame_lock" });
    this.fill = h(
      "select",
      {
        id: "canvas_frame_fill",
        "aria-label": "What the new area contains at the start",
        onchange: () => settings.set({ outpaintFill: Number(this.fill.value) }),
      },
      ...FILLS.map((name, index) => h("option", { value: String(index), textContent: name })),
    );
    const [widest, feather] = [512, "Width in pixels of the blend from the old edge into the new area"];
    this.feather = h("input", {
      type: "number",
      id: "canvas_frame_feather",
      min: "0",
      max: String(widest),
      "aria-label": "Feather",
      onchange: () =>
        settings.set({ outpaintFeather: Math.min(widest, Math.max(0, Math.round(Number(this.feather.value)) || 0)) }),
    });
    this.fillBox = h(
      "span",
      { className: "canvas-frame-new" },
      h("label", { className: "canvas-check" }, "Fill ", this.fill),
      h("label", { className: "canvas-number", title: feather }, "Feather ", this.feather, " px"),
    );
    this.cropButton = button({
      text: "Crop",
      id: "canvas_crop",
      className: "p-small p-strong",
      onclick: () => canvas.crop(this.inner),
    });
    this.element = h(
      "div",
      { className: "canvas-frame", id: "canvas_frame_panel", hidden: true },
      this.size,
      this.fillBox,
      h("label", { className: "canvas-check" }, this.lock, "Keep proportions"),
      this.cropButton,
      button({ text: "Remove frame", id: "canvas_frame_off", className: "p-small", onclick: () => this.remove() }),
    );
    this.lines = ["dark", "light"].map((kind) => canvas.view.svg("path", { class: `${kind} frame`, d: "" }));
    canvas.document.onChange((what) => ["frame", "picture", "mode"].includes(what) && this.refresh());
    canvas.view.camera.onChange(() => this.draw());
    settings.onChange(() => this.showSettings());
    this.showSettings();
    this.refresh();
  }

  showSettings() {
    this.fill.value = String(this.canvas.settings.outpaintFill);
    this.feather.value = String(this.canvas.settings.outpaintFeather);
  }

  get box() {
    return this.canvas.document.frame;
  }

  toggle() {
    const { document } = this.canvas;
    if (!document.picture) return;
    if (this.box) return this.remove();
    document.setFrame({ left: 0, top: 0, right: document.width, bottom: document.height });
    this.canvas.view.fit();
  }

  // A removed frame can be brought back as long as there is no other and the picture is the same.
  remove() {
    const { document } = this.canvas;
    const { box } = this;
    const { picture } = document;
    const isDrawn = this.paintsOn || this.isCrop;
    document.setFrame(null);
    if (isDrawn)
      toast("Frame removed.", {
        action: { text: "Undo", run: () => document.picture === picture && !this.box && document.setFrame(box) },
      });
  }

  // An initial frame: an eighth of the picture more on each side. A crop stays as it is.
  drawOut() {
    if (!this.canvas.document.picture || this.paintsOn || (this.box && this.isCrop)) return;
    const { width, height } = this.canvas.document;
    const eighth = (side) => Math.max(1, Math.round(side / 8 / STEP)) * STEP;
    this.setMargins({ left: eighth(width), right: eighth(width), top: eighth(height), bottom: eighth(height) });
  }

  // Pixels beyond the picture on each side.
  get margins() {
    const { document } = this.canvas;
    const { box } = this;
    if (!box) return { left: 0, top: 0, right: 0, bottom: 0 };
    return {
      left: Math.max(0, -box.left),
      top: Math.max(0, -box.top),
      right: Math.max(0, box.right - document.width),
      bottom: Math.max(0, box.bottom - document.height),
    };
  }

  // Sets the pixels to add on each side of the current picture; without any, the frame is removed.
  setMargins({ left, top, right, bottom }) {
    const { document, view } = this.canvas;
    document.setFrame(
      left || top || right || bottom
        ? { left: -left, top: -top, right: document.width + right, bottom: document.height + bottom }
        : null,
    );
    view.fit();
  }

  // The part of the picture inside the frame.
  get inner() {
    const { width, height } = this.canvas.document;
    const { left, top, right, bottom } = this.box;
    return {
      left: Math.max(0, left),
      top: Math.max(0, top),
      right: Math.min(width, right),
      bottom: Math.min(height, bottom),
    };
  }

  get isCrop() {
    const { width, height } = this.canvas.document;
    const { left, top, right, bottom } = this.box;
    return left > 0 || top > 0 || right < width || bottom < height;
  }

  get paintsOn() {
    return Object.values(this.margins).some((pixels) => pixels > 0);
  }

  // The request's fields; none if nothing is added.
  fields() {
    const { left, top, right, bottom } = this.margins;
    if (!this.paintsOn) return {};
    return {
      outpaint_left: left,
      outpaint_right: right,
      outpaint_top: top,
      outpaint_bottom: bottom,
      outpaint_fill: this.canvas.settings.outpaintFill,
      outpaint_feather: this.canvas.settings.outpaintFeather,
    };
  }

  refresh() {
    const { box } = this;
    this.element.hidden = !box;
    this.canvas.view.element.classList.toggle("framed", Boolean(box)); // a finger drags the frame, not the page
    this.draw();
    if (!box) return;
    const { width, height } = this.canvas.document;
    const { left, top, right, bottom } = this.margins;
    const grows = this.paintsOn;
    const [across, down] = [box.right - box.left, box.bottom - box.top];
    this.size.textContent = grows
      ? `${width} × ${height} → ${width + left + right} × ${height + top + bottom}`
      : this.isCrop
        ? `Crop to ${across} × ${down}`
        : "Drag an edge outward to extend the picture, inward to crop it.";
    this.size.title = grows ? "The result has this size. Width and Height are ignored, except with Only masked." : "";
    this.fillBox.hidden = !grows;
    this.cropButton.hidden = !this.isCrop;
  }

  draw() {
    const { box } = this;
    let path = "";
    if (box) {
      const [a, b] = [
        this.canvas.view.camera.toStage(box.left, box.top),
        this.canvas.view.camera.toStage(box.right, box.bottom),
      ];
      const [cx, cy] = [(a.x + b.x) / 2, (a.y + b.y) / 2];
      path = `M${a.x} ${a.y}H${b.x}V${b.y}H${a.x}Z`;
      for (const [x, y] of [
        [a.x, a.y],
        [cx, a.y],
        [b.x, a.y],
        [a.x, cy],
        [b.x, cy],
        [a.x, b.y],
        [cx, b.y],
        [b.x, b.y],
      ])
        path += `M${x - 4} ${y - 4}h8v8h-8z`;
    }
    for (const line of this.lines) line.setAttribute("d", path);
  }

  // The sides within reach of a point on the stage, for a mouse, pen or finger: {left, right, top, bottom} or null.
  hit({ x, y }, pointerType) {
    if (!this.box) return null;
    const near = NEAR[pointerType] ?? NEAR.mouse;
    const [a, b] = [
      this.canvas.view.camera.toStage(this.box.left, this.box.top),
      this.canvas.view.camera.toStage(this.box.right, this.box.bottom),
    ];
    const within = x > a.x - near && x < b.x + near && y > a.y - near && y < b.y + near;
    const sides = {
      left: Math.abs(x - a.x) < near,
      right: Math.abs(x - b.x) < near,
      top: Math.abs(y - a.y) < near,
      bottom: Math.abs(y - b.y) < near,
    };
    return within && Object.values(sides).some(Boolean) ? sides : null;
  }

  cursor(sides) {
    if (!sides) return "";
    if ((sides.left && sides.top) || (sides.right && sides.bottom)) return "nwse-resize";
    if ((sides.right && sides.top) || (sides.left && sides.bottom)) return "nesw-resize";
    return sides.left || sides.right ? "ew-resize" : "ns-resize";
  }

  begin(sides, point) {
    this.dragged = { sides, start: point, frame: { ...this.box } };
  }

  move(point) {
    const { sides, start, frame } = this.dragged;
    const { width, height } = this.canvas.document;
    const [dx, dy] = [point.x - start.x, point.y - start.y];
    const next = { ...frame };
    if (sides.left) next.left = Math.min(frame.left + dx, frame.right - LEAST);
    else if (sides.right) next.right = Math.max(frame.right + dx, frame.left + LEAST);
    if (sides.top) next.top = Math.min(frame.top + dy, frame.bottom - LEAST);
    else if (sides.bottom) next.bottom = Math.max(frame.bottom + dy, frame.top + LEAST);
    if (this.lock.checked) keepProportions(next, frame, sides);
    const margin = (value) => Math.min(MOST, Math.round(value / STEP) * STEP);
    this.canvas.document.setFrame({
      left: next.left < 0 ? -margin(-next.left) : Math.round(next.left),
      top: next.top < 0 ? -margin(-next.top) : Math.round(next.top),
      right: next.right > width ? width + margin(next.right - width) : Math.round(next.right),
      bottom: next.bottom > height ? height + margin(next.bottom - height) : Math.round(next.bottom),
    });
  }

  end() {
    this.dragged = null;
    const { camera } = this.canvas.view;
    const [a, b] = [camera.toStage(this.box.left, this.box.top), camera.toStage(this.box.right, this.box.bottom)];
    if (a.x < 0 || a.y < 0 || b.x > camera.width || b.y > camera.height) this.canvas.view.fit();
  }
}

// Gives `box` the proportions of `from`: sides that were not dragged follow symmetrically; at a corner, the dragged top
// or bottom follows the width.
function keepProportions(box, from, sides) {
  const ratio = (from.right - from.left) / (from.bottom - from.top);
  if (sides.left || sides.right) {
    const height = (box.right - box.left) / ratio;
    if (sides.top) box.top = box.bottom - height;
    else if (sides.bottom) box.bottom = box.top + height;
    else [box.top, box.bottom] = [(from.top + from.bottom - height) / 2, (from.top + from.bottom + height) / 2];
  } else {
    const width = (box.bottom - box.top) * ratio;
    [box.left, box.right] = [(from.left + from.right - width) / 2, (from.left + from.right + width) / 2];
  }
}
