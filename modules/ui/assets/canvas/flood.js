// The magic wand: all pixels connected to one pixel that have about the same color, row by row.

import { TILE } from "./tiles.js";

// visit(y, x0, x1) for each run of pixels whose channels differ from those at (x, y) by at most `tolerance`.
export function flood(bitmap, { width, height }, x, y, tolerance, visit) {
  const columns = Math.ceil(width / TILE);
  const tiles = new Map();
  const seen = new Map();
  const pixelsOf = (index) => {
    if (!tiles.has(index)) {
      const [left, top] = [(index % columns) * TILE, Math.floor(index / columns) * TILE];
      const data = bitmap.pixels({
        left,
        top,
        right: Math.min(left + TILE, width),
        bottom: Math.min(top + TILE, height),
      });
      tiles.set(index, { data, across: Math.min(TILE, width - left) });
      seen.set(index, new Uint8Array(TILE * TILE));
    }
    return tiles.get(index);
  };
  const colorAt = (px, py) => {
    const { data, across } = pixelsOf(Math.floor(py / TILE) * columns + Math.floor(px / TILE));
    const at = ((py % TILE) * across + (px % TILE)) * 4;
    return [data[at], data[at + 1], data[at + 2], data[at + 3]];
  };
  const [red, green, blue, alpha] = colorAt(x, y);
  const isOpen = (px, py) => {
    const index = Math.floor(py / TILE) * columns + Math.floor(px / TILE);
    const { data, across } = pixelsOf(index);
    const [inX, inY] = [px % TILE, py % TILE];
    if (seen.get(index)[inY * TILE + inX]) return false;
    const at = (inY * across + inX) * 4;
    return (
      Math.abs(data[at] - red) <= tolerance &&
      Math.abs(data[at + 1] - green) <= tolerance &&
      Math.abs(data[at + 2] - blue) <= tolerance &&
      Math.abs(data[at + 3] - alpha) <= tolerance
    );
  };
  const mark = (px, py) =>
    (seen.get(Math.floor(py / TILE) * columns + Math.floor(px / TILE))[(py % TILE) * TILE + (px % TILE)] = 1);

  const waiting = [[x, y]];
  while (waiting.length) {
    const [px, py] = waiting.pop();
    if (!isOpen(px, py)) continue;
    let [x0, x1] = [px, px + 1];
    while (x0 > 0 && isOpen(x0 - 1, py)) x0--;
    while (x1 < width && isOpen(x1, py)) x1++;
    for (let at = x0; at < x1; at++) mark(at, py);
    visit(py, x0, x1);
    for (const row of [py - 1, py + 1]) {
      if (row < 0 || row >= height) continue;
      let isInside = false;
      for (let at = x0; at < x1; at++) {
        const open = isOpen(at, row);
        if (open && !isInside) waiting.push([at, row]);
        isInside = open;
      }
    }
  }
}
