// Boxes of numbers: whole ones of any length, and what is done with a number that a box cannot hold.

import { whole } from "./json.js";
import { toast } from "./toast.js";

// A box for a whole number is the page's own: Gradio takes JavaScript's number for it, which rounds a seed of 64 bits,
// and writes that back while one types. take(value): a number, its digits where that would be rounded, null for none.
export function ownNumber(block, take) {
  const box = block.querySelector("input[type=number]");
  if (!box || block.querySelector("input[type=range]")) return;
  box.dataset.own = "yes";
  block.addEventListener(
    "input",
    (event) => {
      event.stopImmediatePropagation();
      take(box.value === "" ? null : (whole(box.value) ?? Number(box.value)));
    },
    true,
  );
  box.addEventListener("keydown", (event) => {
    const by = { ArrowUp: 1n, ArrowDown: -1n }[event.key];
    if (!by || typeof whole(box.value) !== "string") return;
    event.preventDefault();
    box.value = String(BigInt(box.value) + by);
    box.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

// The box of ownNumber() in `block`, or null.
export const ownBox = (block) => block?.querySelector("input[data-own]") ?? null;

// A slider takes its minimum for a box that was emptied, where the last number is meant, and the nearest number it has
// for what it has not: that is said.
export function mendTyped({ label, minimum, maximum, whole }, block, typed) {
  if (typed.type !== "number" || !block.querySelector("input[type=range]")) return;
  if (typed.value === "" && typed.dataset.before) {
    typed.value = typed.dataset.before;
    typed.dispatchEvent(new Event("input", { bubbles: true }));
  } else if (typed.value !== "") {
    if (whole && typed.value.includes(".")) makeWhole(label, typed);
    typed.dataset.before = fitted(label, Number(typed.value), minimum, maximum);
  }
}

// 7.5 of what is counted is told; 1.024 is 1024, written as elsewhere.
function makeWhole(label, typed) {
  const before = typed.value;
  const isGrouped = /^\d{1,3}\.\d{3}$/.test(before);
  typed.value = isGrouped ? before.replace(".", "") : String(Math.round(Number(before)));
  if (!isGrouped && Number(before) !== Number(typed.value))
    toast(`${label}: ${before} is not a whole number; it was set to ${typed.value}.`);
  typed.dispatchEvent(new Event("input", { bubbles: true }));
}

// The nearest number from minimum to maximum (null: there is none), and a sentence where that is another one.
export function fitted(label, value, minimum, maximum) {
  const fitting = Math.min(Math.max(value, minimum ?? -Infinity), maximum ?? Infinity);
  const range =
    maximum === null
      ? `at least ${minimum}`
      : minimum === null
        ? `at most ${maximum}`
        : `from ${minimum} to ${maximum}`;
  if (fitting !== value) toast(`${label}: ${value} is not ${range}; it was set to ${fitting}.`);
  return fitting;
}
