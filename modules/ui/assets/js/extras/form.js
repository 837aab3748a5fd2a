// What Extras does to a picture: the controls, built from the server's declaration, and their values.

import { get } from "../core/api.js";
import { button, first, h } from "../core/dom.js";
import { config, read, write } from "../core/store.js";
import { tabRow } from "../core/tabs.js";
import { control } from "../form/scriptcontrols.js";

const UPSCALERS = ["upscaler_1", "upscaler_2"];
const MODES = { by: "Scale by", to: "Scale to" };
const GROUPS = {
  upscale: ["upscaler_1", "upscaler_2", "extras_upscaler_2_visibility"],
  by: ["upscaling_resize", "max_side_length"],
  to: ["upscaling_resize_w", "upscaling_resize_h", "upscaling_crop"],
  filters: ["denoise", "sharpen", "color_fix"],
};

export class ExtrasForm {
  // onChange() is called for each change.
  constructor(onChange) {
    this.tab = "extras";
    this.onChange = onChange;
    this.fields = Object.fromEntries(config.extras.map((arg) => [arg.name, arg]));
    /** @type {Record<string, any>} */
    this.values = { ...Object.fromEntries(config.extras.map((arg) => [arg.name, arg.default])), resize_mode: 0 };
    const kept = read("form.extras", {});
    for (const name of Object.keys(this.values)) if (name in kept) this.values[name] = kept[name];
    this.upscalers = [];
    this.groups = Object.fromEntries(
      Object.keys(GROUPS).map((name) => [name, h("div", { className: "script-controls", "data-group": name })]),
    );
    this.modes = tabRow(
      MODES,
      "Resize mode",
      (name) => `extras_scale_${name}_tab`,
      (name) => this.put({ resize_mode: name === "to" ? 1 : 0 }),
    );
    this.hint = h("p", { className: "p-soft extras-hint", hidden: true });
    this.element = h(
      "div",
      { className: "extras-form script", id: "extras_form" },
      this.groups.upscale,
      this.hint,
      h("div", { className: "extras-size size" }, this.modes, this.groups.by, this.groups.to),
      h("h3", { textContent: "Filters" }),
      this.groups.filters,
    );
    this.show();
  }

  // The available upscalers: requested each time the tab is opened, as files may have been added.
  async load() {
    const { upscalers, hint } = await get("/v1/upscalers");
    this.upscalers = upscalers;
    this.hint.textContent = hint;
    this.hint.hidden = !hint;
    if (!this.isChosen) this.values.upscaler_1 = upscalers.find((row) => row.is_network)?.name ?? "Lanczos";
    this.show();
    this.onChange();
  }

  // Whether a person has chosen: until then the first network is selected, if there is one.
  get isChosen() {
    return "upscaler_1" in read("form.extras", {});
  }

  show() {
    for (const [group, names] of Object.entries(GROUPS))
      this.groups[group].replaceChildren(...names.map((name) => control(this, this.filled(this.fields[name]))));
    this.groups.to.append(
      button({
        icon: "swap",
        title: "Switch width and height",
        id: "extras_upscaling_res_switch_btn",
        className: "p-small",
        onclick: () => {
          const { upscaling_resize_w: w, upscaling_resize_h: h } = this.values;
          this.put({ upscaling_resize_w: h, upscaling_resize_h: w });
        },
      }),
    );
    const mode = this.values.resize_mode === 1 ? "to" : "by";
    this.groups.by.hidden = mode !== "by";
    this.groups.to.hidden = mode !== "to";
    for (const tab of this.modes.children) {
      const isOpen = tab.getAttribute("data-tab-id") === mode;
      tab.setAttribute("aria-selected", String(isOpen));
      tab.setAttribute("tabindex", isOpen ? "0" : "-1");
    }
  }

  filled(arg) {
    if (!UPSCALERS.includes(arg.name)) return arg;
    const names = this.upscalers.map((row) => row.name);
    const chosen = this.values[arg.name];
    return { ...arg, choices: names.includes(chosen) ? names : [chosen, ...names] };
  }

  idOf(arg) {
    return arg.elem;
  }

  value(arg) {
    return this.values[arg.name];
  }

  set(arg, value) {
    this.values[arg.name] = value;
    write("form.extras", this.values);
    this.clearErrors();
    this.onChange();
  }

  // Sets values that do not come from the controls.
  put(partial) {
    Object.assign(this.values, partial);
    write("form.extras", this.values);
    this.show();
    this.onChange();
  }

  // The request's fields, without hidden ones. A number counts as shown, even while its box has the focus.
  toRequest() {
    if (document.activeElement instanceof HTMLInputElement) document.activeElement.dispatchEvent(new Event("change"));
    const others = this.values.resize_mode === 1 ? GROUPS.by : GROUPS.to;
    return Object.fromEntries(Object.entries(this.values).filter(([name]) => !others.includes(name)));
  }

  // Shows a sentence under the field it is about; returns whether there is such a field.
  complain(sentence, name) {
    const field = first(this.element, `[data-arg="${name}"]`);
    if (!field) return false;
    this.clearErrors();
    field.after(h("div", { className: "p-error", role: "alert", textContent: sentence }));
    return true;
  }

  clearErrors() {
    this.element.querySelectorAll(".p-error").forEach((error) => error.remove());
  }
}
