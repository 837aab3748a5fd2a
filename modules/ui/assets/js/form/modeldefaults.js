// A checkpoint's default values for the forms: they follow the selected checkpoint, except where a person has chosen.

import * as form from "./form.js";
import { config, read, write } from "../core/store.js";

// Values that the previous checkpoint or the form itself set are not a person's choice.
function follow(tab, defaults) {
  const before = read(`defaults.${tab}`, {});
  const usual = form.defaults(tab);
  const given = {};
  for (const name of new Set([...Object.keys(before), ...Object.keys(defaults)])) {
    if (!(name in usual)) continue;
    const next = defaults[name] ?? usual[name];
    const now = form.get(tab, name);
    if (now === (before[name] ?? usual[name]) && now !== next) given[name] = next;
  }
  write(`defaults.${tab}`, defaults);
  if (Object.keys(given).length) form.set(tab, given);
  return Object.keys(given);
}

// engine: {selected, defaults(tab)}. Returns the labels of the changed fields.
export function followModel(engine) {
  const changed = Object.keys(config.tabs).flatMap((tab) => {
    const names = follow(tab, engine.defaults(tab));
    return form.fieldsOf(tab).filter((field) => names.includes(field.name));
  });
  return [...new Set(changed.map((field) => field.label))];
}
