// Boxes on the canvas stay inside the picture, and stay large enough to grab.

import assert from "node:assert/strict";
import { test } from "node:test";

import { moved } from "../../../modules/ui/assets/canvas/regions.js";

const SIZE = { width: 100, height: 60 };
const BOX = { left: 10, top: 20, right: 40, bottom: 50 };
const CASES = [
  ["goes where it is dragged", [5, -7, false], [15, 13, 45, 43]],
  ["stops at the left and top with its size", [-50, -50, false], [0, 0, 30, 30]],
  ["stops at the right and bottom with its size", [500, 500, false], [70, 30, 100, 60]],
  ["grows by its corner up to the picture's edge", [90, 3, true], [10, 20, 100, 53]],
  ["never gets smaller than eight pixels", [-90, -90, true], [10, 20, 18, 28]],
];

for (const [claim, [x, y, isResized], expected] of CASES)
  test(`a box ${claim}`, () => assert.deepEqual(Object.values(moved(BOX, x, y, SIZE, isResized)), expected));
