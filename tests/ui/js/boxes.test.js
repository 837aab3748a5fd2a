// Boxes: union and clipping.

import assert from "node:assert/strict";
import { test } from "node:test";
import { boxOf, clipped, isVoid, union } from "../../../modules/ui/assets/canvas/boxes.js";

test("a union holds both boxes, and a void one adds nothing", () => {
  assert.deepEqual(union(boxOf(1, 2, 3, 4), boxOf(2, 0, 9, 3)), boxOf(1, 0, 9, 4));
  assert.deepEqual(union(null, boxOf(1, 2, 3, 4)), boxOf(1, 2, 3, 4));
  assert.deepEqual(union(boxOf(1, 2, 3, 4), boxOf(5, 5, 5, 9)), boxOf(1, 2, 3, 4));
});

test("a box without a pixel is void", () => {
  assert.deepEqual([null, boxOf(0, 0, 0, 5), boxOf(0, 4, 5, 4), boxOf(3, 0, 2, 5)].map(isVoid), [
    true,
    true,
    true,
    true,
  ]);
  assert.equal(isVoid(boxOf(0, 0, 1, 1)), false);
});

test("clipping takes each pixel that is touched and none beyond the edge", () => {
  assert.deepEqual(clipped(boxOf(-3.5, 0.2, 4.1, 99), 10, 20), boxOf(0, 0, 5, 20));
  assert.equal(isVoid(clipped(boxOf(11, 0, 15, 5), 10, 20)), true);
});
