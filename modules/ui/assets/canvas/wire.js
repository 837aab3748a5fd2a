// What is sent to the server: pictures once, by the hash of their bytes, and a mask as a small file.

import { upload } from "../js/core/pictures.js";
import { measured } from "./measure.js";
import { grayPng } from "./png.js";
import { TILE } from "./tiles.js";

// The fields that have a meaning only with a mask.
export const MASK_FIELDS = [
  "soft_inpainting",
  "mask_blend_power",
  "mask_blend_scale",
  "inpaint_detail_preservation",
  "composite_mask_influence",
  "composite_difference_threshold",
  "composite_difference_contrast",
  "inpainting_mask_invert",
  "mask_blur",
  "inpaint_full_res",
  "inpaint_full_res_padding",
  "inpainting_fill",
  "mask_strength_by_grey",
  "inpaint_color_match",
];

export class Wire {
  constructor(document, bitmap) {
    this.document = document;
    this.bitmap = bitmap;
    this.known = {}; // id -> the server's description of it
    this.made = {}; // "mask", "flat", "lines" -> {key, blob}: the file of the version sent last
  }

  // The request's fields that come from the canvas. If nothing is masked there is no mask: the whole picture is
  // redrawn. blur: the form's mask blur in pixels.
  async fields(blur) {
    const { document } = this;
    const { picture, sketch } = document;
    if (!picture) return { init_images: [] };
    const isPainted = (document.mode === "sketch" || document.mode === "inpaint_sketch") && !sketch.isEmpty;
    const soft = document.mode === "inpaint_sketch" ? blur : 0;
    const fields = {
      init_images: [
        isPainted
          ? (await this.send("flat", `${picture.id} ${document.version.sketch} ${soft}`, () => this.flat(soft))).id
          : picture.id,
      ],
    };
    const layer = document.masking;
    if (!layer || measured(layer).isEmpty) return fields;
    const name = layer === sketch ? "sketch" : "mask";
    fields.mask = (
      await this.send("mask", `${name} ${layer.width}×${layer.height} ${document.version[name]}`, () => maskFile(layer))
    ).id;
    return fields;
  }

  // What is painted, as light lines on black, of the size of the picture and so many pixels more on each side; null if
  // nothing is.
  async lines({ left, top, right, bottom }) {
    const { sketch, version } = this.document;
    if (!this.document.picture || sketch.isEmpty) return null;
    const key = [sketch.width, sketch.height, left, top, right, bottom, version.sketch].join(" ");
    return this.send("lines", key, () => linesFile(sketch, { left, top, right, bottom }));
  }

  async send(what, key, make) {
    if (this.made[what]?.key !== key) this.made[what] = { key, blob: await make() };
    const sent = await upload(this.made[what].blob, this.known);
    this.known[sent.id] = sent;
    return sent;
  }

  // Source and sketch as one picture. blur (Gaussian's sigma in pixels): as in A1111's Inpaint sketch, the painted
  // picture is laid over the source through the sketch's outline, both blurred.
  async flat(blur) {
    const { width, height, sketch } = this.document;
    const sheet = () => new OffscreenCanvas(width, height).getContext("2d");
    const drawSource = (context) => context.drawImage(this.bitmap.whole, 0, 0, width, height);
    const painted = sheet();
    drawSource(painted);
    drawLayer(painted, sketch, (tile) => tile);
    if (!blur) return painted.canvas.convertToBlob({ type: "image/png" });
    const outline = sheet();
    drawLayer(outline, sketch, opaque);
    const soft = sheet();
    soft.filter = `blur(${blur}px)`;
    soft.drawImage(painted.canvas, 0, 0);
    soft.globalCompositeOperation = "destination-in";
    soft.drawImage(outline.canvas, 0, 0);
    const whole = sheet();
    drawSource(whole);
    whole.drawImage(soft.canvas, 0, 0);
    return whole.canvas.convertToBlob({ type: "image/png" });
  }
}

// Draws a sketch, each tile transformed by `shown`.
function drawLayer(context, sketch, shown) {
  const piece = new OffscreenCanvas(TILE, TILE).getContext("2d");
  sketch.tiles.forEach((tile, index) => {
    if (!tile) return;
    const { left, top } = sketch.partOf(index);
    piece.putImageData(new ImageData(new Uint8ClampedArray(shown(tile)), TILE, TILE), 0, 0);
    context.drawImage(piece.canvas, left, top);
  });
}

function opaque(tile) {
  const made = new Uint8Array(tile.length);
  for (let at = 3; at < tile.length; at += 4) made[at] = tile[at] ? 255 : 0;
  return made;
}

function linesFile(sketch, { left, top, right, bottom }) {
  const { width, height } = sketch;
  const colors = new Uint8Array(width * 4);
  const readRow = (y, into) => {
    into.fill(0);
    if (y < top || y >= top + height) return;
    sketch.readRow(0, y - top, width, colors);
    for (let x = 0; x < width; x++) into[left + x] = colors[x * 4 + 3];
  };
  return grayPng(left + width + right, top + height + bottom, readRow, true);
}

// A mask as a gray PNG; for a sketch, white where it is painted.
export function maskFile(layer) {
  const { width, height } = layer;
  if (layer.channels === 1)
    return grayPng(width, height, (y, into) => layer.readRow(0, y, width, into), measured(layer).isSoft);
  const colors = new Uint8Array(width * 4);
  const readRow = (y, into) => {
    layer.readRow(0, y, width, colors);
    for (let x = 0; x < width; x++) into[x] = colors[x * 4 + 3] ? 255 : 0;
  };
  return grayPng(width, height, readRow, false);
}
