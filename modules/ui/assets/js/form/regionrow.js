// The row that detects faces and other things in the source, shows them as boxes, and applies what is chosen for them.

import { maskFile } from "../../canvas/wire.js";
import { get, post, request } from "../core/api.js";
import { button, h, part } from "../core/dom.js";
import { upload } from "../core/pictures.js";
import { config } from "../core/store.js";
import { toast } from "../core/toast.js";

const DETAILER = "Detailer";
const SCRATCHES = "Scratches"; // found as a mask, not as boxes

// The boxes in the script's format: one per line.
export const written = (boxes) =>
  boxes.map(({ left, top, right, bottom }) => [left, top, right, bottom].join(", ")).join("\n");

export class RegionRow {
  // script: the ScriptSection of the form.
  constructor(canvas, script) {
    this.canvas = canvas;
    this.script = script;
    this.kind = h(
      "select",
      {
        id: "img2img_find_what",
        "aria-label": "What to find in the picture",
        onchange: () => (this.sensitivity.hidden = this.kind.value !== SCRATCHES),
      },
      ...[...config.detectors, SCRATCHES].map((name) => h("option", { value: name, textContent: name.toLowerCase() })),
    );
    const tool = (text, id, title, onclick) =>
      button({ text, id: `img2img_${id}`, title, className: "p-small", onclick });
    this.find = tool("Find", "find", "Find these in the picture and show them as boxes", () => this.search());
    this.sensitivity = h("input", {
      type: "range",
      id: "img2img_scratch_sensitivity",
      min: "0",
      max: "1",
      step: "0.05",
      value: String(config.scratch_sensitivity),
      hidden: true,
      title: "Sensitivity: further to the right fainter scratches are found, and more that are none",
      "aria-label": "Sensitivity",
    });
    this.fill = tool("Fill without a model", "fill_mask", "Fill the mask from the colors around it", () =>
      this.fillMask(),
    );
    this.fill.hidden = true;
    this.text = h("span", { id: "img2img_found", role: "status" });
    this.tools = [
      tool("Redraw each", "redraw_boxes", "Choose the script Detailer, with these boxes", () => this.redraw()),
      tool("Use as mask", "boxes_to_mask", "Paint the boxes into the mask", () => this.toMask()),
      tool("Remove boxes", "remove_boxes", "", () => canvas.regions.set([])),
    ];
    part("regions", "img2img").replaceChildren(
      h(
        "div",
        { className: "regions-row", role: "group", "aria-label": "Faces and boxes" },
        this.find,
        this.kind,
        this.sensitivity,
        tool("Add box", "add_box", "A box to move where you want it", () => this.add()),
        this.text,
        this.fill,
        ...this.tools,
      ),
    );
    canvas.document.onChange((what) => {
      if (what !== "picture" || this.fill.hidden) return;
      this.fill.hidden = true;
      this.say("");
    });
    canvas.regions.onChange((boxes) => this.changed(boxes));
    this.changed([]); // those of the last visit are not on the canvas
  }

  async search() {
    const { picture } = this.canvas.document;
    if (!picture) return this.say("First drop a picture.");
    const what = this.kind.value;
    this.find.disabled = true;
    this.say("Looking…");
    try {
      if (what === SCRATCHES) return await this.findScratches(picture);
      const { boxes } = await get(`/v1/pictures/${picture.id}/detect?find=${encodeURIComponent(what)}`);
      if (this.canvas.document.picture?.id !== picture.id) return;
      this.canvas.regions.set(boxes);
      if (!boxes.length) this.say(`No ${what.toLowerCase()} were found. Add a box, or paint a mask.`);
    } catch (error) {
      this.say(error.message);
    } finally {
      this.find.disabled = false;
    }
  }

  // The boxes become the mask, which the canvas's tools can correct and its Undo can take back.
  async findScratches(picture) {
    const address = `/v1/pictures/${picture.id}/scratches?sensitivity=${this.sensitivity.value}`;
    const file = await (await request("GET", address)).blob();
    const { canvas } = this;
    if (canvas.document.picture?.id !== picture.id) return;
    canvas.regions.set([]);
    canvas.setMode("inpaint");
    await canvas.acts.loadMask(file);
    this.fill.hidden = canvas.document.mask.isEmpty;
    this.say(
      canvas.document.mask.isEmpty
        ? "No scratches were found. Try more sensitivity, or paint a mask."
        : "The scratches are the mask. Erase what is none, then Generate, or:",
    );
  }

  async fillMask() {
    const { canvas } = this;
    const { picture, mask } = canvas.document;
    this.fill.disabled = true;
    try {
      const { id } = await upload(await maskFile(mask), {});
      const filled = await post(`/v1/pictures/${picture.id}/fill`, { mask: id });
      const blob = await (await request("GET", filled.url)).blob();
      if (canvas.document.picture?.id !== picture.id) return;
      canvas.document.clear("mask");
      await canvas.onBring?.(new File([blob], "repaired.png", { type: "image/png" }));
    } catch (error) {
      this.say(error.message);
    } finally {
      this.fill.disabled = false;
    }
  }

  add() {
    if (!this.canvas.document.picture) return this.say("First drop a picture.");
    this.canvas.regions.add();
  }

  // The script's boxes follow those on the canvas, even when they are removed: on another picture they mean nothing.
  changed(boxes) {
    this.script.take(DETAILER, { boxes: written(boxes) }, false);
    this.show();
  }

  show() {
    const { length } = this.canvas.regions.boxes;
    this.say(length ? `${length} box${length > 1 ? "es" : ""}: drag to move, the corner to resize.` : "");
    for (const each of this.tools) each.hidden = !length;
  }

  say(sentence) {
    this.text.textContent = sentence;
  }

  redraw() {
    const { boxes } = this.canvas.regions;
    this.script.take(DETAILER, { boxes: written(boxes) }, true);
    toast(`The script ${DETAILER} redraws ${boxes.length > 1 ? "these boxes" : "this box"}: press Generate.`);
  }

  toMask() {
    const { canvas } = this;
    const { boxes } = canvas.regions;
    canvas.setMode("inpaint");
    canvas.document.edit("mask", (mask) => {
      for (const box of boxes)
        mask.write(box, new Uint8Array((box.right - box.left) * (box.bottom - box.top)).fill(255));
    });
    canvas.regions.set([]);
  }
}
