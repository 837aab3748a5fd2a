// Rows of shapes, and the magic wand, compared with a computation pixel by pixel.

import assert from "node:assert/strict";
import { test } from "node:test";
import { boxOf } from "../../../modules/ui/assets/canvas/boxes.js";
import { Camera } from "../../../modules/ui/assets/canvas/camera.js";
import { flood } from "../../../modules/ui/assets/canvas/flood.js";
import { boxAround, capsuleRows, ellipseRows, polygonRows } from "../../../modules/ui/assets/canvas/shapes.js";
import { chance, drawn } from "./chance.js";

const BOX = boxOf(0, 0, 24, 18);

function rowsOf(draw) {
  const values = new Uint8Array(BOX.right * BOX.bottom);
  draw((y, x0, x1) => values.fill(255, y * BOX.right + x0, y * BOX.right + x1));
  return drawn(values, BOX.right);
}

const byHand = (isInside) =>
  drawn(
    Uint8Array.from({ length: BOX.right * BOX.bottom }, (_, at) =>
      isInside((at % BOX.right) + 0.5, Math.floor(at / BOX.right) + 0.5) ? 255 : 0,
    ),
    BOX.right,
  );

function distanceToLine(x, y, a, b) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const along = Math.min(1, Math.max(0, ((x - a.x) * dx + (y - a.y) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - a.x - along * dx, y - a.y - along * dy);
}

test("a polygon holds the pixels whose centers lie in it, even-odd", () => {
  const square = [
    { x: 2, y: 2 },
    { x: 12, y: 2 },
    { x: 12, y: 10 },
    { x: 2, y: 10 },
  ];
  const bowtie = [
    { x: 2, y: 2 },
    { x: 18, y: 14 },
    { x: 18, y: 2 },
    { x: 2, y: 14 },
  ];
  assert.deepEqual(
    rowsOf((visit) => polygonRows(square, BOX, visit)),
    byHand((x, y) => x > 2 && x < 12 && y > 2 && y < 10),
  );
  const isIn = (x, y) => Math.abs(y - 8) < (Math.abs(x - 10) * 6) / 8 && x > 2 && x < 18;
  assert.deepEqual(
    rowsOf((visit) => polygonRows(bowtie, BOX, visit)),
    byHand(isIn),
  );
});

test("an ellipse fills the box between two corners, whichever they are", () => {
  const isIn = (x, y) => ((x - 10.2) / 7.3) ** 2 + ((y - 8.1) / 5.7) ** 2 <= 1;
  const corners = [
    { x: 10.2 - 7.3, y: 8.1 + 5.7 },
    { x: 10.2 + 7.3, y: 8.1 - 5.7 },
  ];
  assert.deepEqual(
    rowsOf((visit) => ellipseRows(...corners, BOX, visit)),
    byHand(isIn),
  );
  assert.deepEqual(
    rowsOf((visit) => ellipseRows(...corners.reverse(), BOX, visit)),
    byHand(isIn),
  );
});

test("a round brush holds what is within its radius of the line", () => {
  const below = chance(21);
  for (let turn = 0; turn < 40; turn++) {
    const point = () => ({ x: below(2400) / 100 + 0.003, y: below(1800) / 100 + 0.007 });
    const [a, b, r] = [point(), turn % 4 ? point() : null, 0.5 + below(600) / 100];
    const end = b ?? a; // a dot
    assert.deepEqual(
      rowsOf((visit) => capsuleRows(a, end, r, BOX, visit)),
      byHand((x, y) => distanceToLine(x, y, a, end) <= r),
      JSON.stringify([a, end, r]),
    );
  }
});

test("shapes stay inside their box", () => {
  capsuleRows({ x: -50, y: 9 }, { x: 80, y: 9 }, 30, BOX, (y, x0, x1) =>
    assert.deepEqual([y >= 0 && y < 18, x0, x1], [true, 0, 24]),
  );
  assert.deepEqual(
    boxAround(
      [
        { x: 3, y: 9 },
        { x: -1, y: 4 },
      ],
      2,
    ),
    boxOf(-3, 2, 5, 11),
  );
});

test("the wand takes what hangs together and is about as colored, across tiles", () => {
  const size = { width: 700, height: 40 };
  const isWall = (x, y) => (x === 600 && y !== 39) || (y === 20 && x < 100);
  const bitmap = {
    pixels: ({ left, top, right, bottom }) => {
      const data = new Uint8Array((right - left) * (bottom - top) * 4);
      for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++)
          data.fill(
            isWall(x, y) ? 200 : 100 + ((x + y) % 5),
            ((y - top) * (right - left) + x - left) * 4,
            ((y - top) * (right - left) + x - left) * 4 + 4,
          );
      }
      return data;
    },
  };
  let count = 0;
  const walls = [];
  flood(bitmap, size, 3, 3, 4, (y, x0, x1) => {
    count += x1 - x0;
    for (let x = x0; x < x1; x++) if (isWall(x, y)) walls.push([x, y]);
  });
  assert.deepEqual(walls, []);
  assert.equal(count, 700 * 40 - 39 - 100, "each pixel once, round the walls through the gap");
  let alone = 0;
  flood(bitmap, size, 600, 5, 4, (_, x0, x1) => (alone += x1 - x0));
  assert.equal(alone, 39);
});

test("what is under the pointer stays there when the camera zooms", () => {
  const camera = new Camera();
  camera.resize(800, 600, 2, boxOf(0, 0, 1024, 1024));
  assert.equal(camera.scale, (600 - 16) / 1024, "the whole picture, with a margin");
  const before = camera.toPicture(300, 200);
  camera.zoom(3, 300, 200);
  const after = camera.toPicture(300, 200);
  assert.ok(Math.hypot(before.x - after.x, before.y - after.y) < 1e-9);
  const back = camera.toStage(before.x, before.y);
  assert.ok(Math.hypot(back.x - 300, back.y - 200) < 1e-9);
  camera.actual();
  assert.equal(camera.scale, 0.5, "one pixel of the picture on one of the screen");
  camera.zoom(1e9);
  assert.equal(camera.scale, 32);
});
