// Operations on whole masks, against the definition computed pixel by pixel.

import assert from "node:assert/strict";
import { test } from "node:test";
import { boxOf } from "../../../modules/ui/assets/canvas/boxes.js";
import { measured } from "../../../modules/ui/assets/canvas/measure.js";
import { feather, grow, invert } from "../../../modules/ui/assets/canvas/morph.js";
import { Layer } from "../../../modules/ui/assets/canvas/tiles.js";
import { chance, drawn, valuesOf } from "./chance.js";

const [WIDTH, HEIGHT] = [40, 30];

function maskOf(values, width = WIDTH, height = HEIGHT) {
  const mask = new Layer(width, height);
  mask.begin();
  mask.write(mask.all, values);
  mask.end();
  return mask;
}

function changed(mask, change) {
  mask.begin();
  change(mask);
  mask.end();
  return mask.read(mask.all);
}

// The pixels within `by` of the mask (by > 0), or farther than that from unmasked ones.
function grownByHand(values, by) {
  const isSeed = (value) => (by > 0 ? value >= 128 : value < 128);
  return values.map((value, at) => {
    const [x, y] = [at % WIDTH, Math.floor(at / WIDTH)];
    const isNear = values.some(
      (other, from) => isSeed(other) && (x - (from % WIDTH)) ** 2 + (y - Math.floor(from / WIDTH)) ** 2 <= by * by,
    );
    return isNear ? (by > 0 ? 255 : 0) : value;
  });
}

test("a mask grows and shrinks by a distance, to the pixel", () => {
  const below = chance(5);
  for (const by of [1, 3, 7, -1, -2, -4]) {
    const values = new Uint8Array(WIDTH * HEIGHT);
    for (let spot = 0; spot < 4; spot++) {
      const [left, top, side] = [below(WIDTH - 12), below(HEIGHT - 12), 1 + below(12)];
      for (let y = top; y < top + side; y++) values.fill(255, y * WIDTH + left, y * WIDTH + left + side);
    }
    const mask = maskOf(values);
    const { bounds } = measured(mask);
    assert.deepEqual(
      drawn(
        changed(mask, () => grow(mask, bounds, by)),
        WIDTH,
      ),
      drawn(grownByHand(values, by), WIDTH),
      `by ${by}`,
    );
  }
});

test("the picture's edge is no edge of the mask", () => {
  const mask = maskOf(valuesOf(["##....", "##....", "......"]), 6, 3);
  assert.deepEqual(
    drawn(
      changed(mask, () => grow(mask, boxOf(0, 0, 2, 2), -1)),
      6,
    ),
    ["#.....", "......", "......"],
  );
});

test("an inverted mask is 255 less each value, and itself again when inverted twice", () => {
  const below = chance(9);
  const values = Uint8Array.from({ length: WIDTH * HEIGHT }, () => below(256));
  const mask = maskOf(values);
  assert.deepEqual(
    changed(mask, invert),
    values.map((value) => 255 - value),
  );
  assert.deepEqual(changed(mask, invert), values);
  const empty = new Layer(WIDTH, HEIGHT);
  changed(empty, invert);
  assert.equal(measured(empty).isFull, true);
});

test("a feathered edge falls over about twice the radius and is half where it was", () => {
  const values = new Uint8Array(WIDTH * HEIGHT);
  for (let y = 0; y < HEIGHT; y++) values.fill(255, y * WIDTH, y * WIDTH + WIDTH / 2);
  const mask = maskOf(values);
  const row = [...changed(mask, () => feather(mask, boxOf(0, 0, WIDTH / 2, HEIGHT), 6)).slice(0, WIDTH)];
  assert.deepEqual(
    row,
    [...row].sort((one, other) => other - one),
    "it only falls",
  );
  assert.deepEqual([row[10], row[29]], [255, 0]);
  assert.ok(Math.abs(row[19] + row[20] - 255) <= 1, `symmetric about the old edge: ${row[19]}, ${row[20]}`);
  assert.ok(row[19] < 160, `${row[19]}`);
});
