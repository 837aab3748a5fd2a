// Operations on the whole mask: clear, invert, grow, shrink, feather, load, save, use the picture's transparency.

import { h } from "../js/core/dom.js";
import { alphaMask, chosenMask, saveFile } from "./maskfile.js";
import { measured } from "./measure.js";
import { feather, grow, invert } from "./morph.js";
import { maskFile } from "./wire.js";

export class Acts {
  constructor(document, view, status) {
    this.document = document;
    this.view = view;
    this.status = status;
    this.chooser = h("input", {
      type: "file",
      accept: "image/*",
      className: "p-hidden",
      tabindex: "-1",
      "aria-hidden": "true",
      id: "canvas_mask_file",
      onchange: () => this.loadMask(this.chooser.files[0]),
    });
  }

  // One undo step over a whole layer.
  do(what, pixels = 0) {
    const doc = this.document;
    if (what === "clear") return doc.clear(doc.painted === doc.sketch ? "sketch" : "mask");
    if (what === "clear all") return (doc.clear("mask"), doc.clear("sketch"));
    if (what === "clear sketch") return doc.clear("sketch");
    if (what === "invert") return doc.edit("mask", invert);
    if (what === "alpha") return this.take(alphaMask(this.view.bitmap, doc), "The picture has no transparency.");
    const { bounds } = measured(doc.mask);
    if (!bounds) return this.status.say("The mask is empty: there is nothing to change.");
    if (what === "grow") doc.edit("mask", (mask) => grow(mask, bounds, pixels));
    if (what === "shrink") doc.edit("mask", (mask) => grow(mask, bounds, -pixels));
    if (what === "feather") doc.edit("mask", (mask) => feather(mask, bounds, pixels));
  }

  // A whole mask as rows: readRow(y, into), or null with a sentence that says why there is no mask.
  take(readRow, otherwise) {
    if (!readRow) return this.status.say(otherwise);
    const { width, height } = this.document;
    const row = new Uint8Array(width);
    this.document.edit("mask", (mask) => {
      for (let y = 0; y < height; y++) {
        readRow(y, row);
        mask.write({ left: 0, top: y, right: width, bottom: y + 1 }, row);
      }
    });
    this.status.maskIsNew();
  }

  chooseMask() {
    this.chooser.click();
  }

  async loadMask(file) {
    this.chooser.value = "";
    if (!file) return;
    try {
      const { readRow, width, height } = await chosenMask(file, this.document);
      this.take(readRow);
      if (width !== this.document.width || height !== this.document.height)
        this.status.say(
          `The mask was ${width} × ${height}; it was resized to ${this.document.width} × ${this.document.height}.`,
        );
    } catch {
      this.status.say("This browser cannot read the mask file. Use a PNG, JPEG or WebP file.");
    }
  }

  async saveMask() {
    saveFile(await maskFile(this.document.mask), "mask.png");
  }
}
