// The Script section at the bottom of a form: a choice of scripts, and the controls of the chosen one, built from what
// the server says of them. What is set is kept in this browser, for each script.

import { get } from "./api.js";
import { button, h, part } from "./dom.js";
import { fitted } from "./numberbox.js";
import { read, write } from "./store.js";

let offered = null; // the answer of /v1/scripts, one for both forms

// The choices that are shown, each with its number among all.
const listed = (arg) =>
  arg.choices.map((choice, place) => [choice, place]).filter(([choice]) => !arg.unlisted.includes(choice));

export class ScriptSection {
  constructor(tab) {
    this.tab = tab;
    this.scripts = [];
    const kept = read(`script.${tab}`, {});
    this.chosen = kept.name ?? "";
    this.values = kept.values ?? {}; // by script, then by argument
    this.select = h("select", {
      id: `${tab}_script_list`,
      title: "A script makes many pictures of one form, or one in a way of its own.",
      onchange: () => this.choose(this.select.value),
    });
    this.about = h("p", { className: "p-soft script-about", hidden: true });
    this.error = h("div", { className: "p-error", role: "alert", hidden: true });
    this.controls = h("div", { className: "script-controls" });
    this.problems = h("div", { className: "script-problems" });
    part("script", tab).replaceChildren(
      h(
        "section",
        { className: "script" },
        h("label", { className: "script-field script-choice" }, h("span", { textContent: "Script" }), this.select),
        this.problems,
        this.error,
        this.about,
        this.controls,
      ),
    );
    this.fill();
    this.load();
  }

  async load() {
    offered ??= get("/v1/scripts");
    try {
      const answer = await offered;
      this.scripts = answer[this.tab] ?? [];
      this.problems.replaceChildren(
        ...(answer.problems ?? []).map((text) => h("p", { className: "p-error", textContent: text })),
      );
    } catch (error) {
      offered = null; // asked again by the next page
      this.problems.replaceChildren(
        h("p", { className: "p-error", textContent: `The scripts could not be listed. ${error.message}` }),
      );
    }
    this.fill();
  }

  get script() {
    return this.scripts.find((one) => one.name === this.chosen) ?? null;
  }

  fill() {
    const names = ["", ...this.scripts.map((one) => one.name)];
    this.select.replaceChildren(
      ...names.map((name) => h("option", { value: name, textContent: name || "None", selected: name === this.chosen })),
    );
    this.select.value = this.script ? this.chosen : "";
    this.build();
  }

  choose(name) {
    this.chosen = name;
    this.keep();
    this.build();
  }

  keep() {
    write(`script.${this.tab}`, { name: this.chosen, values: this.values });
  }

  value(arg) {
    const kept = this.values[this.chosen]?.[arg.name];
    if (kept === undefined) return arg.default;
    const place = listed(arg).some(([choice, number]) => kept === (arg.counts ? number : choice));
    return arg.kind === "checks" || !arg.choices.length || place ? kept : arg.default; // a list may have changed since
  }

  set(arg, value) {
    this.values[this.chosen] = { ...this.values[this.chosen], [arg.name]: value };
    this.keep();
    this.error.hidden = true;
    this.refreshFills();
  }

  // What a request holds of it; nothing where no script is chosen.
  toRequest() {
    if (!this.script) return {};
    return { script_name: this.chosen, script_args: this.script.args.map((arg) => this.value(arg)) };
  }

  // Shows a sentence about `field`; tells whether it is about the script.
  complain(sentence, field) {
    if (!field?.startsWith("script_")) return false;
    const at = this.controls.querySelector(`[data-arg="${CSS.escape(field.split(".")[1] ?? "")}"]`);
    (at ?? this.select.parentElement).after(this.error);
    this.error.textContent = sentence;
    this.error.hidden = !sentence;
    if (sentence) this.error.scrollIntoView({ block: "nearest" });
    return true;
  }

  build() {
    const { script } = this;
    this.about.textContent = script?.description ?? "";
    this.about.hidden = !this.about.textContent;
    this.fills = [];
    const shown = (script?.args ?? []).filter((arg) => arg.kind !== "hidden");
    this.controls.replaceChildren(...shown.map((arg) => this.control(arg)));
    this.error.hidden = true;
    this.refreshFills();
  }

  control(arg) {
    const build =
      {
        checkbox: this.checkbox,
        checks: this.checks,
        radio: this.radio,
        dropdown: this.dropdown,
        slider: this.slider,
        number: this.slider,
      }[arg.kind] ?? this.text;
    return build.call(this, arg, `${this.tab}_script_${arg.name}`);
  }

  field(arg, id, className, ...inside) {
    return h(
      "div",
      { className: `script-field ${className}`, "data-arg": arg.name, title: arg.description },
      h("label", { for: id, textContent: arg.label }),
      ...inside,
    );
  }

  checkbox(arg, id) {
    const input = h("input", {
      type: "checkbox",
      id,
      checked: this.value(arg),
      onchange: () => this.set(arg, input.checked),
    });
    return h(
      "label",
      { className: "script-check", "data-arg": arg.name, title: arg.description },
      input,
      h("span", { textContent: arg.label }),
    );
  }

  checks(arg, id) {
    const boxes = arg.choices.map((choice) =>
      h("input", {
        type: "checkbox",
        value: choice,
        checked: this.value(arg).includes(choice),
        onchange: () =>
          this.set(
            arg,
            boxes.filter((box) => box.checked).map((box) => box.value),
          ),
      }),
    );
    const labels = boxes.map((box) =>
      h("label", { className: "script-check" }, box, h("span", { textContent: box.value })),
    );
    return this.field(
      arg,
      "",
      "script-wide",
      h("div", { className: "script-options", id, role: "group", "aria-label": arg.label }, ...labels),
    );
  }

  radio(arg, id) {
    const options = listed(arg).map(([choice, place]) => {
      const value = arg.counts ? place : choice;
      const input = h("input", {
        type: "radio",
        name: id,
        checked: this.value(arg) === value,
        onchange: () => this.set(arg, value),
      });
      return h("label", { className: "script-check" }, input, h("span", { textContent: choice }));
    });
    return this.field(
      arg,
      "",
      "",
      h("div", { className: "script-options", id, role: "radiogroup", "aria-label": arg.label }, ...options),
    );
  }

  dropdown(arg, id) {
    const select = h(
      "select",
      { id, onchange: () => this.set(arg, arg.counts ? Number(select.value) : select.value) },
      ...listed(arg).map(([choice, place]) =>
        h("option", {
          value: arg.counts ? place : choice,
          textContent: choice,
          selected: this.value(arg) === (arg.counts ? place : choice),
        }),
      ),
    );
    return this.field(arg, id, "", select);
  }

  slider(arg, id) {
    const bounds = { min: arg.minimum, max: arg.maximum, step: arg.step ?? "any" };
    const number = h("input", { type: "number", id, value: this.value(arg), ...bounds });
    const range =
      arg.maximum === null
        ? null
        : h("input", { type: "range", "aria-label": arg.label, value: this.value(arg), ...bounds });
    const paint = () =>
      range?.style.setProperty("--range_progress", `${(100 * (range.value - range.min)) / (range.max - range.min)}%`);
    const take = (value) => {
      const fitting = fitted(arg.label, Number(value), arg.minimum, arg.maximum);
      number.value = fitting;
      if (range) range.value = fitting;
      paint();
      this.set(arg, fitting);
    };
    number.addEventListener("change", () => take(number.value === "" ? this.value(arg) : number.value));
    range?.addEventListener("input", () => take(range.value));
    paint();
    return this.field(arg, id, "script-slider", number, range);
  }

  text(arg, id) {
    const area = arg.lines > 1;
    const input = h(area ? "textarea" : "input", {
      id,
      rows: area ? arg.lines : null,
      type: area ? null : "text",
      spellcheck: "false",
      placeholder: arg.placeholder,
      oninput: () => this.set(arg, input.value),
    });
    input.value = this.value(arg);
    const take = (text) => {
      input.value = text;
      this.set(arg, text);
    };
    return this.field(
      arg,
      id,
      area ? "script-wide" : "",
      h("div", { className: "script-text" }, input, area ? this.fromFile(take) : this.fillButton(arg, take)),
    );
  }

  fromFile(take) {
    const file = h("input", {
      type: "file",
      accept: ".txt,.csv,text/plain",
      hidden: true,
      onchange: async () => file.files[0] && take(await file.files[0].text()),
    });
    return h(
      "span",
      {},
      file,
      button({ icon: "folder", title: "Fill in from a text file", className: "p-small", onclick: () => file.click() }),
    );
  }

  // What a list offers for the axis that is chosen in the control before.
  fillButton(arg, take) {
    const by = this.script.offers[arg.name];
    if (!by) return null;
    const before = this.script.args[this.script.args.findIndex((one) => one.name === arg.name) - 1];
    const fill = button({
      icon: "fill",
      title: "Fill in all that there is",
      className: "p-small",
      onclick: () => take(by[this.value(before)] ?? ""),
    });
    this.fills.push(() => (fill.hidden = !by[this.value(before)]));
    return fill;
  }

  refreshFills() {
    this.fills?.forEach((refresh) => refresh());
  }
}
