// What travels to the server: pictures once, by the hash of their bytes, and a mask as a small file.

import { upload } from "../js/pictures.js";
import { measured } from "./measure.js";
import { greyPng } from "./png.js";
import { TILE } from "./tiles.js";

// The fields that say something only with a mask.
export const MASK_FIELDS = ["soft_inpainting", "mask_blend_power", "mask_blend_scale", "inpaint_detail_preservation", "composite_mask_influence", "composite_difference_threshold", "composite_difference_contrast", "inpainting_mask_invert", "mask_blur", "inpaint_full_res", "inpaint_full_res_padding", "inpainting_fill", "mask_strength_by_grey", "inpaint_color_match"];

export class Wire {
  constructor(document, bitmap) {
    Object.assign(this, { document, bitmap });
    this.known = {}; // id -> what the server said of it
    this.made = {}; // "mask", "flat" -> {key, blob}: the file of the version that was sent last
  }

  // The request's fields that come from the canvas. Where nothing is masked there is no mask: the whole is redrawn.
  async fields() {
    const { document } = this;
    const { picture, sketch } = document;
    if (!picture) return { init_images: [] };
    const isPainted = (document.mode === "sketch" || document.mode === "inpaint_sketch") && !sketch.isEmpty;
    const fields = { init_images: [isPainted ? (await this.send("flat", `${picture.id} ${document.version.sketch}`, () => this.flat())).id : picture.id] };
    const layer = document.masking;
    if (!layer || measured(layer).isEmpty) return fields;
    const name = layer === sketch ? "sketch" : "mask";
    fields.mask = (await this.send("mask", `${name} ${layer.width}×${layer.height} ${document.version[name]}`, () => maskFile(layer))).id;
    return fields;
  }

  async send(what, key, make) {
    if (this.made[what]?.key !== key) this.made[what] = { key, blob: await make() };
    const sent = await upload(this.made[what].blob, this.known);
    this.known[sent.id] = sent;
    return sent;
  }

  // Source and sketch as one picture.
  async flat() {
    const { width, height, sketch } = this.document;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.drawImage(this.bitmap.whole, 0, 0, width, height);
    drawLayer(context, sketch);
    return canvas.convertToBlob({ type: "image/png" });
  }
}

export function drawLayer(context, sketch) {
  sketch.tiles.forEach((tile, index) => {
    if (!tile) return;
    const { left, top } = sketch.partOf(index);
    const piece = new OffscreenCanvas(TILE, TILE);
    piece.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(tile), TILE, TILE), 0, 0);
    context.drawImage(piece, left, top);
  });
}

// A mask as a grey PNG; of a sketch, white where it is painted.
export function maskFile(layer) {
  const { width, height } = layer;
  if (layer.channels === 1) return greyPng(width, height, (y, into) => layer.readRow(0, y, width, into), measured(layer).isSoft);
  const colours = new Uint8Array(width * 4);
  const readRow = (y, into) => {
    layer.readRow(0, y, width, colours);
    for (let x = 0; x < width; x++) into[x] = colours[x * 4 + 3] ? 255 : 0;
  };
  return greyPng(width, height, readRow, false);
}
