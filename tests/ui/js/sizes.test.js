// Sizes that the form computes from a picture's.

import assert from "node:assert/strict";
import { test } from "node:test";
import { down, isShapedLike, nearest, shaped, within } from "../../../modules/ui/assets/js/form/sizes.js";

const size = (width, height) => ({ width, height });

test("a side is the nearest multiple of 8, and 64 at least", () => {
  assert.deepEqual(
    [515, 516, 520, 63, 1, 64.1].map((side) => nearest(side, 8)),
    [512, 520, 520, 64, 64, 64],
  );
});

test("a picture's size is cut to multiples of 8 and made smaller where it is too large", () => {
  assert.deepEqual(within(size(519, 1023), 2048, 8), size(512, 1016));
  assert.deepEqual(within(size(4096, 1000), 2048, 8), size(2048, 496));
  assert.deepEqual(within(size(1000, 8000), 2048, 8), size(256, 2048));
  assert.deepEqual(within(size(9000, 3), 2048, 8), size(2048, 8), "a thin picture keeps a cell");
});

test("a size of a picture's proportions has about the area that is set", () => {
  assert.deepEqual(shaped(size(1000, 1000), 512 * 512, 8), size(512, 512));
  assert.deepEqual(shaped(size(1920, 1080), 512 * 512, 8), size(680, 384));
  assert.deepEqual(shaped(size(1080, 1920), 512 * 512, 8), size(384, 680));
  for (const [width, height] of [
    [300, 700],
    [1234, 777],
    [64, 63],
  ]) {
    const made = shaped(size(width, height), 768 * 512, 8);
    assert.ok(Math.abs((made.width * made.height) / (768 * 512) - 1) < 0.03, JSON.stringify(made));
    assert.equal(isShapedLike(made, size(width, height)), true, JSON.stringify(made));
  }
});

test("a family's larger unit is kept", () => {
  assert.deepEqual(
    [515, 520, 529, 1].map((side) => nearest(side, 32)),
    [512, 512, 544, 64],
  );
  assert.deepEqual(
    [515, 543, 544, 1].map((side) => down(side, 32)),
    [512, 512, 544, 32],
  );
  assert.deepEqual(within(size(519, 1023), 2048, 16), size(512, 1008));
  assert.deepEqual(shaped(size(1920, 1080), 1024 * 1024, 64), size(1344, 768));
});

test("proportions are the same within three in a hundred", () => {
  assert.equal(isShapedLike(size(512, 512), size(100, 100)), true);
  assert.equal(isShapedLike(size(512, 512), size(102, 100)), true);
  assert.equal(isShapedLike(size(512, 512), size(104, 100)), false);
  assert.equal(isShapedLike(size(768, 512), size(512, 768)), false);
});
