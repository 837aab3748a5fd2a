// What is sent to the server: mask files, decoded here as any PNG reader would.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32, inflateSync } from "node:zlib";
import { Layer } from "../../../modules/ui/assets/canvas/tiles.js";
import { maskFile, Wire } from "../../../modules/ui/assets/canvas/wire.js";
import { chance } from "./chance.js";

// {width, height, depth, values} of a gray PNG whose rows all have the filter Up.
async function readBack(blob) {
  const bytes = Buffer.from(await blob.arrayBuffer());
  assert.deepEqual([...bytes.subarray(0, 8)], [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const chunks = {};
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    assert.equal(bytes.readUInt32BE(at + 8 + length), crc32(bytes.subarray(at + 4, at + 8 + length)));
    chunks[bytes.toString("latin1", at + 4, at + 8)] = bytes.subarray(at + 8, at + 8 + length);
    at += 12 + length;
  }
  assert.deepEqual(Object.keys(chunks), ["IHDR", "IDAT", "IEND"]);
  const [width, height, depth] = [chunks.IHDR.readUInt32BE(0), chunks.IHDR.readUInt32BE(4), chunks.IHDR[8]];
  assert.deepEqual([...chunks.IHDR.subarray(9)], [0, 0, 0, 0], "gray, not interlaced");
  const data = inflateSync(chunks.IDAT);
  const across = depth === 8 ? width : Math.ceil(width / 8);
  assert.equal(data.length, height * (across + 1));
  const values = new Uint8Array(width * height);
  const above = new Uint8Array(across);
  for (let y = 0; y < height; y++) {
    assert.equal(data[y * (across + 1)], 2);
    for (let x = 0; x < across; x++) above[x] += data[y * (across + 1) + 1 + x];
    for (let x = 0; x < width; x++)
      values[y * width + x] = depth === 8 ? above[x] : (above[x >> 3] >> (7 - (x & 7))) & 1 ? 255 : 0;
  }
  return { width, height, depth, values };
}

function layerOf(width, height, channels, values) {
  const layer = new Layer(width, height, channels);
  layer.begin();
  layer.write(layer.all, values);
  layer.end();
  return layer;
}

test("a mask of black and white takes one bit a pixel, one with grays eight", async () => {
  for (const [most, depth] of [
    [2, 1],
    [256, 8],
  ]) {
    for (const [width, height] of [
      [1, 1],
      [7, 3],
      [521, 600],
    ]) {
      const below = chance(width + most);
      const values = Uint8Array.from({ length: width * height }, () => (most === 2 ? below(2) * 255 : below(256)));
      values[0] = most === 2 ? 255 : 77;
      assert.deepEqual(await readBack(await maskFile(layerOf(width, height, 1, values))), {
        width,
        height,
        depth,
        values,
      });
    }
  }
});

test("of a sketch, what is painted is white, however thin", async () => {
  const colors = Uint8Array.of(9, 9, 9, 255, 0, 0, 0, 0, 200, 0, 0, 1);
  assert.deepEqual([...(await readBack(await maskFile(layerOf(3, 1, 4, colors)))).values], [255, 0, 255]);
});

// A canvas's document in the mode "inpaint" with one masked pixel, and what it would upload.
function sending(mode, masked) {
  const mask = layerOf(8, 8, 1, new Uint8Array(64).fill(masked ? 255 : 0, 0, 1));
  const document = {
    mode,
    picture: { id: "abc" },
    mask,
    sketch: new Layer(8, 8, 4),
    masking: mode === "inpaint" ? mask : null,
    version: { mask: 1, sketch: 0 },
  };
  const wire = new Wire(document, null);
  const files = [];
  wire.send = async (what, key, make) => {
    files.push([what, key, (await make()).type]);
    return { id: `${what}-id` };
  };
  return { wire, files };
}

test("a mask goes along only where something is masked and counts", async () => {
  const none = sending("inpaint", false);
  assert.deepEqual(await none.wire.fields(4), { init_images: ["abc"] });
  const other = sending("img2img", true);
  assert.deepEqual(await other.wire.fields(4), { init_images: ["abc"] });
  const masked = sending("inpaint", true);
  assert.deepEqual(await masked.wire.fields(4), { init_images: ["abc"], mask: "mask-id" });
  assert.deepEqual(masked.files, [["mask", "mask 8×8 1", "image/png"]]);
  assert.deepEqual([...none.files, ...other.files], []);
  assert.deepEqual(await new Wire({ picture: null }, null).fields(0), { init_images: [] });
});
