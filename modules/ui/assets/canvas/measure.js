// What a layer contains: where, and whether it is full, empty or gray. Tiles do not change, so each is examined once.

import { boxOf, union } from "./boxes.js";
import { isWhole, TILE } from "./tiles.js";

const known = new WeakMap(); // tile -> {bounds, isFull, isSoft}

function look(tile, width, height) {
  const channels = tile.length / (TILE * TILE);
  let [x0, y0, x1, y1] = [width, height, 0, 0];
  let [isFull, isSoft] = [true, false];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = tile[(y * TILE + x) * channels + channels - 1];
      if (value !== 255) isFull = false;
      if (!value) continue;
      if (value !== 255) isSoft = true;
      if (x < x0) x0 = x;
      if (x >= x1) x1 = x + 1;
      if (y < y0) y0 = y;
      y1 = y + 1;
    }
  }
  return { box: x0 < x1 ? boxOf(x0, y0, x1, y1) : null, isFull, isSoft };
}

// {bounds, isEmpty, isFull, isSoft} of a layer that is not being edited; for a sketch, of its alpha.
export function measured(layer) {
  let [bounds, isFull, isSoft] = [null, true, false];
  layer.tiles.forEach((tile, index) => {
    if (!tile) return (isFull = false);
    const { left, top, width, height } = layer.partOf(index);
    if (isWhole(tile)) return (bounds = union(bounds, boxOf(left, top, left + width, top + height)));
    if (!known.has(tile)) known.set(tile, look(tile, width, height));
    const { box, ...found } = known.get(tile);
    if (box) bounds = union(bounds, boxOf(left + box.left, top + box.top, left + box.right, top + box.bottom));
    isFull &&= found.isFull;
    isSoft ||= found.isSoft;
  });
  return { bounds, isEmpty: bounds === null, isFull: isFull && bounds !== null, isSoft };
}
