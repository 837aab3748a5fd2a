// Operations on the whole mask: invert, grow, shrink, feather.

import { boxOf, clipped } from "./boxes.js";
import { isWhole, TILE } from "./tiles.js";

const HALF = 128;
const FAR = 1e9;

export function invert(mask) {
  mask.tiles.forEach((tile, index) => {
    const whole = isWhole(tile);
    const into = mask.writable(index);
    const { width, height } = mask.partOf(index);
    if (whole) return into.fill(0);
    for (let y = 0; y < height; y++) {
      if (!tile) into.fill(255, y * TILE, y * TILE + width);
      else for (let at = y * TILE, end = at + width; at < end; at++) into[at] = 255 - tile[at];
    }
  });
}

// by > 0 grows the mask by that many pixels in every direction, by < 0 shrinks it. The picture's border does not count
// as an edge of the mask.
export function grow(mask, bounds, by) {
  const reach = Math.abs(by);
  const box = clipped(
    boxOf(bounds.left - reach, bounds.top - reach, bounds.right + reach, bounds.bottom + reach),
    mask.width,
    mask.height,
  );
  const [width, height] = [box.right - box.left, box.bottom - box.top];
  const values = mask.read(box);
  const isSeed = by > 0 ? (value) => value >= HALF : (value) => value < HALF;
  const far = distances(values, width, height, isSeed);
  for (let at = 0; at < values.length; at++) {
    if (far[at] <= by * by) values[at] = by > 0 ? 255 : 0;
  }
  mask.write(box, values);
}

// Squared distance of each pixel to the nearest seed (Felzenszwalb and Huttenlocher 2012: parabolas, columns then
// rows).
function distances(values, width, height, isSeed) {
  const far = new Float32Array(width * height);
  for (let at = 0; at < far.length; at++) far[at] = isSeed(values[at]) ? 0 : FAR;
  const most = Math.max(width, height);
  const [line, places, borders] = [new Float32Array(most), new Int32Array(most), new Float32Array(most + 1)];
  const along = (start, step, count) => {
    for (let q = 0; q < count; q++) line[q] = far[start + q * step];
    let k = 0;
    places[0] = 0;
    borders[0] = -FAR;
    borders[1] = FAR;
    for (let q = 1; q < count; q++) {
      let cut;
      do {
        const p = places[k];
        cut = (line[q] + q * q - (line[p] + p * p)) / (2 * (q - p));
      } while (cut <= borders[k] && --k > -1);
      places[++k] = q;
      borders[k] = cut;
      borders[k + 1] = FAR;
    }
    k = 0;
    for (let q = 0; q < count; q++) {
      while (borders[k + 1] < q) k++;
      far[start + q * step] = (q - places[k]) ** 2 + line[places[k]];
    }
  };
  for (let x = 0; x < width; x++) along(x, width, height);
  for (let y = 0; y < height; y++) along(y * width, 1, width);
  return far;
}

// Softens the edge over about `radius` pixels on each side: three box blurs, close to a Gaussian.
export function feather(mask, bounds, radius) {
  const box = clipped(
    boxOf(bounds.left - radius, bounds.top - radius, bounds.right + radius, bounds.bottom + radius),
    mask.width,
    mask.height,
  );
  const [width, height] = [box.right - box.left, box.bottom - box.top];
  const values = mask.read(box);
  const half = Math.max(1, Math.round(radius / 3));
  const line = new Uint8Array(Math.max(width, height));
  for (let turn = 0; turn < 3; turn++) {
    for (let y = 0; y < height; y++) average(values, y * width, 1, width, half, line);
    for (let x = 0; x < width; x++) average(values, x, width, height, half, line);
  }
  mask.write(box, values);
}

// The mean over `half` pixels on each side; the end values repeat beyond the ends.
function average(values, start, step, count, half, line) {
  for (let at = 0; at < count; at++) line[at] = values[start + at * step];
  const size = 2 * half + 1;
  const of = (at) => line[Math.min(count - 1, Math.max(0, at))];
  let sum = 0;
  for (let at = -half; at <= half; at++) sum += of(at);
  for (let at = 0; at < count; at++) {
    values[start + at * step] = Math.round(sum / size);
    sum += of(at + half + 1) - of(at - half);
  }
}
