// The map that a unit's preprocessor draws, beside the picture.

import { post } from "../core/api.js";
import { h, later } from "../core/dom.js";

const PAUSE = 300; // milliseconds after a change

export class Preview {
  // unit() -> the unit; picture() -> the id of what it sees, or "" (a promise); size() -> the result's (a promise).
  constructor({ unit, picture, size }) {
    this.ask = { unit, picture, size };
    this.turn = 0;
    this.image = h("img", { alt: "Map of the preprocessor", hidden: true, draggable: "false" });
    this.text = h("span", { className: "control-map-text", role: "status" });
    this.element = h("div", { className: "control-map" }, this.image, this.text);
    this.runSoon = later(() => this.run(), PAUSE);
    this.clear();
  }

  clear(sentence = "Preview shows what the ControlNet will see.") {
    this.turn += 1;
    this.image.hidden = true;
    this.image.removeAttribute("src");
    this.text.textContent = sentence;
  }

  // Something that the map depends on has changed.
  changed() {
    this.turn += 1;
    if (this.ask.unit().preview) this.runSoon();
    else this.clear();
  }

  async run() {
    const turn = ++this.turn;
    this.text.textContent = "Drawing…";
    try {
      const [id, size] = await Promise.all([this.ask.picture(), this.ask.size()]);
      if (turn !== this.turn) return;
      if (!id) return this.clear("There is no picture yet.");
      const { images } = await post("/controlnet/detect", body(this.ask.unit(), id, size));
      if (turn !== this.turn) return;
      this.image.src = `data:image/png;base64,${images[0]}`;
      await this.image.decode();
      if (turn !== this.turn) return;
      this.image.hidden = false;
      this.text.textContent = "";
    } catch (error) {
      if (turn === this.turn) this.clear(error.message);
    }
  }
}

const body = (unit, id, { width, height }) => ({
  controlnet_module: unit.module,
  controlnet_input_images: [id],
  controlnet_processor_res: unit.processor_res,
  controlnet_threshold_a: unit.threshold_a,
  controlnet_threshold_b: unit.threshold_b,
  pixel_perfect: unit.pixel_perfect,
  resize_mode: unit.resize_mode,
  width,
  height,
});
