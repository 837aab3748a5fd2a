// Mask and sketch as shown on screen: each screen pixel takes the picture pixel under its center.

import { Reduced } from "./reduced.js";
import { TILE } from "./tiles.js";

const LEVELS = 4;

export class Overlay {
  constructor(document) {
    this.document = document;
    this.reduced = null;
    document.onChange((what, box) => what === "mask" && this.reduced?.invalidate(box));
  }

  // Pixels (RGBA) of `box` (in screen pixels); `view`: {scale, x, y} from the picture's to the screen's pixels, `tint`:
  // {color, opacity, line}.
  paint(box, view, tint, showSketch) {
    const [width, height] = [box.right - box.left, box.bottom - box.top];
    const image = new ImageData(width, height);
    const words = new Uint32Array(image.data.buffer);
    const { masking, sketch, mask } = this.document;
    if (showSketch && !sketch.isEmpty) this.sketch(words, box, view);
    if (!masking || masking.isEmpty) return image;
    const wide = {
      left: box.left - tint.line,
      top: box.top - tint.line,
      right: box.right + tint.line,
      bottom: box.bottom + tint.line,
    };
    const values = masking === mask ? this.mask(wide, view) : this.alpha(wide, view);
    if (values) color(image.data, values, width, height, tint, masking === mask);
    return image;
  }

  // For a row or column of the screen: tile and offset within it, −1 outside the picture.
  places(from, to, scale, offset, size, level) {
    const tiles = new Int32Array(to - from);
    const within = new Int32Array(to - from);
    for (let at = from; at < to; at++) {
      const place = Math.floor((at + 0.5 - offset) / scale);
      const inside = place >= 0 && place < size;
      tiles[at - from] = inside ? Math.floor(place / TILE) : -1;
      within[at - from] = (place % TILE) >> level;
    }
    return { tiles, within };
  }

  mask(box, view) {
    const layer = this.document.mask;
    const level = Math.max(0, Math.min(LEVELS, Math.floor(Math.log2(1 / view.scale))));
    if (this.reduced?.layer !== layer || this.reduced.level !== level) this.reduced = new Reduced(layer, level);
    const side = TILE >> level;
    const values = new Uint8Array((box.right - box.left) * (box.bottom - box.top));
    const found = this.scan(
      layer,
      box,
      view,
      level,
      (index) => this.reduced.tile(index),
      (tile, row, column, at) => (values[at] = tile[row * side + column]),
    );
    return found ? values : null;
  }

  alpha(box, view) {
    const layer = this.document.sketch;
    const values = new Uint8Array((box.right - box.left) * (box.bottom - box.top));
    const found = this.scan(
      layer,
      box,
      view,
      0,
      (index) => layer.tiles[index],
      (tile, row, column, at) => (values[at] = tile[(row * TILE + column) * 4 + 3] ? 255 : 0),
    );
    return found ? values : null;
  }

  sketch(words, box, view) {
    const layer = this.document.sketch;
    const as32 = new Map();
    const tileOf = (index) => {
      const tile = layer.tiles[index];
      if (tile && !as32.has(tile)) as32.set(tile, new Uint32Array(tile.buffer, tile.byteOffset, TILE * TILE));
      return tile && as32.get(tile);
    };
    this.scan(layer, box, view, 0, tileOf, (tile, row, column, at) => (words[at] = tile[row * TILE + column]));
  }

  // Calls put(tile, row, column, at) for each screen pixel over a non-empty tile; returns whether there are any.
  scan(layer, box, view, level, tileOf, put) {
    const across = this.places(box.left, box.right, view.scale, view.x, layer.width, level);
    const down = this.places(box.top, box.bottom, view.scale, view.y, layer.height, level);
    const width = box.right - box.left;
    let found = false;
    for (let y = 0; y < down.tiles.length; y++) {
      if (down.tiles[y] < 0) continue;
      const first = down.tiles[y] * layer.columns;
      const row = down.within[y];
      let [column, tile] = [-1, null];
      for (let x = 0; x < width; x++) {
        if (across.tiles[x] < 0) continue;
        if (across.tiles[x] !== column) {
          column = across.tiles[x];
          tile = tileOf(first + column);
        }
        if (!tile) continue;
        found = true;
        put(tile, row, across.within[x], y * width + x);
      }
    }
    return found;
  }
}

// Tints `data`; the mask's edge is a light line inside and a dark one outside. `values` is wider than `data` by the
// line's width on each side. The mask of Inpaint sketch (isTinted false) shows only its edge: its colors are the
// sketch.
function color(data, values, width, height, { color: [red, green, blue], opacity, line }, isTinted) {
  const wide = width + 2 * line;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y + line) * wide + x + line;
      const value = values[at];
      const [up, down, left, right] = [
        values[at - wide * line],
        values[at + wide * line],
        values[at - line],
        values[at + line],
      ];
      if (value === 0) {
        if (up || down || left || right) lay(data, (y * width + x) * 4, 0, 0, 0, 0.65);
      } else if (!up || !down || !left || !right) lay(data, (y * width + x) * 4, 255, 255, 255, 0.95);
      else if (isTinted) lay(data, (y * width + x) * 4, red, green, blue, (opacity * (64 + (191 * value) / 255)) / 255);
    }
  }
}

function lay(data, at, red, green, blue, alpha) {
  const under = (data[at + 3] / 255) * (1 - alpha);
  const sum = alpha + under;
  data[at] = (red * alpha + data[at] * under) / sum;
  data[at + 1] = (green * alpha + data[at + 1] * under) / sum;
  data[at + 2] = (blue * alpha + data[at + 2] * under) / sum;
  data[at + 3] = sum * 255;
}
