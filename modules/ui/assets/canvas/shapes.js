// Shapes as rows of pixels: a pixel belongs to a shape if its center is inside it. All coordinates are the picture's.

import { boxOf } from "./boxes.js";

// visit(y, x0, x1) for each row of a polygon [{x, y}, …], even-odd, within `box`.
export function polygonRows(points, box, visit) {
  for (let y = box.top; y < box.bottom; y++) {
    const level = y + 0.5;
    const cuts = [];
    for (let index = 0; index < points.length; index++) {
      const [a, b] = [points[index], points[(index + 1) % points.length]];
      if (a.y <= level === b.y <= level) continue;
      cuts.push(a.x + ((level - a.y) * (b.x - a.x)) / (b.y - a.y));
    }
    cuts.sort((one, other) => one - other);
    for (let index = 0; index + 1 < cuts.length; index += 2) {
      const [x0, x1] = inside(cuts[index], cuts[index + 1], box);
      if (x0 < x1) visit(y, x0, x1);
    }
  }
}

// The same for the ellipse inscribed in the box from `a` to `b`.
export function ellipseRows(a, b, box, visit) {
  const [cx, cy, rx, ry] = [(a.x + b.x) / 2, (a.y + b.y) / 2, Math.abs(a.x - b.x) / 2, Math.abs(a.y - b.y) / 2];
  for (let y = box.top; y < box.bottom; y++) {
    const rest = 1 - ((y + 0.5 - cy) / ry) ** 2;
    if (!(rest > 0)) continue;
    const half = rx * Math.sqrt(rest);
    const [x0, x1] = inside(cx - half, cx + half, box);
    if (x0 < x1) visit(y, x0, x1);
  }
}

// The same for a round brush of radius `r` drawn from `a` to `b`.
export function capsuleRows(a, b, r, box, visit) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = Math.hypot(dx, dy);
  const [nx, ny] = length ? [(-dy / length) * r, (dx / length) * r] : [0, 0];
  const corners = length
    ? [
        { x: a.x + nx, y: a.y + ny },
        { x: b.x + nx, y: b.y + ny },
        { x: b.x - nx, y: b.y - ny },
        { x: a.x - nx, y: a.y - ny },
      ]
    : [];
  for (let y = box.top; y < box.bottom; y++) {
    const level = y + 0.5;
    let [from, to] = [Infinity, -Infinity];
    for (const end of [a, b]) {
      const rest = r * r - (level - end.y) ** 2;
      if (rest < 0) continue;
      const half = Math.sqrt(rest);
      from = Math.min(from, end.x - half);
      to = Math.max(to, end.x + half);
    }
    for (let index = 0; index < corners.length; index++) {
      const [p, q] = [corners[index], corners[(index + 1) % 4]];
      if (p.y <= level === q.y <= level) continue;
      const x = p.x + ((level - p.y) * (q.x - p.x)) / (q.y - p.y);
      from = Math.min(from, x);
      to = Math.max(to, x);
    }
    const [x0, x1] = inside(from, to, box);
    if (x0 < x1) visit(y, x0, x1);
  }
}

// The pixels whose centers are between two x coordinates.
function inside(from, to, box) {
  return [Math.max(box.left, Math.ceil(from - 0.5)), Math.min(box.right, Math.floor(to - 0.5) + 1)];
}

export function boxAround(points, by = 0) {
  const [xs, ys] = [points.map((point) => point.x), points.map((point) => point.y)];
  return boxOf(Math.min(...xs) - by, Math.min(...ys) - by, Math.max(...xs) + by, Math.max(...ys) + by);
}
