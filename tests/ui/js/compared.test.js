import assert from "node:assert/strict";
import { test } from "node:test";

import { differ, placed, reference, shareText } from "../../../modules/ui/assets/js/result/compared.js";

const tools = { fits: { 0: "fill", 1: "cover", 2: "contain" }, pixelsOf: (id) => `/pixels/${id}` };
const made = { url: "/made.png", source: "abc", mode: 1 };

test("a result is compared with its own source, as the resize mode laid it into the frame", () => {
  assert.deepEqual(reference(made, null, tools), {
    url: "/pixels/abc",
    fit: "cover",
    before: "before",
    after: "after",
  });
  assert.equal(reference({ ...made, mode: 9 }, null, tools).fit, "fill");
});

test("a pinned result takes the source's place, and is compared with its own source itself", () => {
  const pinned = { url: "/a.png", reduced: "/a-small.webp", label: "0.4" };
  const other = { url: "/a-small.webp", fit: "contain", before: "A · 0.4", after: "B" };
  assert.deepEqual(reference(made, pinned, tools), other);
  assert.equal(reference(made, { ...made }, tools).before, "before");
});

test("without a source, without a pinned result, there is nothing to compare with", () => {
  assert.equal(reference({ url: "/made.png", source: null }, null, tools), null);
  assert.equal(reference(null, made, tools), null);
});

test("a picture is placed in a frame as object-fit does", () => {
  const wide = { width: 200, height: 100 };
  const frame = { width: 100, height: 100 };
  assert.deepEqual(placed(wide, frame, "fill"), { x: 0, y: 0, width: 100, height: 100 });
  assert.deepEqual(placed(wide, frame, "contain"), { x: 0, y: 25, width: 100, height: 50 });
  assert.deepEqual(placed(wide, frame, "cover"), { x: -50, y: 0, width: 200, height: 100 });
});

test("a difference is four times as strong, opaque, and counts the pixels that are the same", () => {
  const a = Uint8ClampedArray.from([10, 20, 30, 255, 0, 0, 0, 0, 90, 90, 90, 255, 1, 1, 1, 255]);
  const b = Uint8ClampedArray.from([10, 22, 30, 255, 200, 0, 0, 255, 80, 90, 95, 0, 1, 1, 1, 255]);
  assert.equal(differ(a, b), 0.5);
  assert.deepEqual([...b], [0, 8, 0, 255, 255, 0, 0, 255, 40, 0, 20, 255, 0, 0, 0, 255]);
});

test("only equal pictures are the same in all pixels", () => {
  const share = (value) => shareText(value).split(" of")[0];
  assert.deepEqual([share(1), share(0.99999), share(0.721), share(0)], ["100 %", "99 %", "72 %", "0 %"]);
});
