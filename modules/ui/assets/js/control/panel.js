// The ControlNet group of a form: its units, which are values of the form, and what the server says about them.

import { Refusal } from "../core/api.js";
import { button, h, part } from "../core/dom.js";
import { config } from "../core/store.js";
import * as form from "../form/form.js";
import { Drawing } from "./drawing.js";
import { UnitView } from "./unit.js";
import { blank, drawn, toWire } from "./units.js";

const FIELD = "controlnet";
const FIELDS = [FIELD, "control_images"];
const NO_FILES =
  "There are no ControlNets yet. Put their files (.safetensors, .pth) in models/ControlNet, then refresh.";
const IN_A_BATCH = "In a batch a unit sees the file at hand: remove its own picture, or let it see the source.";

export class ControlPanel {
  // canvas: img2img's, or null. estimate: says the size of the result.
  constructor(tab, lists, canvas, estimate) {
    this.tab = tab;
    this.lists = lists;
    this.drawing = canvas && new Drawing(canvas);
    this.estimate = estimate;
    this.views = [];
    this.isOwn = false;
    this.place = h("div", { className: "control-units" });
    this.error = h("div", { className: "p-error", role: "alert", hidden: true });
    this.hint = h("p", { className: "p-soft control-hint", hidden: true });
    this.adding = button({
      icon: "plus",
      text: "Add a unit",
      id: `${tab}_control_add`,
      className: "p-small",
      title: "A picture that holds the composition of the result",
      onclick: () => this.add(),
    });
    const refresh = button({
      icon: "reset",
      title: "Look for new ControlNet files",
      id: `${tab}_control_refresh`,
      className: "p-small",
      onclick: () => lists.load(true),
    });
    this.element = h(
      "div",
      { className: "control" },
      this.hint,
      this.place,
      this.error,
      h("div", { className: "control-foot" }, this.adding, refresh),
    );
    part("control", tab).replaceChildren(this.element);
    form.onChange((which, name) => which === tab && name === FIELD && !this.isOwn && this.build());
    this.drawing?.onChange(() => this.views.forEach((view) => view.canvasChanged()));
    lists.onChange(() => (this.views.forEach((view) => view.build()), this.build()));
    this.build();
  }

  get units() {
    return form.get(this.tab, FIELD);
  }

  // The source of the unit in which the person is working, for a picture that is pasted.
  get focused() {
    return this.views.find(({ element }) => element.matches(":focus-within, :hover"))?.source ?? null;
  }

  // Pictures that are still being sent.
  get busy() {
    return Promise.all(this.views.map((view) => view.source.busy));
  }

  add() {
    this.put([...this.units, blank(config.control.fields)]);
    this.views.at(-1).element.scrollIntoView({ block: "nearest" });
  }

  remove(number) {
    this.put(this.units.filter((_, at) => at !== number));
  }

  put(units) {
    form.put(this.tab, FIELD, units);
  }

  // A unit has changed by its own controls.
  take(number, unit) {
    this.isOwn = true;
    this.put(this.units.map((one, at) => (at === number ? unit : one)));
    this.isOwn = false;
    this.error.hidden = true;
  }

  build() {
    const { lists } = this;
    const shown = this.views;
    const isShown = (unit, number) => shown[number]?.unit === unit;
    this.views = this.units.map((unit, at) => (isShown(unit, at) ? shown[at] : new UnitView(this, at, unit)));
    this.place.replaceChildren(...this.views.map((view) => view.element));
    this.adding.disabled = this.views.length >= config.control.most;
    this.hint.textContent = lists.problem || NO_FILES;
    this.hint.hidden = !lists.problem && (lists.models.length > 0 || !Object.keys(lists.types).length);
    this.error.hidden = true;
  }

  // The person draws what a unit sees.
  async draw(number) {
    this.put(this.units.map((unit, at) => (at === number ? drawn(unit) : unit)));
    try {
      await this.drawing.begin(await this.size());
    } catch (error) {
      this.complain(error.message, FIELD);
    }
  }

  // The id of the picture that a unit sees, "" if there is none.
  picture(unit) {
    return unit.picture?.id ?? this.drawing?.pictureFor(unit) ?? "";
  }

  // A request's fields for the units. Raises Refusal if one sees the painted lines and there are none.
  async fields() {
    const settle = (unit) => (unit.enabled && this.drawing ? this.drawing.settled(unit, FIELD) : unit);
    return toWire(await Promise.all(this.units.map(settle)));
  }

  // The same for a batch, where a unit can only see the source.
  async fieldsForFiles() {
    const fields = await this.fields();
    if (fields.control_images) throw new Refusal(IN_A_BATCH, FIELD);
    return fields;
  }

  async size() {
    const { width, height } = (await this.estimate.current()) ?? form.all(this.tab);
    return { width, height };
  }

  // Shows a sentence about `field`; returns whether it is about the units.
  complain(sentence, field) {
    if (!FIELDS.includes(field)) return false;
    this.error.textContent = sentence.replace(/^controlnet: ./, (start) => start.at(-1).toUpperCase());
    this.error.hidden = !sentence;
    if (sentence) this.element.dispatchEvent(new CustomEvent("reveal", { bubbles: true }));
    if (sentence) this.error.scrollIntoView({ block: "nearest" });
    return true;
  }
}
