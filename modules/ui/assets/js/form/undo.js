// Undo for what a script or a button did to a form and its picture. A step records what it changed and the new values:
// undoing it touches nothing else, and nothing that was changed since.

import { button } from "../core/dom.js";
import * as form from "./form.js";
import { read, write } from "../core/store.js";
import { begins, toast } from "../core/toast.js";

const LEVELS = 30;
const MOVES = ["send", "crop", "remove", "replace"]; // steps that change the picture, and so what is painted on it
const OF_PICTURE = ["width", "height", "resize_by", "size_tab"]; // fields that go with the picture
const WORDS = {
  send: "Undo send",
  parameters: "Undo fill",
  reset: "Undo reset",
  styles: "Undo styles",
  crop: "Undo crop",
  remove: "Undo remove",
};
const stacks = {};
const sources = {};
const canvases = {};
const layers = new WeakMap(); // state -> mask and sketch at that time, as long as the page lives
const listeners = [];
const takers = [];
const notes = new Map(); // toast -> {tab, step}: it disappears when the step is no longer the last

// canvas: something that can be painted on; its state goes with the picture's.
export const useSource = (tab, source, canvas = null) => ((sources[tab] = source), (canvases[tab] = canvas));

// Steps of an older page version contain less and are dropped.
const stack = (tab) => (stacks[tab] ??= read(`undo.${tab}`, []).filter((step) => step.before && step.after));
const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const idOf = (picture) => picture?.id ?? null;

function keep(tab) {
  write(`undo.${tab}`, stack(tab));
  for (const [note, about] of notes) {
    if (about.tab !== tab || stack(tab).at(-1) === about.step) continue;
    note.remove();
    notes.delete(note);
  }
  listeners.forEach((action) => action(tab));
}

// The current state of the tab: {values, picture, canvas: {mode, frame} or null}.
function state(tab) {
  const noted = canvases[tab]?.noted();
  const now = { values: form.all(tab), picture: sources[tab]?.picture ?? null, canvas: noted?.seen ?? null };
  if (noted) layers.set(now, noted.layers);
  return now;
}

// Records `after` as the step's result; only the values that it changed count.
function close(step, after) {
  const { before } = step;
  const changed = Object.keys(after.values).filter((name) => !isSame(before.values[name], after.values[name]));
  for (const one of [before, after]) one.values = Object.fromEntries(changed.map((name) => [name, one.values[name]]));
  step.after = after;
}

// Shows what was done to `tab`, with an Undo for that step only. The current state is the step's result.
export function toastWithUndo(tab, sentence, step = stack(tab).at(-1)) {
  if (step) done(tab, step);
  const isLast = () => stack(tab).at(-1) === step;
  if (!step || !isLast()) return toast(sentence, { area: "form" }); // another step was made in between
  const note = toast(sentence, { area: "form", action: { text: "Undo", run: () => isLast() && undo(tab) } });
  notes.set(note, { tab, step });
  return note;
}

// action(tab, step) is called when a step has been undone.
export const onUndo = (action) => takers.push(action);

// Records the state of `tab` before a change. reason: "send", "parameters", "reset" … choice: {given, …} of a step that
// sets only the fields `given`. Returns the step, for toastWithUndo() or done() after the change.
export function remember(tab, reason, choice = null) {
  const step = { reason, choice, before: state(tab), after: null };
  if (choice) close(step, { ...step.before, values: { ...step.before.values, ...choice.given } });
  stack(tab).push(step);
  stack(tab).splice(0, Math.max(0, stack(tab).length - LEVELS));
  keep(tab);
  return step;
}

// The change of `step` has been made.
export function done(tab, step) {
  if (!step.after) close(step, state(tab));
  keep(tab);
}

// The change of `step` was not made after all.
export function forget(tab, step) {
  stacks[tab] = stack(tab).filter((one) => one !== step);
  keep(tab);
}

// act() replaces the current picture by another. Only a message can undo that.
export function replace(tab, act) {
  const step = { reason: "replace", choice: null, before: state(tab), after: null };
  begins("form");
  act();
  close(step, state(tab));
  toast("Picture replaced.", { action: { text: "Undo", run: () => takeBack(tab, step) } });
}

export function undo(tab) {
  const step = stack(tab).pop();
  if (!step) return;
  done(tab, step);
  takeBack(tab, step, () => stack(tab).push(step));
}

// again(): called when the step is made once more.
function takeBack(tab, step, again = () => {}) {
  const now = state(tab);
  const stays = !move(tab, step, step.after, step.before);
  takers.forEach((action) => action(tab, step));
  keep(tab);
  if (!MOVES.includes(step.reason)) return;
  const then = state(tab);
  const redo = () => (move(tab, step, then, now), again(), keep(tab));
  toast(stays ? "Undone. The newer picture is kept." : "Undone.", {
    action: { text: "Redo", run: redo },
  });
}

// Moves what `step` changed from one state to another, where it is still in the first. Returns whether the picture is
// as it should be: one that came since stays, with its size and what is painted on it.
function move(tab, { reason }, from, to) {
  const [source, canvas] = [sources[tab], canvases[tab]];
  const isMove = MOVES.includes(reason) && Boolean(source);
  const isThere = !isMove || idOf(source.picture) === idOf(from.picture);
  const own = Object.keys(to.values).filter(
    (name) => isSame(form.get(tab, name), from.values[name]) && (isThere || !OF_PICTURE.includes(name)),
  );
  if (isMove && isThere) {
    const setPicture = () => source.set(to.picture);
    if (!canvas || !to.canvas) setPicture();
    else
      canvas.bringBack(
        {
          frame: to.canvas.frame,
          mode: canvas.document.mode === from.canvas?.mode ? to.canvas.mode : canvas.document.mode,
        },
        layers.get(to),
        setPicture,
      );
  }
  if (own.length) form.set(tab, Object.fromEntries(own.map((name) => [name, to.values[name]])));
  return isThere;
}

// A button that undoes the last step of `tab` and names it; hidden if there is none.
export function undoButton(tab, onRefresh = () => {}) {
  const made = button({
    icon: "undo",
    text: "Undo",
    id: `${tab}_undo`,
    className: "p-small",
    title: "Undo the last action on the picture and the settings; your later changes are kept",
    onclick: () => undo(tab),
  });
  const refresh = () => {
    made.hidden = stack(tab).length === 0;
    const last = stack(tab).at(-1);
    made.querySelector("span").textContent = last?.choice
      ? `Undo: ${last.choice.label}`
      : (WORDS[last?.reason] ?? "Undo");
    onRefresh();
  };
  listeners.push((which) => which === tab && refresh());
  refresh();
  return made;
}
