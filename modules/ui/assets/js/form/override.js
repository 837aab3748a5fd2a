// Settings from pasted parameters that differ from the current ones (A1111's Override settings): shown as chips and
// sent with each job of the tab until they are removed.

import { button, h, part } from "../core/dom.js";
import * as form from "./form.js";
import { config } from "../core/store.js";

const labelOf = (name) => config.settings.find((field) => field.name === name)?.label ?? name;

export function setUpOverrides(tab) {
  const place = part("override", tab);
  const without = (name) =>
    Object.fromEntries(Object.entries(form.get(tab, "override_settings")).filter(([known]) => known !== name));
  const chip = ([name, value]) =>
    h(
      "span",
      { className: "chip" },
      `${labelOf(name)}: ${value}`,
      button({
        icon: "close",
        title: `Do not override ${labelOf(name)}`,
        className: "p-bare",
        onclick: () => form.set(tab, { override_settings: without(name) }),
      }),
    );
  const show = (settings) =>
    place.replaceChildren(
      h(
        "div",
        { className: "chips", id: `${tab}_override_settings` },
        h("span", { textContent: "Override settings" }),
        ...Object.entries(settings).map(chip),
      ),
    );
  form.onChange((which, name, value) => which === tab && name === "override_settings" && show(value));
  show(form.get(tab, "override_settings"));
}
