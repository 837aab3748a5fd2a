// The tools' settings; remembered in this browser.

import { read, write } from "../js/core/store.js";

export const TOOLS = {
  brush: { icon: "brush", title: "Brush (B)", key: "b" },
  eraser: { icon: "eraser", title: "Eraser (E)", key: "e" },
  line: { icon: "line", title: "Line (L): Shift for 45° steps", key: "l" },
  lasso: { icon: "lasso", title: "Lasso (A): Alt subtracts", key: "a" },
  rectangle: { icon: "rectangle", title: "Rectangle (M): Shift for a square, Alt subtracts", key: "m" },
  ellipse: { icon: "ellipse", title: "Ellipse (O): Shift for a circle, Alt subtracts", key: "o" },
  wand: { icon: "wand", title: "Magic wand (G): selects an area of similar color; Alt subtracts", key: "g" },
  picker: { icon: "picker", title: "Eyedropper (I): pick a color from the picture", key: "i", layer: "sketch" },
  hand: { icon: "hand", title: "Pan (H), or hold Space or F", key: "h" },
};

const FIRST = {
  tool: "brush",
  size: 64,
  hardness: 1,
  strength: 1,
  opacity: 1,
  tolerance: 24,
  color: "#c8402f",
  tint: "#e6284f",
  cover: 0.5,
  pressure: true,
  outpaintFill: 0,
  outpaintFeather: 32,
};
export const SMALLEST = 1; // pixels in diameter
export const LARGEST = 2048;

export class BrushSettings {
  constructor() {
    const kept = { ...FIRST, ...read("canvas.brush", {}) };
    this.tool = kept.tool;
    this.size = kept.size;
    this.hardness = kept.hardness;
    this.strength = kept.strength;
    this.opacity = kept.opacity;
    this.tolerance = kept.tolerance;
    this.color = kept.color;
    this.tint = kept.tint;
    this.cover = kept.cover;
    this.pressure = kept.pressure;
    this.outpaintFill = kept.outpaintFill;
    this.outpaintFeather = kept.outpaintFeather;
    if (!TOOLS[this.tool]) this.tool = "brush";
    this.listeners = [];
  }

  onChange(action) {
    this.listeners.push(action);
  }

  set(partial) {
    if (partial.size) partial.size = Math.min(LARGEST, Math.max(SMALLEST, Math.round(partial.size)));
    Object.assign(this, partial);
    write("canvas.brush", Object.fromEntries(Object.keys(FIRST).map((name) => [name, this[name]])));
    this.listeners.forEach((action) => action());
  }

  // One step larger or smaller, by a key or a turn of the wheel.
  grow(by) {
    const next = Math.round(this.size * by);
    this.set({ size: next === this.size ? this.size + Math.sign(by - 1) : next });
  }
}

export const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
export const hexOf = ([red, green, blue]) =>
  "#" + [red, green, blue].map((value) => value.toString(16).padStart(2, "0")).join("");
