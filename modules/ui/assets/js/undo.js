// Way back from what a script did to a form: the values and the source picture as they were, 30 levels for each tab.

import * as form from "./form.js";
import { read, write } from "./store.js";

const LEVELS = 30;
const stacks = {};
const sources = {};
const listeners = [];

export const onUndoChange = (action) => listeners.push(action);
export const useSource = (tab, source) => (sources[tab] = source);

const stack = (tab) => (stacks[tab] ??= read(`undo.${tab}`, []));
export const depth = (tab) => stack(tab).length;
export const lastReason = (tab) => stack(tab).at(-1)?.reason ?? "";

function keep(tab) {
  write(`undo.${tab}`, stack(tab));
  listeners.forEach((action) => action(tab));
}

// Notes the state of `tab` before it is changed. reason: "send", "parameters", "reset" …
export function remember(tab, reason) {
  stack(tab).push({ reason, values: form.all(tab), picture: sources[tab]?.picture ?? null });
  stack(tab).splice(0, Math.max(0, stack(tab).length - LEVELS));
  keep(tab);
}

export function undo(tab) {
  const last = stack(tab).pop();
  if (!last) return;
  form.set(tab, last.values);
  sources[tab]?.set(last.picture);
  keep(tab);
}
