// What a pointer does to the document: each tool from press to release. Points are in the picture's pixels.

import { Stroke } from "./stroke.js";
import { rgb } from "./settings.js";
import { flood } from "./flood.js";

const LIGHTEST = 0.15; // of the brush's size, for the lightest touch of a pen

export class Tools {
  // say(sentence) shows the person a message; toStage(x, y) is the camera's.
  constructor(document, view, settings, say) {
    this.document = document;
    this.view = view;
    this.settings = settings;
    this.say = say;
    this.stroke = null;
    /** @type {(path: string) => void} draws a shape's outline */
    this.onGuide = () => {};
    this.points = []; // of the shape being drawn
    document.settle = () => this.up();
  }

  get layerName() {
    return this.document.painted === this.document.sketch ? "sketch" : "mask";
  }

  get isBusy() {
    return this.stroke !== null || this.points.length > 0;
  }

  ink(erase) {
    const { settings } = this;
    const hardness = settings.hardness;
    if (this.layerName === "mask") return { value: erase ? 0 : Math.round(settings.strength * 255), hardness };
    return { color: rgb(settings.color), opacity: settings.opacity, erase, hardness };
  }

  // point: {x, y, pressure, isPen, alt, shift, isEraser}.
  down(point) {
    const tool = point.isEraser ? "eraser" : this.settings.tool;
    if (!this.document.painted || !this.document.picture || tool === "hand") return;
    if (tool === "picker") return this.pick(point);
    if (tool === "wand") return this.fill(point);
    if (tool === "brush" || tool === "eraser") {
      this.stroke = new Stroke(this.document.painted, this.ink(tool === "eraser"));
      this.move([point]);
    } else {
      this.shape = tool;
      this.points = [point];
    }
  }

  move(points) {
    if (this.stroke) {
      for (const point of points) {
        const box = this.stroke.to({ x: point.x, y: point.y, r: this.radius(point) });
        if (box) this.document.notify(this.layerName, box);
      }
    } else if (this.points.length) {
      if (this.shape === "lasso") this.points.push(...points);
      else this.points = [this.points[0], fitting(this.shape, this.points[0], points.at(-1))];
      this.guide();
    }
  }

  radius(point) {
    const share = point.isPen && this.settings.pressure ? LIGHTEST + (1 - LIGHTEST) * point.pressure : 1;
    return (this.settings.size / 2) * share;
  }

  up() {
    if (this.stroke) {
      const { stroke } = this;
      this.stroke = null;
      this.document.finish(this.layerName, stroke.end());
    } else if (this.points.length) this.drawShape();
  }

  drawShape() {
    const [points, first, last] = [this.points, this.points[0], this.points.at(-1)];
    this.points = [];
    this.guide();
    if (points.length < 2) return;
    const stroke = new Stroke(this.document.painted, this.ink(first.alt));
    if (this.shape === "lasso") stroke.polygon(points);
    else if (this.shape === "ellipse") stroke.ellipse(first, last);
    else if (this.shape === "rectangle")
      stroke.polygon([first, { x: last.x, y: first.y }, last, { x: first.x, y: last.y }]);
    else if (this.shape === "line")
      for (const point of [first, last]) stroke.to({ ...point, r: this.settings.size / 2 });
    this.document.finish(this.layerName, stroke.end());
  }

  // Undoes everything since the pointer came down.
  cancel() {
    this.stroke?.cancel();
    if (this.stroke) this.document.notify(this.layerName);
    this.stroke = null;
    this.points = [];
    this.guide();
  }

  fill(point) {
    const [x, y] = [Math.floor(point.x), Math.floor(point.y)];
    if (!this.view.bitmap.whole || x < 0 || y < 0 || x >= this.document.width || y >= this.document.height) return;
    const stroke = new Stroke(this.document.painted, this.ink(point.alt));
    flood(this.view.bitmap, this.document, x, y, this.settings.tolerance, (row, x0, x1) => stroke.row(row, x0, x1));
    this.document.finish(this.layerName, stroke.end());
  }

  pick(point) {
    const [x, y] = [Math.floor(point.x), Math.floor(point.y)];
    if (!this.view.bitmap.whole || x < 0 || y < 0 || x >= this.document.width || y >= this.document.height) return;
    const under = this.view.bitmap.pixels({ left: x, top: y, right: x + 1, bottom: y + 1 });
    const over = this.document.sketch.at(x, y);
    const alpha = over[3] / 255;
    const color = [0, 1, 2].map((channel) => Math.round(over[channel] * alpha + under[channel] * (1 - alpha)));
    this.settings.set({
      color: "#" + color.map((value) => value.toString(16).padStart(2, "0")).join(""),
      tool: "brush",
    });
  }

  // The outline of the shape being drawn, in the stage's coordinates.
  guide() {
    const at = this.points.map(({ x, y }) => this.view.camera.toStage(x, y));
    const [first, last] = [at[0], at.at(-1)];
    let path = "";
    if (at.length > 1) {
      if (this.shape === "rectangle") path = `M${first.x} ${first.y}H${last.x}V${last.y}H${first.x}Z`;
      else if (this.shape === "ellipse") {
        const [rx, ry] = [Math.abs(last.x - first.x) / 2, Math.abs(last.y - first.y) / 2];
        path =
          `M${Math.min(first.x, last.x)} ${(first.y + last.y) / 2}` +
          `a${rx} ${ry} 0 1 0 ${2 * rx} 0a${rx} ${ry} 0 1 0 ${-2 * rx} 0`;
      } else path = "M" + at.map(({ x, y }) => `${x} ${y}`).join("L") + (this.shape === "lasso" ? "Z" : "");
    }
    this.onGuide?.(path);
  }
}

// The second corner; with Shift it makes a square, or a line at a multiple of 45°.
function fitting(shape, first, last) {
  if (!last.shift) return last;
  const [dx, dy] = [last.x - first.x, last.y - first.y];
  if (shape === "line") {
    const angle = (Math.round(Math.atan2(dy, dx) / (Math.PI / 4)) * Math.PI) / 4;
    const length = Math.hypot(dx, dy);
    return { ...last, x: first.x + length * Math.cos(angle), y: first.y + length * Math.sin(angle) };
  }
  const side = Math.max(Math.abs(dx), Math.abs(dy));
  return { ...last, x: first.x + side * Math.sign(dx || 1), y: first.y + side * Math.sign(dy || 1) };
}
