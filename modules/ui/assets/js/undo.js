// Way back from what a script did to a form: the values and the source picture as they were, 30 levels for each tab.

import { button } from "./dom.js";
import * as form from "./form.js";
import { read, write } from "./store.js";

const LEVELS = 30;
const stacks = {};
const sources = {};
const listeners = [];
const takers = [];

export const useSource = (tab, source) => (sources[tab] = source);

const stack = (tab) => (stacks[tab] ??= read(`undo.${tab}`, []));

function keep(tab) {
  write(`undo.${tab}`, stack(tab));
  listeners.forEach((action) => action(tab));
}

// action(tab, step) is called when a step has been taken back.
export const onUndo = (action) => takers.push(action);

// Notes the state of `tab` before it is changed. reason: "send", "parameters", "reset" … choice: {given, …} of a step that
// sets the fields `given` and nothing else; to take it back touches neither the picture nor what was changed since.
export function remember(tab, reason, choice = null) {
  stack(tab).push({ reason, values: form.all(tab), picture: sources[tab]?.picture ?? null, choice });
  stack(tab).splice(0, Math.max(0, stack(tab).length - LEVELS));
  keep(tab);
}

export function undo(tab) {
  const last = stack(tab).pop();
  if (!last) return;
  const { values, choice } = last;
  if (choice) form.set(tab, Object.fromEntries(Object.entries(choice.given).flatMap(([name, given]) => (form.get(tab, name) === given ? [[name, values[name]]] : []))));
  else {
    form.set(tab, values);
    sources[tab]?.set(last.picture);
  }
  takers.forEach((action) => action(tab, last));
  keep(tab);
}

// A button that takes back the last step of `tab` and says which; hidden while there is none.
export function undoButton(tab, onRefresh = () => {}) {
  const words = { send: "Undo send", parameters: "Undo fill", reset: "Undo reset", styles: "Undo styles" };
  const made = button({ icon: "undo", text: "Undo", id: `${tab}_undo`, className: "p-small", title: "Bring back the picture and settings as they were before", onclick: () => undo(tab) });
  const refresh = () => {
    made.hidden = stack(tab).length === 0;
    const last = stack(tab).at(-1);
    made.querySelector("span").textContent = last?.choice ? `Undo: ${last.choice.label}` : (words[last?.reason] ?? "Undo");
    onRefresh();
  };
  listeners.push((which) => which === tab && refresh());
  refresh();
  return made;
}
