// A picture's parameters as text: recognizes them, displays them, and fills the form from them.

import { restored } from "../control/units.js";
import { post } from "../core/api.js";
import { button, h } from "../core/dom.js";
import * as form from "./form.js";
import { toast } from "../core/toast.js";
import { remember } from "./undo.js";

const LAST_LINE = /^Steps: \d+,/;

export const looksLikeInfotext = (text) => LAST_LINE.test(text.trim().split("\n").at(-1)) && text.includes(": ");

// For display only (the server does the real parsing): {prompt, negative, pairs: [[key, value]]}.
export function taken(text) {
  const lines = text.trim().split("\n");
  const at = lines.findLastIndex((line) => LAST_LINE.test(line));
  const [last = "", ...behind] = at < 0 ? [] : lines.splice(at);
  const [prompt, negative = ""] = lines.join("\n").split(/\n?Negative prompt: /);
  const pairs = [...last.matchAll(/([\w ().+-]+?): ("(?:[^"\\]|\\.)*"|(?:[^,]|,(?=\d))*)(?:, |$)/g)].map((match) => [
    match[1].trim(),
    match[2],
  ]);
  for (const [, key, value] of behind.map((line) => line.match(/^([A-Z][\w ]*): (.*)/) ?? []))
    if (key) pairs.push([key, value]);
  return { prompt, negative, pairs };
}

export function pretty(text) {
  if (!text) return h("p", { className: "p-soft", textContent: "This picture has no parameters." });
  const { prompt, negative, pairs } = taken(text);
  return h(
    "div",
    { className: "infotext" },
    h("p", { className: "infotext-prompt", textContent: prompt || "(no prompt)" }),
    negative
      ? h("p", { className: "infotext-negative" }, h("b", { textContent: "Negative prompt" }), ` ${negative}`)
      : null,
    h(
      "dl",
      {},
      ...pairs.map(([key, value]) => h("div", {}, h("dt", { textContent: key }), h("dd", { textContent: value }))),
    ),
  );
}

export function copyButton(text) {
  return button({
    icon: "copy",
    text: "Copy",
    className: "p-small p-copy",
    onclick: async () => {
      await copy(text());
      toast("Parameters copied to the clipboard.");
    },
  });
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h("textarea", { textContent: text }); // on plain http over a LAN there is no clipboard object
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

// read: {fields, settings, styles, units, notes} from the server, for the form of `tab`. The old values can be restored
// (by the caller's undo step, if it noted one). Returns the sentences to show.
export function fill(tab, read, undoable = true) {
  if (undoable) remember(tab, "parameters");
  const units = restored(form.get(tab, "controlnet"), read.units);
  const clamped = form.set(tab, { ...form.fromRequest(read), ...units, intent: null }, "text");
  return [...(read.notes ?? []), ...clamped];
}

export const fillFrom = async (tab, text) => fill(tab, await post("/v1/infotext", { text }));
