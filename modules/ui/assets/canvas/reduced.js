// A mask at half, a quarter … of its size, computed tile by tile on demand. Each pixel is the maximum of the pixels it
// covers, so that a thin line stays visible when zoomed out.

import { clipped, isVoid, union } from "./boxes.js";
import { isWhole, TILE } from "./tiles.js";

export class Reduced {
  constructor(layer, level) {
    this.layer = layer;
    this.level = level;
    this.side = TILE >> level;
    this.tiles = new Map();
    this.stale = new Map(); // tile -> box of its own pixels to recompute
  }

  invalidate(box) {
    if (this.level === 0) return;
    if (!box) {
      this.tiles.clear();
      this.stale.clear();
      return;
    }
    this.layer.each(
      box,
      (index, part) => this.tiles.has(index) && this.stale.set(index, union(this.stale.get(index) ?? null, part)),
    );
  }

  tile(index) {
    const full = this.layer.tiles[index];
    if (!full || isWhole(full) || this.level === 0) return full;
    if (!this.tiles.has(index)) {
      this.tiles.set(index, new Uint8Array(this.side * this.side));
      this.stale.set(index, { left: 0, top: 0, right: TILE, bottom: TILE });
    }
    const made = this.tiles.get(index);
    const box = this.stale.get(index);
    if (box) this.make(full, made, box);
    this.stale.delete(index);
    return made;
  }

  make(full, made, box) {
    const step = 1 << this.level;
    const small = clipped(
      { left: box.left / step, top: box.top / step, right: box.right / step, bottom: box.bottom / step },
      this.side,
      this.side,
    );
    if (isVoid(small)) return;
    for (let y = small.top; y < small.bottom; y++) {
      for (let x = small.left; x < small.right; x++) {
        let most = 0;
        for (let dy = 0; dy < step && most < 255; dy++) {
          const from = (y * step + dy) * TILE + x * step;
          for (let at = from; at < from + step; at++) if (full[at] > most) most = full[at];
        }
        made[y * this.side + x] = most;
      }
    }
  }
}
