// A layer of a picture in tiles of 512 × 512, which exist only where something is painted: one byte per pixel (mask) or
// four (sketch). Tiles change only in an edit, between begin() and end(); a tile held elsewhere, as by the history,
// never changes.

import { boxOf, clipped } from "./boxes.js";

export const TILE = 512;
export const AREA = TILE * TILE;
const FULL = new Uint8Array(AREA).fill(255); // stands for every fully masked tile; never written to

export class Layer {
  constructor(width, height, channels = 1) {
    this.width = width;
    this.height = height;
    this.channels = channels;
    this.columns = Math.ceil(width / TILE);
    this.rows = Math.ceil(height / TILE);
    this.tiles = new Array(this.columns * this.rows).fill(null); // null: empty
    this.saved = null;
  }

  get all() {
    return boxOf(0, 0, this.width, this.height);
  }

  get isEmpty() {
    return this.tiles.every((tile) => tile === null);
  }

  get bytes() {
    return this.tiles.reduce((sum, tile) => sum + (tile && tile !== FULL ? tile.byteLength : 0), 0);
  }

  // A copy to keep while this layer is drawn on. Unchanged tiles are shared.
  copy() {
    const made = new Layer(this.width, this.height, this.channels);
    made.tiles = [...this.tiles];
    return made;
  }

  isSame({ width, height, tiles }) {
    return (
      width === this.width && height === this.height && tiles.every((tile, index) => same(tile, this.tiles[index]))
    );
  }

  // The content of `box`, as a layer of its own.
  cropped(box) {
    const made = new Layer(box.right - box.left, box.bottom - box.top, this.channels);
    if (this.isEmpty) return made;
    made.begin();
    made.write(made.all, this.read(box));
    made.end();
    return made;
  }

  begin() {
    this.saved = new Map();
  }

  // A writable tile, within an edit.
  writable(index) {
    if (!this.saved.has(index)) {
      const old = this.tiles[index];
      this.saved.set(index, old);
      if (old === FULL) this.tiles[index] = this.filled(index);
      else this.tiles[index] = old ? old.slice() : new Uint8Array(AREA * this.channels);
    }
    return this.tiles[index];
  }

  // A fully masked tile of a mask, with 0 beyond the picture's edge: once erased, it is an empty tile.
  filled(index) {
    const { width, height } = this.partOf(index);
    const tile = new Uint8Array(AREA);
    for (let y = 0; y < height; y++) tile.fill(255, y * TILE, y * TILE + width);
    return tile;
  }

  // The tile as it was when the edit began.
  before(index) {
    return this.saved.has(index) ? this.saved.get(index) : this.tiles[index];
  }

  // Ends an edit; returns what changed, tile number -> the tile before.
  end() {
    const changed = new Map();
    for (const [index, old] of this.saved) {
      this.tiles[index] = this.reduced(this.tiles[index], index);
      if (!same(old, this.tiles[index])) changed.set(index, old);
      else this.tiles[index] = old;
    }
    this.saved = null;
    return changed;
  }

  // Takes an edit back as if it had not begun.
  cancel() {
    for (const [index, old] of this.saved) this.tiles[index] = old;
    this.saved = null;
  }

  // null for an empty tile, the shared full one for a fully masked tile.
  reduced(tile, index) {
    const words = new Uint32Array(tile.buffer, tile.byteOffset, tile.byteLength / 4);
    if (words.every((word) => word === 0)) return null;
    if (this.channels > 1 || words[0] !== 0xffffffff) return tile;
    const { width, height } = this.partOf(index); // nothing is painted beyond the picture's edge
    for (let y = 0; y < height; y++) {
      for (let x = y * TILE, end = x + width; x < end; x++) if (tile[x] !== 255) return tile;
    }
    return FULL;
  }

  // A tile's place in the picture, and how much of it is inside the picture.
  partOf(index) {
    const left = (index % this.columns) * TILE;
    const top = Math.floor(index / this.columns) * TILE;
    return { left, top, width: Math.min(TILE, this.width - left), height: Math.min(TILE, this.height - top) };
  }

  boxOfTile(index) {
    const { left, top, width, height } = this.partOf(index);
    return boxOf(left, top, left + width, top + height);
  }

  // Calls visit(index, part, left, top) for each tile that `box` touches: `part` in the tile's own pixels, and the
  // tile's corner.
  each(box, visit) {
    const { left, top, right, bottom } = clipped(box, this.width, this.height);
    if (left >= right || top >= bottom) return;
    for (let row = Math.floor(top / TILE); row * TILE < bottom; row++) {
      for (let column = Math.floor(left / TILE); column * TILE < right; column++) {
        const [x, y] = [column * TILE, row * TILE];
        visit(
          row * this.columns + column,
          boxOf(Math.max(left - x, 0), Math.max(top - y, 0), Math.min(right - x, TILE), Math.min(bottom - y, TILE)),
          x,
          y,
        );
      }
    }
  }

  // One pixel: a value of a mask, a list of four of a sketch.
  at(x, y) {
    const tile = this.tiles[Math.floor(y / TILE) * this.columns + Math.floor(x / TILE)];
    const offset = ((y % TILE) * TILE + (x % TILE)) * this.channels;
    if (this.channels === 1) return tile ? tile[offset] : 0;
    return tile ? [...tile.subarray(offset, offset + this.channels)] : [0, 0, 0, 0];
  }

  // Copies `count` pixels from (left, y) on into `into`, at `offset` pixels.
  readRow(left, y, count, into, offset = 0) {
    const row = Math.floor(y / TILE);
    const { channels } = this;
    let x = left;
    while (x < left + count) {
      const column = Math.floor(x / TILE);
      const end = Math.min(left + count, (column + 1) * TILE);
      const tile = this.tiles[row * this.columns + column];
      const at = (offset + x - left) * channels;
      const from = ((y % TILE) * TILE + (x % TILE)) * channels;
      if (tile) into.set(tile.subarray(from, from + (end - x) * channels), at);
      else into.fill(0, at, at + (end - x) * channels);
      x = end;
    }
  }

  // The pixels of `box`, row by row.
  read(box) {
    const width = box.right - box.left;
    const pixels = new Uint8Array(width * (box.bottom - box.top) * this.channels);
    for (let y = box.top; y < box.bottom; y++) this.readRow(box.left, y, width, pixels, (y - box.top) * width);
    return pixels;
  }

  // Writes `pixels` (row by row) into `box`, within an edit.
  write(box, pixels) {
    const { channels } = this;
    const width = box.right - box.left;
    this.each(box, (index, part, x, y) => {
      const tile = this.writable(index);
      for (let row = part.top; row < part.bottom; row++) {
        const from = ((row + y - box.top) * width + part.left + x - box.left) * channels;
        tile.set(
          pixels.subarray(from, from + (part.right - part.left) * channels),
          (row * TILE + part.left) * channels,
        );
      }
    });
  }

  // Fills pixels x0 … x1 − 1 of row y of a mask, within an edit.
  span(y, x0, x1, value) {
    const row = Math.floor(y / TILE);
    const inRow = (y % TILE) * TILE;
    for (let x = x0; x < x1; ) {
      const column = Math.floor(x / TILE);
      const end = Math.min(x1, (column + 1) * TILE);
      const start = inRow + x - column * TILE;
      this.writable(row * this.columns + column).fill(value, start, start + end - x);
      x = end;
    }
  }
}

export const isWhole = (tile) => tile === FULL;
export const whole = () => FULL;

function same(one, other) {
  if (one === other) return true;
  if (!one || !other) return false;
  const a = new Uint32Array(one.buffer, one.byteOffset, one.byteLength / 4);
  const b = new Uint32Array(other.buffer, other.byteOffset, other.byteLength / 4);
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}
