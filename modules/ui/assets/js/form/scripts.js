// The Script section at the bottom of a form: a list of scripts, and the controls of the chosen one, built from the
// server's description. Values are kept in this browser, separately for each script.

import { get } from "../core/api.js";
import { button, h, part } from "../core/dom.js";
import { read, write } from "../core/store.js";
import { control, listed } from "./scriptcontrols.js";

let offered = null; // the answer of /v1/scripts, shared by both forms

export class ScriptSection {
  constructor(tab) {
    this.tab = tab;
    this.scripts = [];
    const kept = read(`script.${tab}`, {});
    this.chosen = kept.name ?? "";
    this.values = kept.values ?? {}; // by script, then by argument
    this.select = h("select", {
      id: `${tab}_script_list`,
      title: "A script makes several pictures from one form, or makes one in a special way.",
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
      offered = null; // the next page requests it again
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

  // Sets values of a script's arguments from elsewhere on the page; isChosen: the script is selected too.
  take(name, values, isChosen) {
    this.values[name] = { ...this.values[name], ...values };
    if (isChosen) this.select.value = this.chosen = name;
    this.keep();
    if (this.chosen === name) this.build();
  }

  // Its part of a request; nothing if no script is chosen.
  toRequest() {
    if (!this.script) return {};
    return { script_name: this.chosen, script_args: this.script.args.map((arg) => this.value(arg)) };
  }

  // Shows a sentence about `field`; returns whether it is about the script.
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
    this.controls.replaceChildren(...shown.map((arg) => control(this, arg)));
    this.error.hidden = true;
    this.refreshFills();
  }

  // The choices of a list for the axis that is chosen in the control before it.
  fillButton(arg, take) {
    const by = this.script.offers[arg.name];
    if (!by) return null;
    const before = this.script.args[this.script.args.findIndex((one) => one.name === arg.name) - 1];
    const fill = button({
      icon: "fill",
      title: "Fill in all available values",
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
