// Inpaint area. If Whole picture would shrink a large source, even with nothing masked, Only masked is selected, unless
// a person or a picture's parameters choose otherwise.

import { button, h, part } from "../core/dom.js";
import * as form from "./form.js";
import { read, write } from "../core/store.js";

const TAB = "img2img";
const FIELD = "inpaint_full_res";
const [WHOLE, MASKED] = [0, 1];

export class InpaintArea {
  constructor(estimate, canvas) {
    this.estimate = estimate;
    this.canvas = canvas;
    this.state = read("area", { isOurs: false, isTheirs: false }); // who chose it: the page or a person
    this.picture = null;
    this.place = part("area-note", TAB);
    estimate.onAnswer((estimate) => this.follow(estimate));
    form.onChange(
      (tab, name, _value, who) =>
        tab === TAB && name === FIELD && who !== "script" && this.keep({ isOurs: false, isTheirs: true }),
    );
    canvas.document.onChange((what) => what === "mode" && estimate.refresh());
  }

  keep(state) {
    this.state = state;
    write("area", state);
  }

  // With another picture from the person, the page may choose again.
  setPicture(picture, who) {
    if (who === "person" && picture?.id !== this.picture?.id) this.keep({ ...this.state, isTheirs: false });
    this.picture = picture;
  }

  set(value) {
    form.set(TAB, { [FIELD]: value });
  }

  follow(estimate) {
    if (!estimate) return;
    const { masking, picture } = this.canvas.document;
    const counts = Boolean(picture && masking && estimate.shrinks_source && !this.canvas.frame.paintsOn);
    const area = form.get(TAB, FIELD);
    if (counts && estimate.is_source_large && area === WHOLE && !this.state.isTheirs) {
      this.keep({ isOurs: true, isTheirs: false });
      this.set(MASKED);
    } else if (!counts && area === MASKED && this.state.isOurs) {
      this.keep({ isOurs: false, isTheirs: false });
      this.set(WHOLE);
    }
    this.place.replaceChildren(...(counts ? [this.note(estimate, picture)] : []));
  }

  note(estimate, picture) {
    const other = form.get(TAB, FIELD) === MASKED ? WHOLE : MASKED;
    const source = `${picture.width} × ${picture.height}`;
    const sentence =
      other === WHOLE
        ? `Only masked: the rest of the ${source} source stays unchanged. ` +
          `Whole picture would resize all of it to ${estimate.width} × ${estimate.height}.`
        : `Whole picture resizes all of the ${source} source to ${estimate.width} × ${estimate.height}, ` +
          `including unmasked areas.`;
    const choose = () => {
      this.keep({ isOurs: false, isTheirs: true });
      this.set(other);
    };
    return h(
      "div",
      { className: "p-hint", id: "img2img_area_note", role: "status" },
      h("span", { textContent: sentence }),
      button({
        text: other === WHOLE ? "Use Whole picture" : "Use Only masked",
        className: "p-link",
        id: "img2img_area_other",
        onclick: choose,
      }),
    );
  }

  // The area once it is settled for the current form.
  async settled() {
    this.follow(await this.estimate.current());
    return { [FIELD]: form.get(TAB, FIELD) };
  }
}
