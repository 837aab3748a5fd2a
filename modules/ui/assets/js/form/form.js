// The values of the two forms: a copy of Gradio's components' values, and how a script changes them.

import { byId, h, later } from "../core/dom.js";
import { whole } from "../core/json.js";
import { mendTyped, ownBox, ownNumber } from "../core/numberbox.js";
import { config, read, write } from "../core/store.js";
import { onTyped, Typing } from "./typing.js";

const values = {};
const pending = {};
/** @type {Record<string, Typing>} */
const typing = {};
const listeners = [];

export const fieldsOf = (tab) => config.tabs[tab];

/** @returns {Record<string, any>} */
export function defaults(tab) {
  const plain = Object.fromEntries(fieldsOf(tab).map((field) => [field.name, field.default]));
  const switches = Object.fromEntries(config.switches.map((name) => [name, false]));
  return { ...plain, ...switches, size_tab: "to", override_settings: {}, styles: [], intent: null, controlnet: [] };
}

for (const tab of Object.keys(config.tabs)) {
  values[tab] = defaults(tab);
  pending[tab] = {};
  typing[tab] = new Typing();
}

export const get = (tab, name) => values[tab][name];
export const all = (tab) => ({ ...values[tab] });
export const has = (tab, name) => name in values[tab];

// action(tab, name, value, who) is called after every change. who: "person", "text" (a picture's parameters) or
// "script".
export const onChange = (action) => listeners.push(action);

const save = {};
for (const tab of Object.keys(config.tabs)) save[tab] = later(() => write(`form.${tab}`, values[tab]), 250);
addEventListener("pagehide", () => Object.keys(values).forEach((tab) => write(`form.${tab}`, values[tab])));

function apply(tab, name, value, who) {
  values[tab][name] = value;
  clearError(tab, name);
  listeners.forEach((action) => action(tab, name, value, who));
  save[tab]();
}

// Sets a value that has no component of Gradio's.
export const put = (tab, name, value) => apply(tab, name, value, "person");

// Called by Gradio when a person, or a script through set(), has changed a component.
export function changed(tab, name, value) {
  if (typing[tab].isOutdated(name, value)) return;
  if (values[tab][name] !== value && !ownBox(elementOf(tab, name))) apply(tab, name, value, "person");
}

// A person types: Gradio reports it a moment later, when a script may have set another value there.
function typed(tab, name, value) {
  delete pending[tab][name];
  typing[tab].typed(name, value);
  if (values[tab][name] !== value) apply(tab, name, value, "person");
}

// `value` as Gradio has it, or the content of a number box of our own.
export const exact = (tab, name, value) => (ownBox(elementOf(tab, name)) ? values[tab][name] : value);

// Sets the values of `partial` in the form, ignoring fields the tab lacks. Returns sentences about values out of range.
export function set(tab, partial, who = "script") {
  const notes = [];
  for (const [name, given] of Object.entries(partial)) {
    if (!has(tab, name)) continue;
    const field = fieldsOf(tab).find((known) => known.name === name);
    let value = given ?? field?.default;
    if (field?.whole) value = whole(value) ?? value;
    if (field && field.minimum !== null && (typeof value === "number" || whole(value) !== null)) {
      const fitting = within(value, field.minimum, field.maximum);
      if (fitting !== value)
        notes.push(`${field.label} ${value} is outside the form's range; it was set to ${fitting}.`);
      value = fitting;
    }
    const box = ownBox(elementOf(tab, name));
    if (box) box.value = value ?? "";
    else pending[tab][name] = value;
    typing[tab].put(name);
    apply(tab, name, value, who);
  }
  byId(`${tab}_apply`).click();
  return notes;
}

const within = (value, minimum, maximum) => {
  if (isAbove(minimum, value)) return minimum;
  return maximum !== null && isAbove(value, maximum) ? maximum : value;
};

// Of numbers, or of integers as digits.
const isAbove = (one, other) =>
  typeof one === typeof other && typeof one === "number" ? one > other : BigInt(one) > BigInt(other);

// The values for the hidden button's event: one per output, undefined for those that do not change.
export function take(tab) {
  const changes = pending[tab];
  pending[tab] = {};
  typing[tab].handed(Object.keys(changes));
  const taken = fieldsOf(tab).map((field) => changes[field.name]);
  return [...taken, ...config.switches.map((name) => changes[name])];
}

// Gradio has applied what take() returned; what was typed in the meantime is applied again.
export function taken(tab) {
  const again = typing[tab].settled();
  if (!Object.keys(again).length) return;
  pending[tab] = { ...again, ...pending[tab] };
  byId(`${tab}_apply`).click();
}

// The values that the browser kept from its last visit; returns whether there were any.
export function restore(tab) {
  const kept = read(`form.${tab}`);
  if (kept) set(tab, kept);
  return Boolean(kept);
}

const EXTRA = ["subseed", "subseed_strength", "seed_resize_from_w", "seed_resize_from_h"];
const REFINER = ["refiner_checkpoint", "refiner_switch_at"];
const isHires = (name) => name === "enable_hr" || name === "denoising_strength" || name.startsWith("hr_");

// The request's fields from the form's values, without those of closed parts: the variation seed belongs to Extra, and
// Hires. fix has its own strength. With Resize to, no scale is sent.
export function toRequest(tab, given) {
  const request = { ...given };
  const closed = [...(request.extra ? [] : EXTRA), ...(request.refine && request.refiner_checkpoint ? [] : REFINER)];
  if (tab === "txt2img" && !request.enable_hr) closed.push(...Object.keys(request).filter(isHires));
  for (const name of [...closed, ...config.switches]) delete request[name];
  if (Object.keys(values[tab].override_settings).length) request.override_settings = values[tab].override_settings;
  if (values[tab].styles.length) request.styles = values[tab].styles;
  if (tab === "img2img" && values[tab].size_tab !== "by") delete request.resize_by;
  for (const name of ["seed", "subseed"]) if (request[name] === null) request[name] = -1;
  return request;
}

// The form's values from a request's fields and related data, as read from an infotext. Without `styles` the chosen
// ones stay.
export function fromRequest({ fields, settings = {}, styles }) {
  const partial = { ...fields, override_settings: settings };
  if (styles) partial.styles = styles;
  if ("subseed_strength" in fields || "seed_resize_from_w" in fields) {
    partial.extra = Boolean(fields.subseed_strength || fields.seed_resize_from_w);
  }
  if ("refiner_checkpoint" in fields) partial.refine = Boolean(fields.refiner_checkpoint);
  if ("resize_by" in fields) partial.size_tab = fields.resize_by === null ? "to" : "by";
  else if ("width" in fields) partial.size_tab = "to";
  return partial;
}

const elementOf = (tab, name) => byId(fieldsOf(tab).find((field) => field.name === name)?.elem ?? "");

// Shows a sentence under the field it is about; returns whether the field is on this form.
export function showError(tab, name, sentence) {
  const block = elementOf(tab, name);
  if (!block) return false;
  clearError(tab, name);
  block.dispatchEvent(new CustomEvent("reveal", { bubbles: true })); // a folded group opens
  block.classList.add("p-wrong");
  block.append(h("div", { className: "p-error", role: "alert", textContent: sentence }));
  block.scrollIntoView({ block: "nearest" });
  return true;
}

export function clearErrors(tab) {
  for (const { name } of fieldsOf(tab)) clearError(tab, name);
}

export function clearError(tab, name) {
  const block = elementOf(tab, name);
  if (!block?.classList.contains("p-wrong")) return;
  block.classList.remove("p-wrong");
  block.querySelector(".p-error")?.remove();
}

// Descriptions become tooltips, which keeps the form short.
export function describe() {
  for (const field of [...Object.values(config.tabs).flat(), ...config.settings]) {
    const block = byId(field.elem);
    if (block && field.description) block.title = field.description;
    if (block && field.whole && tabOf(field))
      ownNumber(block, (value) => apply(tabOf(field), field.name, value, "person"));
    if (block && tabOf(field)) onTyped(block, (value) => typed(tabOf(field), field.name, value));
    block?.addEventListener(
      "focusin",
      (/** @type {FocusEvent & {target: HTMLInputElement}} */ { target }) =>
        target.type === "number" && (target.dataset.before = target.value),
    );
    block?.addEventListener("change", (event) => mendTyped(field, block, event.target), true); // before Gradio gets it
  }
}

const tabOf = (field) => Object.keys(config.tabs).find((tab) => config.tabs[tab].includes(field));
