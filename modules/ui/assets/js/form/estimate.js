// What the form results in, as computed by the server: requested after each relevant change; the newest answer wins.

import { post } from "../core/api.js";
import { later } from "../core/dom.js";
import * as form from "./form.js";

const FIELDS = [
  "width",
  "height",
  "steps",
  "denoising_strength",
  "resize_by",
  "size_tab",
  "inpaint_full_res",
  "enable_hr",
  "hr_scale",
  "hr_resize_x",
  "hr_resize_y",
  "hr_second_pass_steps",
  "override_settings",
];
const PAUSE = 80; // milliseconds after a change

export class Estimate {
  // source() -> {width, height} or null; more() -> request fields that do not come from the form.
  constructor(tab, source = () => null, more = () => ({})) {
    this.tab = tab;
    this.source = source;
    this.more = more;
    this.answer = null;
    this.listeners = [];
    this.turn = 0;
    this.asking = null;
    this.ask = later(() => this.askNow(), PAUSE);
    form.onChange((which, name) => which === tab && FIELDS.includes(name) && this.refresh());
  }

  // action(answer, error) is called with each answer of POST /v1/estimate, or with null and the error.
  onAnswer(action) {
    this.listeners.push(action);
    if (this.answer) action(this.answer, null);
  }

  refresh() {
    this.turn += 1;
    this.ask();
  }

  // The answer for the current form; null if the server has none.
  async current() {
    if (this.turn !== this.answered) await this.askNow();
    return this.answer;
  }

  async askNow() {
    const { turn } = this;
    const values = form.toRequest(this.tab, form.all(this.tab));
    const request = Object.fromEntries(
      FIELDS.filter((name) => name in values && name !== "size_tab").map((name) => [name, values[name]]),
    );
    const source = this.source();
    const size = source && { width: source.width, height: source.height };
    let error = null;
    const answer = await post("/v1/estimate", {
      kind: this.tab,
      request: { ...request, ...this.more() },
      source: size,
    }).catch((refused) => ((error = refused), null));
    if (turn !== this.turn) return;
    this.answered = turn;
    this.answer = answer;
    this.listeners.forEach((action) => action(answer, error));
  }
}
