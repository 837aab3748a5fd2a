// Number boxes: integers of any length, and how values are handled that a box cannot hold.

import { whole } from "./json.js";
import { toast } from "./toast.js";

// The page has its own box for integers: Gradio's uses JavaScript numbers, which round a 64-bit seed, and overwrites
// what is being typed. take(value): a number, its digits if it would be rounded, or null for none.
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

// A slider turns an emptied box into its minimum, but the person means the previous number; it turns an impossible
// value into the nearest possible one, which is reported.
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

// Rounding 7.5 to an integer is reported; 1.024 is 1024 with a grouping point.
function makeWhole(label, typed) {
  const before = typed.value;
  const isGrouped = /^\d{1,3}\.\d{3}$/.test(before);
  typed.value = isGrouped ? before.replace(".", "") : String(Math.round(Number(before)));
  if (!isGrouped && Number(before) !== Number(typed.value))
    toast(`${label}: ${before} is not a whole number; it was set to ${typed.value}.`);
  typed.dispatchEvent(new Event("input", { bubbles: true }));
}

// The nearest number from minimum to maximum (null: no limit), and a sentence if it differs from `value`.
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
