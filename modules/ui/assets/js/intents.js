// What a person wants of a part of the picture, as a row of buttons: each sets fields of the form and says which.

import { measured } from "../canvas/measure.js";
import { button, h, part } from "./dom.js";
import * as form from "./form.js";
import { config } from "./store.js";

const TAB = "img2img";
const MODE = { mask: "inpaint", subject: "inpaint" }; // of the canvas, where the need can be met

export function setUpIntents(canvas) {
  const line = h("p", { className: "p-soft intents-line", id: "img2img_intent_line", role: "status", hidden: true });
  const buttons = config.intents.map((intent) =>
    button({ text: intent.label, title: intent.description, id: `img2img_intent_${intent.name}`, className: "p-small", onclick: () => choose(intent) }));
  part("intents", TAB).replaceChildren(
    h("div", { className: "intents", role: "group", "aria-label": "What to do with the picture" }, ...buttons), line);

  function choose(intent) {
    form.set(TAB, intent.values);
    if (MODE[intent.needs] && !canvas.document.masking) canvas.setMode(MODE[intent.needs]);
    if (intent.needs === "frame" && !canvas.document.frame) canvas.frame.toggle();
    const missing = isThere(canvas, intent.needs) ? "" : ` ${intent.ask}`;
    line.textContent = `${intent.label}: ${intent.description}${missing} Set: ${intent.sentence}. Prompt: ${intent.words}.`;
    line.hidden = false;
  }
}

function isThere(canvas, needs) {
  const { masking } = canvas.document;
  if (needs === "frame") return Object.values(canvas.frame.margins).some(Boolean);
  return Boolean(masking) && !measured(masking).isEmpty;
}
