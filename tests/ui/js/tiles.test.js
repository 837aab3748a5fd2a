// Layers in tiles, compared with a plain array of the same pixels; and how tiles are compressed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { boxOf } from "../../../modules/ui/assets/canvas/boxes.js";
import { resized } from "../../../modules/ui/assets/canvas/document.js";
import { measured } from "../../../modules/ui/assets/canvas/measure.js";
import { Reduced } from "../../../modules/ui/assets/canvas/reduced.js";
import { packed, unpacked } from "../../../modules/ui/assets/canvas/runs.js";
import { AREA, isWhole, Layer, TILE, whole } from "../../../modules/ui/assets/canvas/tiles.js";
import { chance } from "./chance.js";

const [WIDTH, HEIGHT] = [TILE + 88, TILE * 2 + 1]; // 2 × 3 tiles, the last ones partial

function edited(layer, change) {
  layer.begin();
  change(layer);
  return layer.end();
}

test("spans across tiles are those of a plain array", () => {
  const layer = new Layer(WIDTH, HEIGHT);
  const plain = new Uint8Array(WIDTH * HEIGHT);
  const below = chance(7);
  edited(layer, () => {
    for (let turn = 0; turn < 300; turn++) {
      const [y, x0, value] = [below(HEIGHT), below(WIDTH), below(256)];
      const x1 = x0 + 1 + below(WIDTH - x0);
      layer.span(y, x0, x1, value);
      plain.fill(value, y * WIDTH + x0, y * WIDTH + x1);
    }
  });
  assert.deepEqual(layer.read(layer.all), plain);
  for (let turn = 0; turn < 50; turn++) {
    const [x, y] = [below(WIDTH), below(HEIGHT)];
    assert.equal(layer.at(x, y), plain[y * WIDTH + x]);
  }
});

test("what is written into a box is read out of it, in one channel and in four", () => {
  for (const channels of [1, 4]) {
    const layer = new Layer(WIDTH, HEIGHT, channels);
    const box = boxOf(TILE - 3, TILE - 2, TILE + 5, TILE + 6);
    const below = chance(3);
    const pixels = Uint8Array.from({ length: 64 * channels }, () => 1 + below(255));
    edited(layer, () => layer.write(box, pixels));
    assert.deepEqual(layer.read(box), pixels);
    assert.deepEqual(layer.cropped(box).read(boxOf(0, 0, 8, 8)), pixels);
    assert.equal(layer.tiles.filter(Boolean).length, 4, "four tiles meet there, and no other is made");
  }
});

test("an empty tile is null, a full one is the common one, up to the picture's edge", () => {
  const layer = new Layer(WIDTH, HEIGHT);
  edited(layer, () => layer.write(layer.all, new Uint8Array(WIDTH * HEIGHT).fill(255)));
  assert.equal(layer.tiles.every(isWhole), true);
  assert.equal(layer.bytes, 0);
  edited(layer, () => layer.write(layer.all, new Uint8Array(WIDTH * HEIGHT)));
  assert.equal(layer.isEmpty, true);
});

test("an edit tells the tiles before it, and none that it did not change", () => {
  const layer = new Layer(WIDTH, HEIGHT);
  edited(layer, () => layer.span(0, 0, 5, 255));
  const before = layer.tiles[0];
  const changed = edited(layer, () => {
    layer.span(0, 0, 6, 255);
    layer.span(HEIGHT - 1, 0, 3, 0); // 0 onto 0
  });
  assert.deepEqual([...changed], [[0, before]]);
  layer.begin();
  layer.span(0, 0, WIDTH, 9);
  layer.cancel();
  assert.deepEqual([layer.at(5, 0), layer.at(6, 0)], [255, 0]);
});

test("a copy shares its tiles and does not follow", () => {
  const layer = new Layer(WIDTH, HEIGHT);
  edited(layer, () => layer.span(3, 0, 5, 255));
  const copy = layer.copy();
  assert.equal(layer.isSame(copy), true);
  edited(layer, () => layer.span(3, 0, 5, 0));
  assert.deepEqual([copy.at(0, 3), layer.at(0, 3), layer.isSame(copy)], [255, 0, false]);
});

test("a packed tile comes back, whatever is in it", () => {
  const below = chance(11);
  const stripes = new Uint8Array(AREA).fill(255, 100, 5000);
  const noise = Uint8Array.from({ length: AREA }, () => below(256));
  const sketch = new Uint8Array(AREA * 4).fill(77, 400, 4000);
  for (const tile of [stripes, noise, sketch]) assert.deepEqual(unpacked(packed(tile)), tile);
  assert.equal(unpacked(packed(null)), null);
  assert.equal(isWhole(unpacked(packed(whole()))), true);
  assert.equal(packed(stripes).bytes, 3 * 5, "three runs of a length and a byte");
  assert.equal(packed(noise).raw, noise, "noise is not made larger");
});

test("a layer is measured over tiles: where, and whether all, nothing or grays", () => {
  const layer = new Layer(WIDTH, HEIGHT);
  assert.deepEqual(measured(layer), { bounds: null, isEmpty: true, isFull: false, isSoft: false });
  edited(layer, () => {
    layer.span(10, TILE - 2, TILE + 2, 255);
    layer.span(TILE + 1, 4, 6, 255);
  });
  assert.deepEqual(measured(layer), {
    bounds: boxOf(4, 10, TILE + 2, TILE + 2),
    isEmpty: false,
    isFull: false,
    isSoft: false,
  });
  edited(layer, () => layer.span(0, 0, 1, 128));
  assert.deepEqual(measured(layer).isSoft, true);
  edited(layer, () => layer.write(layer.all, new Uint8Array(WIDTH * HEIGHT).fill(255)));
  assert.deepEqual(measured(layer), { bounds: layer.all, isEmpty: false, isFull: true, isSoft: false });
});

test("a reduced pixel is the most of those it stands for, after a change too", () => {
  const layer = new Layer(TILE, TILE);
  const reduced = new Reduced(layer, 2);
  edited(layer, () => layer.span(9, 5, 6, 200));
  assert.equal(reduced.tile(0)[2 * (TILE / 4) + 1], 200);
  assert.equal(
    reduced.tile(0).reduce((sum, value) => sum + value, 0),
    200,
  );
  edited(layer, () => layer.span(9, 5, 6, 90));
  reduced.invalidate(boxOf(5, 9, 6, 10));
  assert.equal(reduced.tile(0)[2 * (TILE / 4) + 1], 90);
});

test("a layer of another size takes the nearest pixel", () => {
  const layer = new Layer(4, 2);
  edited(layer, () => layer.write(layer.all, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)));
  assert.deepEqual([...resized(layer, 2, 1).read(boxOf(0, 0, 2, 1))], [6, 8]);
  assert.deepEqual([...resized(layer, 8, 2).read(boxOf(0, 0, 8, 1))], [1, 1, 2, 2, 3, 3, 4, 4]);
});
