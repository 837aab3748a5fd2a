// The controls of a script's arguments, built from the server's description.
//
// section: the ScriptSection they belong to, which holds the values and accepts new ones; idOf(arg) returns an id.

import { button, h } from "../core/dom.js";
import { fitted } from "../core/numberbox.js";

// The visible choices, each with its index among all.
export const listed = (arg) =>
  arg.choices.map((choice, place) => [choice, place]).filter(([choice]) => !arg.unlisted.includes(choice));

export function control(section, arg) {
  return (KINDS[arg.kind] ?? text)(section, arg, section.idOf?.(arg) ?? `${section.tab}_script_${arg.name}`);
}

function field(arg, id, className, ...inside) {
  return h(
    "div",
    { className: `script-field ${className}`, "data-arg": arg.name, title: arg.description },
    h("label", { for: id, textContent: arg.label }),
    ...inside,
  );
}

function checkbox(section, arg, id) {
  const input = h("input", {
    type: "checkbox",
    id,
    checked: section.value(arg),
    onchange: () => section.set(arg, input.checked),
  });
  return h(
    "label",
    { className: "script-check", "data-arg": arg.name, title: arg.description },
    input,
    h("span", { textContent: arg.label }),
  );
}

function checks(section, arg, id) {
  const boxes = arg.choices.map((choice) =>
    h("input", {
      type: "checkbox",
      value: choice,
      checked: section.value(arg).includes(choice),
      onchange: () =>
        section.set(
          arg,
          boxes.filter((box) => box.checked).map((box) => box.value),
        ),
    }),
  );
  const labels = boxes.map((box) =>
    h("label", { className: "script-check" }, box, h("span", { textContent: box.value })),
  );
  return field(
    arg,
    "",
    "script-wide",
    h("div", { className: "script-options", id, role: "group", "aria-label": arg.label }, ...labels),
  );
}

function radio(section, arg, id) {
  const options = listed(arg).map(([choice, place]) => {
    const value = arg.counts ? place : choice;
    const input = h("input", {
      type: "radio",
      name: id,
      checked: section.value(arg) === value,
      onchange: () => section.set(arg, value),
    });
    return h("label", { className: "script-check" }, input, h("span", { textContent: choice }));
  });
  return field(
    arg,
    "",
    "",
    h("div", { className: "script-options", id, role: "radiogroup", "aria-label": arg.label }, ...options),
  );
}

function dropdown(section, arg, id) {
  const select = h(
    "select",
    { id, onchange: () => section.set(arg, arg.counts ? Number(select.value) : select.value) },
    ...listed(arg).map(([choice, place]) =>
      h("option", {
        value: arg.counts ? place : choice,
        textContent: choice,
        selected: section.value(arg) === (arg.counts ? place : choice),
      }),
    ),
  );
  return field(arg, id, "", select);
}

function slider(section, arg, id) {
  // Before the value: a browser clamps a value to the bounds at the time it is set.
  const bounds = { min: arg.minimum, max: arg.maximum, step: arg.step ?? "any" };
  const number = h("input", { type: "number", id, ...bounds, value: section.value(arg) });
  const range =
    arg.maximum === null
      ? null
      : h("input", { type: "range", "aria-label": arg.label, ...bounds, value: section.value(arg) });
  const paint = () => {
    const part = (Number(range?.value) - arg.minimum) / (arg.maximum - arg.minimum);
    range?.style.setProperty("--range_progress", `${100 * part}%`);
  };
  const take = (value) => {
    const fitting = fitted(arg.label, Number(value), arg.minimum, arg.maximum);
    number.value = String(fitting);
    if (range) range.value = String(fitting);
    paint();
    section.set(arg, fitting);
  };
  number.addEventListener("change", () => take(number.value === "" ? section.value(arg) : number.value));
  range?.addEventListener("input", () => take(range.value));
  paint();
  return field(arg, id, "script-slider", number, range);
}

function text(section, arg, id) {
  const area = arg.lines > 1;
  const input = h(area ? "textarea" : "input", {
    id,
    rows: area ? arg.lines : null,
    type: area ? null : "text",
    spellcheck: "false",
    placeholder: arg.placeholder,
    oninput: () => section.set(arg, input.value),
  });
  input.value = section.value(arg);
  const take = (text) => {
    input.value = text;
    section.set(arg, text);
  };
  return field(
    arg,
    id,
    area ? "script-wide" : "",
    h("div", { className: "script-text" }, input, area ? fromFile(take) : section.fillButton(arg, take)),
  );
}

function fromFile(take) {
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

const KINDS = { checkbox, checks, radio, dropdown, slider, number: slider };
