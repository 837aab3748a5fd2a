// Way back from what a script did to a form: the values and the source picture as they were, 30 levels for each tab, and
// mask, mode and frame where the picture was another.

import { button } from "./dom.js";
import * as form from "./form.js";
import { read, write } from "./store.js";
import { toast } from "./toast.js";

const LEVELS = 30;
const stacks = {};
const sources = {};
const canvases = {};
const layers = new WeakMap(); // step -> mask and sketch of then, as long as the page lives
const MOVES = ["send", "crop"]; // steps that change the picture, and so what is on it
const listeners = [];
const takers = [];
const notes = new Map(); // toast -> {tab, step}: it goes when the step is no longer the last

// canvas: what can be painted on; its state goes with the picture's.
export const useSource = (tab, source, canvas = null) => ((sources[tab] = source), (canvases[tab] = canvas));

const stack = (tab) => (stacks[tab] ??= read(`undo.${tab}`, []));

function keep(tab) {
  write(`undo.${tab}`, stack(tab));
  for (const [note, about] of notes) {
    if (about.tab !== tab || stack(tab).at(-1) === about.step) continue;
    note.remove();
    notes.delete(note);
  }
  listeners.forEach((action) => action(tab));
}

// Says what was done to `tab`, with an Undo that takes back the step of that and no other.
export function toastWithUndo(tab, sentence, step = stack(tab).at(-1)) {
  const isLast = () => stack(tab).at(-1) === step;
  if (!step || !isLast()) return toast(sentence); // another step came in between
  const note = toast(sentence, { action: { text: "Undo", run: () => isLast() && undo(tab) } });
  notes.set(note, { tab, step });
  return note;
}

// action(tab, step) is called when a step has been taken back.
export const onUndo = (action) => takers.push(action);

// Notes the state of `tab` before it is changed. reason: "send", "parameters", "reset" … choice: {given, …} of a step that
// sets the fields `given` and nothing else; to take it back touches neither the picture nor what was changed since. Gives
// back the step, for toastWithUndo().
export function remember(tab, reason, choice = null) {
  const step = { reason, values: form.all(tab), picture: sources[tab]?.picture ?? null, choice };
  if (canvases[tab] && MOVES.includes(reason)) {
    const noted = canvases[tab].noted();
    step.canvas = noted.seen;
    layers.set(step, noted.layers);
  }
  stack(tab).push(step);
  stack(tab).splice(0, Math.max(0, stack(tab).length - LEVELS));
  keep(tab);
  return step;
}

export function undo(tab) {
  const last = stack(tab).pop();
  if (!last) return;
  const { values, choice } = last;
  if (choice) form.set(tab, Object.fromEntries(Object.entries(choice.given).flatMap(([name, given]) => (form.get(tab, name) === given ? [[name, values[name]]] : []))));
  else {
    form.set(tab, values);
    const setPicture = () => sources[tab]?.set(last.picture);
    if (last.canvas) canvases[tab].bringBack(last.canvas, layers.get(last), setPicture);
    else setPicture();
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
