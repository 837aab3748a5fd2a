// The edited document: one source picture with a mask and a color sketch over it, shown in one of five modes.

import { union } from "./boxes.js";
import { History, restored, stepOfTiles } from "./history.js";
import { Layer } from "./tiles.js";

// paints: the layer the tools work on. masks: the layer that decides what is redrawn.
export const MODES = {
  img2img: { label: "img2img", paints: null, masks: null },
  sketch: { label: "Sketch", paints: "sketch", masks: null },
  inpaint: { label: "Inpaint", paints: "mask", masks: "mask" },
  inpaint_sketch: { label: "Inpaint sketch", paints: "sketch", masks: "sketch" },
  inpaint_upload: { label: "Inpaint upload", paints: "mask", masks: "mask" },
};

export class Document {
  constructor() {
    this.picture = null; // as the server described it: {id, width, height, url, …}
    this.sizedBy = ""; // id of the picture that gave the layers their size
    this.mode = "img2img";
    this.frame = null; // {left, top, right, bottom} in the picture's pixels, outside it (outpaint) or inside it (crop)
    this.mask = new Layer(1, 1);
    this.sketch = new Layer(1, 1, 4);
    this.listeners = [];
    this.version = { mask: 0, sketch: 0 };
    this.history = new History((step) => this.exchange(step));
    this.settle = () => {}; // finishes the current drawing; set by the tools
  }

  // action(what, box): `what` is "mask", "sketch" (box: the changed part, null for all), "picture", "mode", "frame" or
  // "history".
  onChange(action) {
    this.listeners.push(action);
  }

  notify(what, box = null) {
    if (what in this.version) this.version[what] += 1;
    for (const action of this.listeners) action(what, box);
  }

  get width() {
    return this.mask.width;
  }

  get height() {
    return this.mask.height;
  }

  get painted() {
    return MODES[this.mode].paints ? this[MODES[this.mode].paints] : null;
  }

  // The layer that decides what is redrawn, or null if everything is.
  get masking() {
    return MODES[this.mode].masks ? this[MODES[this.mode].masks] : null;
  }

  setMode(mode) {
    if (!MODES[mode] || mode === this.mode) return;
    this.settle();
    this.mode = mode;
    this.notify("mode");
  }

  setFrame(frame) {
    this.frame = frame;
    this.notify("frame");
  }

  // Sets another picture, or none. Mask and sketch are kept and resized to it, unless new ones come with the picture;
  // returns whether they were resized. A picture set again gets back what was painted on it.
  setPicture(picture, layers = null) {
    this.settle(); // a picture may arrive in the middle of a stroke
    const from = this.sizedBy;
    const last = this.history.done.at(-1);
    const resize = picture && (picture.width !== this.width || picture.height !== this.height);
    const had = resize && !(this.mask.isEmpty && this.sketch.isEmpty);
    this.picture = picture;
    if (resize && last?.mask && last.picture === picture.id) {
      this.history.undo();
      this.notify("history");
    } else if (resize) {
      const before = { mask: this.mask, sketch: this.sketch };
      this.mask = layers?.mask ?? resized(this.mask, picture.width, picture.height);
      this.sketch = layers?.sketch ?? resized(this.sketch, picture.width, picture.height);
      if (had) this.history.push({ ...before, picture: from, bytes: before.mask.bytes + before.sketch.bytes });
      else this.history.clear();
    }
    if (layers) this.replace(layers, from);
    if (picture?.id !== from) this.frame = null;
    if (picture) this.sizedBy = picture.id;
    this.notify("picture");
    if (had) this.notify("history");
    return had;
  }

  // Replaces the layers in one step; from: the id of the picture of the old layers.
  replace({ mask, sketch }, from) {
    if (this.mask.isSame(mask) && this.sketch.isSame(sketch)) return;
    this.history.push({
      mask: this.mask,
      sketch: this.sketch,
      picture: from,
      bytes: this.mask.bytes + this.sketch.bytes,
    });
    Object.assign(this, { mask, sketch });
    for (const what of ["mask", "sketch", "history"]) this.notify(what);
  }

  // Restores saved layers.
  load({ mask, sketch, mode, frame }) {
    Object.assign(this, {
      mask,
      sketch,
      mode: MODES[mode] ? mode : "img2img",
      frame: frame ?? null,
      sizedBy: this.picture?.id ?? "",
    });
    for (const what of ["mask", "sketch", "mode", "frame"]) this.notify(what);
  }

  // One step that can be undone: `change(layer)` writes to it.
  edit(name, change) {
    this.settle();
    const layer = this[name];
    layer.begin();
    change(layer);
    this.finish(name, layer.end());
  }

  // An edit of layer `name` is over; `changed` comes from Layer.end().
  finish(name, changed) {
    if (!changed.size) return;
    this.history.push(stepOfTiles(name, changed));
    this.notify(name, boxOfTiles(this[name], changed.keys()));
    this.notify("history");
  }

  clear(name) {
    this.edit(name, (layer) => layer.tiles.forEach((tile, index) => tile && layer.writable(index).fill(0)));
  }

  exchange(step) {
    if (step.mask) {
      const back = { mask: this.mask, sketch: this.sketch, bytes: this.mask.bytes + this.sketch.bytes };
      Object.assign(this, { mask: step.mask, sketch: step.sketch });
      this.notify("mask");
      this.notify("sketch");
      return back;
    }
    const layer = this[step.layer];
    const replaced = new Map();
    for (const [index, tile] of restored(step)) {
      replaced.set(index, layer.tiles[index]);
      layer.tiles[index] = tile;
    }
    this.notify(step.layer, boxOfTiles(layer, replaced.keys()));
    return stepOfTiles(step.layer, replaced);
  }

  // Steps from a picture of another size wait until that picture is back: on this one they make no sense.
  fits(step) {
    return Boolean(step) && (!step.mask || (step.mask.width === this.width && step.mask.height === this.height));
  }

  get canUndo() {
    return this.fits(this.history.done.at(-1));
  }

  get canRedo() {
    return this.fits(this.history.undone.at(-1));
  }

  undo() {
    this.settle();
    if (this.canUndo && this.history.undo()) this.notify("history");
  }

  redo() {
    this.settle();
    if (this.canRedo && this.history.redo()) this.notify("history");
  }
}

function boxOfTiles(layer, indices) {
  let box = null;
  for (const index of indices) box = union(box, layer.boxOfTile(index));
  return box;
}

// For each pixel of a layer of another size, the nearest pixel of `layer`.
export function resized(layer, width, height) {
  const made = new Layer(width, height, layer.channels);
  if (layer.isEmpty) return made;
  const { channels } = layer;
  const from = new Uint8Array(layer.width * channels);
  const into = new Uint8Array(width * channels);
  const columns = Uint32Array.from({ length: width }, (_, x) =>
    Math.min(layer.width - 1, Math.floor(((x + 0.5) * layer.width) / width)),
  );
  made.begin();
  for (let y = 0; y < height; y++) {
    layer.readRow(0, Math.min(layer.height - 1, Math.floor(((y + 0.5) * layer.height) / height)), layer.width, from);
    if (from.every((value) => value === 0)) continue;
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < channels; channel++)
        into[x * channels + channel] = from[columns[x] * channels + channel];
    }
    made.write({ left: 0, top: y, right: width, bottom: y + 1 }, into);
  }
  made.end();
  return made;
}
