// Arithmetic of sizes: which values Width and Height can have, and which of them match a picture's proportions.

const SMALLEST = 64; // pixels, for a side that the form computes
const NEAR = 0.03; // relative difference up to which two proportions count as equal

/** @typedef {{width: number, height: number}} Size in pixels */

// The sides of a result are multiples of `unit` pixels, which depends on the selected checkpoint's family.

/** @type {(pixels: number, unit: number) => number} */
export const down = (pixels, unit) => Math.max(unit, Math.floor(pixels / unit) * unit);

/** @type {(pixels: number, unit: number) => number} */
export const nearest = (pixels, unit) => Math.max(SMALLEST, Math.round(pixels / unit) * unit);

// A picture's size, scaled down if a side is longer than `most`.
/** @type {(picture: Size, most: number, unit: number) => Size} */
export function within({ width, height }, most, unit) {
  const scale = Math.min(1, most / Math.max(width, height));
  return { width: down(width * scale, unit), height: down(height * scale, unit) };
}

// A size with a picture's proportions and about `area` pixels.
/** @type {(picture: Size, area: number, unit: number) => Size} */
export function shaped({ width, height }, area, unit) {
  const wide = Math.sqrt((area * width) / height);
  return { width: nearest(wide, unit), height: nearest((wide * height) / width, unit) };
}

/** @type {(one: Size, other: Size) => boolean} */
export const isShapedLike = (one, other) =>
  Math.abs(((one.width / one.height) * other.height) / other.width - 1) < NEAR;
