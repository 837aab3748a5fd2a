// One ControlNet unit on the page: its switch, its picture beside the preprocessor's map, and its controls.

import { button, byId, first, h } from "../core/dom.js";
import { isThere } from "../core/pictures.js";
import { config } from "../core/store.js";
import { control } from "../form/scriptcontrols.js";
import { Source } from "../source/source.js";
import { Preview } from "./preview.js";
import { about, LINES, SOURCE, withModule, withType } from "./units.js";

const DECLARED = Object.fromEntries(config.control.fields.map((field) => [field.name, field]));
const HINTS = { [SOURCE]: "or leave it: the source is used", [LINES]: "or leave it: what you paint is used" };
const LIST = { kind: "dropdown", unlisted: [], counts: false };
const SEES = {
  ...LIST,
  name: "sees",
  label: "Picture",
  description: "Source: with what is painted on it. Painted lines: that alone, white on black",
  choices: Object.keys(HINTS),
};
const GONE = "The picture from your last visit is no longer stored. Load it again.";

export class UnitView {
  // panel: {tab, lists, drawing, take(number, unit), remove(number), draw(number), picture(unit), size()}.
  constructor(panel, number, unit) {
    this.panel = panel;
    this.number = number;
    this.unit = unit;
    this.tab = panel.tab;
    this.name = `${panel.tab}_control_${number}`;
    this.line = h("span", { className: "control-about" });
    this.place = h("div", { className: "control-picture" });
    this.upper = h("div", { className: "script-controls control-thirds" });
    this.lower = h("div", { className: "script-controls control-thirds" });
    this.tools = h("div", { className: "control-tools" });
    this.preview = new Preview({
      unit: () => this.unit,
      picture: () => panel.picture(this.unit),
      size: () => panel.size(),
    });
    this.body = h(
      "div",
      { className: "control-body" },
      h("div", { className: "control-pictures" }, this.place, this.preview.element),
      this.tools,
      this.upper,
      this.lower,
    );
    this.element = h("section", { className: "script control-unit", id: this.name }, this.head(), this.body);
    this.source = new Source(this.place, this.name, {
      hint: "or paste it, or click to choose a file",
      word: "Control picture",
      onChange: (picture) => this.put({ picture }, true),
    });
    this.isFilling = true;
    this.source.set(unit.picture);
    this.isFilling = false;
    this.build();
    if (unit.picture) this.check(unit.picture.id);
  }

  head() {
    const title = `Unit ${this.number + 1}`;
    return h(
      "div",
      { className: "control-head" },
      control(this, { name: "enabled", kind: "checkbox", label: title, description: "Use this unit" }),
      this.line,
      button({
        icon: "trash",
        title: `Remove unit ${this.number + 1}`,
        id: `${this.name}_remove_unit`,
        className: "p-small",
        onclick: () => this.panel.remove(this.number),
      }),
    );
  }

  async check(id) {
    if ((await isThere(id).catch(() => true)) || this.unit.picture?.id !== id) return;
    this.source.set(null);
    this.source.complain(GONE);
  }

  // A script's section, for the controls (form/scriptcontrols.js).

  idOf(arg) {
    return `${this.name}_${arg.name}`;
  }

  value(arg) {
    const { unit } = this;
    const value = unit[arg.name];
    const isOwn = arg.own !== undefined && !(value >= arg.minimum && value <= arg.maximum);
    return isOwn ? arg.own : value;
  }

  set(arg, value) {
    const { unit, panel } = this;
    if (arg.name === "module") this.put(withModule(unit, value), true);
    else if (arg.name === "type") this.put(withType(unit, value, panel.lists.types[value]), true);
    else this.put({ [arg.name]: value }, ["pixel_perfect", "sees"].includes(arg.name));
  }

  // isAnew: which controls there are depends on it.
  put(changes, isAnew = false) {
    if (this.isFilling) return;
    this.unit = { ...this.unit, ...changes };
    this.panel.take(this.number, this.unit);
    if (isAnew) this.build();
    else this.show();
    const isOfMap = Object.keys(changes).some((name) => ["picture", "module", "pixel_perfect", "sees"].includes(name));
    if (isOfMap || "threshold_a" in changes || "threshold_b" in changes || "processor_res" in changes)
      this.preview.changed();
  }

  // What is painted, or the source, is another.
  canvasChanged() {
    if (!this.unit.picture && this.unit.enabled) this.preview.changed();
  }

  show() {
    this.line.textContent = about(this.unit);
    this.body.hidden = !this.unit.enabled;
    this.preview.element.hidden = !this.unit.preview;
  }

  build() {
    const { unit, panel } = this;
    const { lists } = panel;
    const focused = document.activeElement?.id;
    const declared = (/** @type {string[]} */ ...names) => names.map((name) => control(this, DECLARED[name]));
    const list = (name, choices, about) => control(this, { ...DECLARED[name], ...LIST, ...about, choices });
    const type = {
      name: "type",
      label: "Control Type",
      description: "Shows the preprocessors and models of this type",
    };
    const seesCanvas = panel.drawing && !unit.picture;
    if (seesCanvas) first(this.source.empty, ".source-call span").textContent = HINTS[unit.sees];
    this.upper.replaceChildren(
      list("type", Object.keys(lists.types), type),
      list("module", lists.modulesFor(unit)),
      list("model", lists.modelsFor(unit)),
      ...lists.slidersFor(unit).map(([field, slider]) => control(this, numberOf(field, slider))),
    );
    this.lower.replaceChildren(
      ...declared("weight", "guidance_start", "guidance_end", "control_mode", "resize_mode"),
      ...(panel.tab === "txt2img" ? declared("hr_option") : []),
      ...(seesCanvas ? [control(this, SEES)] : []),
    );
    this.tools.replaceChildren(
      ...(seesCanvas ? [this.drawButton()] : []),
      button({
        text: "Preview",
        id: `${this.name}_run_preview`,
        title: "Draw what the ControlNet will see",
        className: "p-small",
        onclick: () => (this.put({ preview: true }), this.allow(), this.preview.run()),
      }),
      control(this, {
        name: "preview",
        kind: "checkbox",
        label: "Allow Preview",
        description: "Show the map beside the picture, and draw it again after each change",
      }),
      ...declared("pixel_perfect"),
    );
    this.show();
    if (focused) byId(focused)?.focus();
  }

  drawButton() {
    return button({
      icon: "brush",
      text: "Draw lines",
      id: `${this.name}_draw`,
      title: "Draw on the canvas: this unit sees what is painted, white on black",
      className: "p-small",
      onclick: () => this.panel.draw(this.number),
    });
  }

  allow() {
    byId(`${this.name}_preview`).checked = true;
  }
}

// The description of a preprocessor's number. own: its default, for which the unit has -1.
const numberOf = (field, slider) => ({
  name: field,
  kind: "slider",
  label: slider.name,
  description: "",
  own: slider.value,
  minimum: slider.min,
  maximum: slider.max,
  step: slider.step,
});
