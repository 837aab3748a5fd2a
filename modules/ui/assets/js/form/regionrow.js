// The row that finds faces and other things in the source, shows them as boxes, and says what is done with them.

import { get } from "../core/api.js";
import { button, h, part } from "../core/dom.js";
import { config } from "../core/store.js";
import { toast } from "../core/toast.js";

const DETAILER = "Detailer";

// The boxes as the script takes them: one a line.
export const written = (boxes) =>
  boxes.map(({ left, top, right, bottom }) => [left, top, right, bottom].join(", ")).join("\n");

export class RegionRow {
  // script: the ScriptSection of the form.
  constructor(canvas, script) {
    this.canvas = canvas;
    this.script = script;
    this.kind = h(
      "select",
      { id: "img2img_find_what", "aria-label": "What to find in the picture" },
      ...config.detectors.map((name) => h("option", { value: name, textContent: name.toLowerCase() })),
    );
    const tool = (text, id, title, onclick) =>
      button({ text, id: `img2img_${id}`, title, className: "p-small", onclick });
    this.find = tool("Find", "find", "Find these in the picture and show them as boxes", () => this.search());
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
        tool("Add box", "add_box", "A box to move where you want it", () => this.add()),
        this.text,
        ...this.tools,
      ),
    );
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

  add() {
    if (!this.canvas.document.picture) return this.say("First drop a picture.");
    this.canvas.regions.add();
  }

  // The script's boxes are those on the canvas, also after they are gone: on another picture they would mean nothing.
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
