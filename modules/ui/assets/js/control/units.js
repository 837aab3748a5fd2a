// ControlNet units as the form keeps them, and as a request has them. Free of the page, so that it can be tested alone.

/** @typedef {Record<string, any>} Unit the request's fields of a unit by name, and these: */

// enabled: whether it is sent. type: the control type that limits its lists. preview: whether the map is shown.
// picture: {id, width, height …} as the server described it, or null: what the canvas has. sees: which part of that.
export const SOURCE = "Source";
export const LINES = "Painted lines";
const OF_THE_FORM = { enabled: true, type: "All", preview: false, picture: null, sees: SOURCE };
const BY_ITSELF = -1; // the preprocessor's own number
const OWN_NUMBERS = { processor_res: BY_ITSELF, threshold_a: BY_ITSELF, threshold_b: BY_ITSELF };
const NONE = "None";

// A new unit. declared: the fields with their defaults, as in the page's configuration.
export const blank = (declared) => ({
  ...OF_THE_FORM,
  ...OWN_NUMBERS,
  ...Object.fromEntries(declared.map((field) => [field.name, field.default])),
});

// The request's fields for the enabled units; each picture is sent once.
/** @returns {Record<string, any>} */
export function toWire(units) {
  const used = units.filter((unit) => unit.enabled);
  if (!used.length) return {};
  const pictures = [...new Set(used.filter((unit) => unit.picture).map((unit) => unit.picture.id))];
  const controlnet = used.map((unit) => ({
    ...Object.fromEntries(Object.entries(unit).filter(([name]) => !(name in OF_THE_FORM))),
    image: unit.picture ? pictures.indexOf(unit.picture.id) : null,
  }));
  return pictures.length ? { controlnet, control_images: pictures } : { controlnet };
}

// The form's units once parameters of a picture were filled in. read: the units of a text with their stored pictures; a
// text with prompts only has null. One without units switches the form's off: nothing that was set up is lost.
export function restored(now, read) {
  if (!read) return {};
  const units = read.length
    ? read.map((unit) => ({ ...OF_THE_FORM, ...unit }))
    : now.map((unit) => ({ ...unit, enabled: false }));
  return { controlnet: units };
}

// A unit that takes what is painted as it is.
export const drawn = (unit) => ({ ...withModule(unit, "none"), sees: LINES, picture: null });

// What a preprocessor becomes after another one: its own numbers again.
export const withModule = (unit, module) => ({ ...unit, module, ...OWN_NUMBERS });

// What choosing a control type sets. type: {default_option, default_model} from the server.
export const withType = (unit, name, type) => ({
  ...withModule(unit, type.default_option),
  type: name,
  model: type.default_model === NONE ? unit.model : type.default_model,
});

// "lines" of "lines [0123abcd]"
export const bare = (model) => model.replace(/ \[[0-9a-f]*\]$/, "");

// One line about a unit.
export function about(unit) {
  const model = unit.model === NONE ? "no model" : bare(unit.model);
  return [unit.module === "none" ? "" : unit.module, model, unit.weight === 1 ? "" : `× ${unit.weight}`]
    .filter(Boolean)
    .join(" · ");
}

// The parts of the heading of the folded group.
export function summary(units) {
  const used = units.filter((unit) => unit.enabled);
  if (used.length > 1) return [`${used.length} units`, ...used.map((unit) => bare(unit.model))];
  return [used.length ? about(used[0]) : "off"];
}
