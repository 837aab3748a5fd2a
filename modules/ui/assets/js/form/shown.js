// Inputs that only some checkpoints take besides the latent: controls that appear if the selected one needs them.

import { byId, h, part } from "../core/dom.js";
import { Source } from "../source/source.js";

export class Shown {
  constructor() {
    const place = h("div");
    part("depth", "img2img").replaceChildren(h("div", { className: "depth-label", textContent: "Depth map" }), place);
    this.depth = new Source(place, "depth", {
      hint: "as large as the source, lighter where things are nearer",
      word: "Depth map",
      onChange: () => {},
    });
    this.setModel("");
  }

  // shown: of the chosen checkpoint, named by the server: "source" has its own scale, "depth" a map.
  setModel(shown) {
    byId("tab_img2img").dataset.shown = shown;
  }

  // Its part of a request.
  fields() {
    const { picture } = this.depth;
    return byId("tab_img2img").dataset.shown === "depth" && picture ? { depth_map: picture.id } : {};
  }
}
