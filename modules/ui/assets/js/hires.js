// The size that Hires. fix comes to, told in its part of the form, as the server reckons it.

import { h, part } from "./dom.js";
import * as form from "./form.js";

const CELL = 8;
const FIELDS = ["width", "height", "hr_scale", "hr_resize_x", "hr_resize_y", "enable_hr"];
const down = (pixels) => Math.floor(pixels / CELL) * CELL;

// {width, height} of the result: hires_sizes() of processing/plan.py.
export function hiresSize({ width, height, hr_scale: scale, hr_resize_x: x, hr_resize_y: y }) {
  let size = [Math.trunc(width * scale), Math.trunc(height * scale)];
  if (x || y) size = !y || (x && width * y < x * height) ? [x, Math.floor((x * height) / width)] : [Math.floor((y * width) / height), y];
  const cells = size.map((side) => Math.floor(side / CELL));
  if (x && y) [x, y].forEach((side, at) => (cells[at] -= Math.max(0, Math.floor((size[at] - side) / CELL)))); // whole cells stick out
  return { width: cells[0] * CELL, height: cells[1] * CELL };
}

export function setUpHires(tab) {
  const line = h("p", { className: "p-soft", id: `${tab}_hr_finalres` });
  part("hires-text", tab).replaceChildren(line);
  const tell = () => {
    const values = form.all(tab);
    const { width, height } = hiresSize(values);
    line.textContent = `from ${down(values.width)} × ${down(values.height)} to ${width} × ${height}`;
  };
  form.onChange((which, name) => which === tab && FIELDS.includes(name) && tell());
  tell();
}
