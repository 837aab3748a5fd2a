// Undo and redo of a document: what each step replaced, compressed, up to a limit in bytes.

import { packed, unpacked } from "./runs.js";

const MOST_STEPS = 200;
const MOST_BYTES = 96 * 2 ** 20;
const NOTE = 64; // bytes counted for the step itself

export class History {
  // apply(step) puts a step's contents into the document and returns the step that undoes it.
  constructor(apply) {
    this.apply = apply;
    this.done = [];
    this.undone = [];
  }

  get bytes() {
    return [...this.done, ...this.undone].reduce((sum, step) => sum + step.bytes, 0);
  }

  push(step) {
    this.undone = [];
    this.done.push(step);
    let bytes = this.bytes;
    while (this.done.length > MOST_STEPS || (bytes > MOST_BYTES && this.done.length > 1))
      bytes -= this.done.shift().bytes;
  }

  undo() {
    const step = this.done.pop();
    if (step) this.undone.push(this.apply(step));
    return step ?? null;
  }

  redo() {
    const step = this.undone.pop();
    if (step) this.done.push(this.apply(step));
    return step ?? null;
  }

  clear() {
    this.done = [];
    this.undone = [];
  }
}

// changed: tile number -> the tile before.
export function stepOfTiles(layer, changed) {
  const tiles = new Map([...changed].map(([index, tile]) => [index, packed(tile)]));
  const bytes = [...tiles.values()].reduce((sum, tile) => sum + (tile?.bytes ?? 8), NOTE);
  return { layer, tiles, bytes };
}

export const restored = (step) => new Map([...step.tiles].map(([index, tile]) => [index, unpacked(tile)]));
