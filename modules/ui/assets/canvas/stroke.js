// Painting into a layer. A stroke covers each pixel once, however often the brush passes: the result depends on the
// maximum coverage and on what was there before, never on the speed of the hand.

import { clipped, isVoid, union } from "./boxes.js";
import { boxAround, capsuleRows, polygonRows, ellipseRows } from "./shapes.js";
import { AREA, TILE } from "./tiles.js";

// ink: {value} 0 … 255 for a mask (0 erases), {color: [r, g, b], opacity, erase} for a sketch; `hardness` 0 … 1.
export class Stroke {
  constructor(layer, ink) {
    this.layer = layer;
    this.ink = ink;
    this.covered = new Map(); // tile -> each pixel's coverage
    this.last = null;
    layer.begin();
  }

  // Moves on to `point` {x, y, r}; returns the box that changed.
  to(point) {
    const from = this.last ?? point;
    this.last = point;
    if (Math.abs(from.r - point.r) < 0.01) return this.segment(from, point, point.r);
    // If pressure changes the radius, draws discs so close together that the edge steps by less than half a pixel.
    const count = Math.max(
      1,
      Math.ceil(Math.hypot(point.x - from.x, point.y - from.y) / Math.max(0.5, Math.sqrt(Math.min(from.r, point.r)))),
    );
    let changed = null;
    for (let index = 1; index <= count; index++) {
      const t = index / count;
      const at = { x: from.x + (point.x - from.x) * t, y: from.y + (point.y - from.y) * t };
      changed = union(changed, this.segment(at, at, from.r + (point.r - from.r) * t));
    }
    return changed;
  }

  segment(a, b, r) {
    const { layer, ink } = this;
    const box = clipped(boxAround([a, b], r), layer.width, layer.height);
    if (isVoid(box)) return null;
    const inner = r * (ink.hardness ?? 1);
    if (inner >= r - 0.01) capsuleRows(a, b, r, box, (y, x0, x1) => this.row(y, x0, x1));
    else capsuleRows(a, b, r, box, (y, x0, x1) => this.softRow(y, x0, x1, a, b, inner, r));
    return box;
  }

  polygon(points) {
    const box = clipped(boxAround(points), this.layer.width, this.layer.height);
    if (!isVoid(box)) polygonRows(points, box, (y, x0, x1) => this.row(y, x0, x1));
    return box;
  }

  ellipse(a, b) {
    const box = clipped(boxAround([a, b]), this.layer.width, this.layer.height);
    if (!isVoid(box)) ellipseRows(a, b, box, (y, x0, x1) => this.row(y, x0, x1));
    return box;
  }

  // A fully covered row.
  row(y, x0, x1) {
    if (this.layer.channels === 1) return this.layer.span(y, x0, x1, this.ink.value);
    this.cover(y, x0, x1, () => 255);
  }

  softRow(y, x0, x1, a, b, inner, r) {
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const squared = dx * dx + dy * dy;
    const py = y + 0.5 - a.y;
    this.cover(y, x0, x1, (x) => {
      const px = x + 0.5 - a.x;
      const t = squared ? Math.min(1, Math.max(0, (px * dx + py * dy) / squared)) : 0;
      const distance = Math.hypot(px - t * dx, py - t * dy);
      if (distance <= inner) return 255;
      const fall = Math.min(1, (distance - inner) / (r - inner));
      return Math.round(255 * (1 - fall * fall * (3 - 2 * fall)));
    });
  }

  cover(y, x0, x1, coverageAt) {
    const { layer } = this;
    const row = Math.floor(y / TILE);
    for (let x = x0; x < x1; ) {
      const column = Math.floor(x / TILE);
      const end = Math.min(x1, (column + 1) * TILE);
      const index = row * layer.columns + column;
      const tile = layer.writable(index);
      const before = layer.before(index);
      if (!this.covered.has(index)) this.covered.set(index, new Uint8Array(AREA));
      const covered = this.covered.get(index);
      for (let at = (y % TILE) * TILE + x - column * TILE; x < end; x++, at++) {
        const coverage = coverageAt(x);
        if (coverage <= covered[at]) continue;
        covered[at] = coverage;
        if (layer.channels === 1) {
          const old = before ? before[at] : 0;
          tile[at] = Math.round(old + ((this.ink.value - old) * coverage) / 255);
        } else this.mix(tile, before, at * 4, coverage / 255);
      }
    }
  }

  // Color over color, not premultiplied; erasing reduces alpha.
  mix(tile, before, at, coverage) {
    const { color, opacity, erase } = this.ink;
    const old = before ? before[at + 3] / 255 : 0;
    if (erase) {
      for (let channel = 0; channel < 3; channel++) tile[at + channel] = before ? before[at + channel] : 0;
      tile[at + 3] = Math.round(255 * old * (1 - coverage));
      if (!tile[at + 3]) tile.fill(0, at, at + 3);
      return;
    }
    const alpha = coverage * opacity;
    const sum = alpha + old * (1 - alpha);
    for (let channel = 0; channel < 3; channel++) {
      const under = before ? before[at + channel] : 0;
      tile[at + channel] = sum ? Math.round((color[channel] * alpha + under * old * (1 - alpha)) / sum) : 0;
    }
    tile[at + 3] = Math.round(255 * sum);
  }

  end() {
    return this.layer.end();
  }

  cancel() {
    this.layer.cancel();
  }
}
