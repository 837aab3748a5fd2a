// What ControlNet units see of img2img's canvas: the source with what is painted on it, or the painted lines alone.

import { Refusal } from "../core/api.js";
import { toast } from "../core/toast.js";
import * as form from "../form/form.js";
import { LINES } from "./units.js";

const TAB = "img2img";
const NOTHING = "controlnet: nothing is painted. Draw lines in the mode Sketch, or let the unit see the source.";
const NO_MARGINS = { left: 0, top: 0, right: 0, bottom: 0 };
const SEEN = ["sketch", "picture", "mode", "frame"];
const PEN = { tool: "brush", size: 6, color: "#000000", hardness: 1 };

export class Drawing {
  constructor(canvas) {
    this.canvas = canvas;
  }

  onChange(action) {
    this.canvas.document.onChange((what) => SEEN.includes(what) && action());
  }

  // The id of what a unit without a picture of its own sees; "" if there is nothing.
  async pictureFor(unit) {
    if (unit.sees === LINES) return (await this.lines())?.id ?? "";
    return (await this.canvas.outgoing()).fields.init_images[0] ?? "";
  }

  // The unit with the picture that it sees, as long as that is not the source. Raises Refusal about `field`.
  async settled(unit, field) {
    if (unit.picture || unit.sees !== LINES) return unit;
    const picture = await this.lines();
    if (!picture) throw new Refusal(NOTHING, field);
    return { ...unit, picture };
  }

  lines() {
    const { frame, wire } = this.canvas;
    return wire.lines(frame.paintsOn ? frame.margins : NO_MARGINS);
  }

  // Readies the canvas for drawing; without a source, on a blank sheet, of which nothing should remain.
  async begin({ width, height }) {
    const { canvas } = this;
    if (!canvas.document.picture) {
      await canvas.onBring(await sheet(width, height));
      form.set(TAB, { denoising_strength: 1 });
      toast("A blank sheet is the source, and Denoising strength is 1, so that only your lines count.");
    }
    canvas.setMode("sketch");
    canvas.settings.set(PEN);
    canvas.element.scrollIntoView({ block: "center" });
  }
}

async function sheet(width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  const blob = await context.canvas.convertToBlob({ type: "image/png" });
  return new File([blob], "blank.png", { type: "image/png" });
}
