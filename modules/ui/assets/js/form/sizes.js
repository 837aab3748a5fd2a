// Arithmetic of sizes: what a form's Width and Height may be, and which of them have a picture's proportions.

const CELL = 8; // pixels; the result is cut to a multiple of it
const SMALLEST = 64; // pixels, of a side that the form works out
const NEAR = 0.03; // share by which two proportions may differ and are the same

/** @typedef {{width: number, height: number}} Size in pixels */

/** @type {(pixels: number) => number} */
const down = (pixels) => Math.max(CELL, Math.floor(pixels / CELL) * CELL);

/** @type {(pixels: number) => number} */
export const nearest = (pixels) => Math.max(SMALLEST, Math.round(pixels / CELL) * CELL);

// A picture's size, made smaller where a side is longer than `most`.
/** @type {(picture: Size, most: number) => Size} */
export function within({ width, height }, most) {
  const scale = Math.min(1, most / Math.max(width, height));
  return { width: down(width * scale), height: down(height * scale) };
}

// The proportions of a picture at about `area` pixels.
/** @type {(picture: Size, area: number) => Size} */
export function shaped({ width, height }, area) {
  const wide = Math.sqrt((area * width) / height);
  return { width: nearest(wide), height: nearest((wide * height) / width) };
}

/** @type {(one: Size, other: Size) => boolean} */
export const isShapedLike = (one, other) =>
  Math.abs(((one.width / one.height) * other.height) / other.width - 1) < NEAR;
