// The prompt boxes: token counters, pasted parameters, attention by Ctrl+Up and Ctrl+Down, and the tools beside
// Generate.

import { post } from "../core/api.js";
import { button, byId, h, insertText, later, part } from "../core/dom.js";
import * as form from "./form.js";
import { fillFrom, looksLikeInfotext } from "./infotext.js";
import { complain, toast } from "../core/toast.js";
import { remember, toastWithUndo } from "./undo.js";

const BOXES = { prompt: "prompt", negative_prompt: "neg_prompt" };
const COUNTERS = { prompt: "token_counter", negative_prompt: "negative_token_counter" };
const STEP = 0.1;

// {lastInfotext(tab), modelDefaults(tab)} come from the gallery and the checkpoint selector; styles and cards have
// buttons of their own.
export function setUpPrompts(tab, { lastInfotext, modelDefaults, styles, cards }) {
  for (const [name, elem] of Object.entries(BOXES)) {
    const area = byId(`${tab}_${elem}`).querySelector("textarea");
    counter(tab, name, area);
    area.addEventListener("paste", (event) => pasted(tab, event));
    area.addEventListener("keydown", (event) => weigh(area, event));
  }
  const read = () => readPrompt(tab, lastInfotext);
  part("prompt-tools", tab).replaceChildren(
    h(
      "div",
      { className: "prompt-tools" },
      button({
        icon: "fill",
        title: "Fill the form from the parameters in the prompt box (from the last picture if it is empty)",
        id: `${tab}_paste`,
        onclick: read,
      }),
      button({
        icon: "trash",
        title: "Clear both prompts",
        id: `${tab}_clear_prompt`,
        onclick: () => withUndo(tab, "Prompts cleared.", { prompt: "", negative_prompt: "", styles: [] }),
      }),
      styles.button(),
      cards.button(tab),
      button({
        icon: "model",
        title: "Use the model's defaults for size, steps, CFG and sampler",
        id: `${tab}_model_defaults`,
        onclick: () => useModel(tab, modelDefaults(tab)),
      }),
      button({
        icon: "reset",
        title: "Reset all settings to their defaults",
        id: `${tab}_reset`,
        onclick: () => reset(tab, modelDefaults(tab)),
      }),
    ),
  );
}

function counter(tab, name, area) {
  const shown = h("span", {
    className: "p-counter",
    id: `${tab}_${COUNTERS[name]}`,
    textContent: "0/75",
    title: "Tokens used, in chunks of 75",
  });
  byId(`${tab}_${BOXES[name]}`).append(shown);
  let counted = "";
  const count = later(async (text) => {
    try {
      const answer = await post("/v1/tokens", { text });
      if (text === counted) shown.textContent = `${answer.count}/${answer.capacity}`;
    } catch (error) {
      shown.textContent = "–/75";
      shown.title = error.message;
    }
  }, 300);
  const recount = (text) => {
    counted = text;
    if (text) count(text);
    else count(""), (shown.textContent = "0/75");
    shown.classList.toggle("bad", !balanced(text));
    if (!balanced(text)) shown.title = "The brackets do not match";
    else shown.title = "Tokens used, in chunks of 75";
  };
  area.addEventListener("input", () => recount(area.value));
  document.addEventListener("server-back", () => recount(area.value));
  form.onChange((which, field, value) => which === tab && field === name && value !== counted && recount(value));
}

export function balanced(text) {
  const open = [];
  const closes = { ")": "(", "]": "[" };
  for (const [mark] of text.matchAll(/\\.|[()[\]]/gs)) {
    if (mark === "(" || mark === "[") open.push(mark);
    else if (mark in closes && open.pop() !== closes[mark]) return false;
  }
  return open.length === 0;
}

async function fillAndTell(tab, text) {
  try {
    const notes = await fillFrom(tab, text);
    toastWithUndo(tab, notes.length ? notes.join(" ") : "Form filled from the parameters.");
  } catch (error) {
    complain(error, "form");
  }
}

function pasted(tab, event) {
  const text = event.clipboardData?.getData("text/plain") ?? "";
  if (!looksLikeInfotext(text)) return;
  event.preventDefault();
  fillAndTell(tab, text);
}

function readPrompt(tab, lastInfotext) {
  const typed = form.get(tab, "prompt");
  const text = looksLikeInfotext(typed) ? typed : typed.trim() ? "" : lastInfotext(tab);
  if (text) fillAndTell(tab, text);
  else
    toast(
      typed.trim()
        ? "The prompt box contains no parameters. Their last line begins with “Steps:”."
        : "There is no picture yet to read parameters from.",
      { area: "form" },
    );
}

function withUndo(tab, sentence, values) {
  remember(tab, "reset");
  form.set(tab, values);
  toastWithUndo(tab, sentence);
}

function useModel(tab, defaults) {
  if (Object.keys(defaults).length) withUndo(tab, "The model's defaults were applied.", defaults);
  else toast("This model has no defaults of its own.", { area: "form" });
}

function reset(tab, defaults) {
  const { prompt: _, negative_prompt: __, styles: ___, ...rest } = form.defaults(tab);
  withUndo(tab, "All settings were reset to their defaults.", { ...rest, ...defaults });
}

// Ctrl+Up and Ctrl+Down change the weight of the selection, or of the word at the cursor, by 0.1.
function weigh(area, event) {
  if (!(event.ctrlKey || event.metaKey) || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
  event.preventDefault();
  const text = area.value;
  let [start, end] = [area.selectionStart, area.selectionEnd];
  const around = [...text.matchAll(/\(([^()]+):([\d.]+)\)/g)].find(
    (match) => match.index <= start && end <= match.index + match[0].length,
  );
  if (!around && start === end) {
    start -= text.slice(0, start).match(/[^\s,()]*$/)[0].length;
    end += text.slice(end).match(/^[^\s,()]*/)[0].length;
  }
  if (!around && start === end) return;
  const inner = around ? around[1] : text.slice(start, end);
  const weight = Math.max(0, (around ? Number(around[2]) : 1) + (event.key === "ArrowUp" ? STEP : -STEP));
  if (around) [start, end] = [around.index, around.index + around[0].length];
  const rounded = Number(weight.toFixed(2));
  const put = rounded === 1 ? inner : `(${inner}:${rounded})`;
  insertText(area, start, end, put);
  const from = rounded === 1 ? start : start + 1;
  area.setSelectionRange(from, from + inner.length);
}
