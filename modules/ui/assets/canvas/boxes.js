// Boxes of pixels: left and top are inclusive, right and bottom are exclusive.

export const boxOf = (left, top, right, bottom) => ({ left, top, right, bottom });
export const isVoid = (box) => !box || box.left >= box.right || box.top >= box.bottom;

export function union(one, other) {
  if (isVoid(one)) return other;
  if (isVoid(other)) return one;
  return boxOf(
    Math.min(one.left, other.left),
    Math.min(one.top, other.top),
    Math.max(one.right, other.right),
    Math.max(one.bottom, other.bottom),
  );
}

export function clipped(box, width, height) {
  return boxOf(
    Math.max(0, Math.floor(box.left)),
    Math.max(0, Math.floor(box.top)),
    Math.min(width, Math.ceil(box.right)),
    Math.min(height, Math.ceil(box.bottom)),
  );
}
