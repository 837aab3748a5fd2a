// Hints beside width and height: the resulting size, and what is wrong with the values.

import { button, byId, h, part } from "../core/dom.js";
import * as form from "./form.js";
import { down } from "./sizes.js";
import { config } from "../core/store.js";

export class SizeHints {
  // size: the Size of the tab.
  constructor(size) {
    this.size = size;
    this.tab = size.tab;
    this.hint = part("size-hint", this.tab);
    this.warning = part("size-warning", this.tab);
    this.text = part("size-text", this.tab);
  }

  // estimate: the server's estimate, null if it has none for these values.
  show(estimate) {
    this.warning.replaceChildren();
    if (estimate?.warning) this.warning.append(this.warningOf(estimate));
    else if (estimate && this.isCut(estimate))
      this.warning.append(this.line(`Sides are multiples of ${this.size.unit}: the result is ${sizeOf(estimate)}.`));
    if (this.tab !== "img2img") return;
    const source = this.size.sourceSize();
    this.aboutShape();
    if (!source) this.text.textContent = "Load a picture to see its new size.";
    else if (estimate) this.text.textContent = `from ${sizeOf(source)} to ${sizeOf(estimate)}`;
    this.stepsText().textContent = estimate ? `${estimate.effective_steps} of ${estimate.steps} steps` : "";
  }

  warningOf({ warning, native }) {
    const use = button({
      text: `Use ${sizeOf(native)}`,
      className: "p-link",
      id: `${this.tab}_use_native`,
      title: "The size this checkpoint was trained at",
      onclick: () => this.size.takeNative(native),
    });
    return this.line(warning, use, { id: `${this.tab}_size_warning`, role: "status" });
  }

  // Whether the result has the form's size, except for what the family's rule cuts off.
  isCut({ width, height }) {
    const requested = { width: form.get(this.tab, "width"), height: form.get(this.tab, "height") };
    if (requested.width === width && requested.height === height) return false;
    return down(requested.width, this.size.unit) === width && down(requested.height, this.size.unit) === height;
  }

  aboutShape() {
    this.hint.replaceChildren();
    const source = this.size.sourceSize();
    if (!source || form.get(this.tab, "size_tab") !== "to" || this.size.isShapedLike(source)) return;
    const requested = { width: form.get(this.tab, "width"), height: form.get(this.tab, "height") };
    const { effect } = config.resize_modes[form.get(this.tab, "resize_mode")];
    this.say(
      `${sizeOf(requested)} ${effect} the source (${sizeOf(source)}).`,
      button({
        text: "Use its proportions",
        className: "p-link",
        id: "img2img_use_proportions",
        onclick: () => this.size.proportion(),
      }),
    );
  }

  say(sentence, action = null) {
    this.hint.replaceChildren(this.line(sentence, action));
  }

  line(sentence, action = null, attributes = {}) {
    return h("div", { className: "p-hint", ...attributes }, h("span", { textContent: sentence }), action ?? "");
  }

  stepsText() {
    const found = byId("img2img_effective_steps");
    if (found) return found;
    const made = h("span", {
      className: "steps-text",
      id: "img2img_effective_steps",
      title: "Steps actually run at this denoising strength",
    });
    byId("img2img_denoising_strength").querySelector(".head label").append(made);
    return made;
  }
}

const sizeOf = ({ width, height }) => `${width} × ${height}`;
