// What a person wants of a part of the picture, as a row of buttons: each sets fields of the form and says which.

import { measured } from "../canvas/measure.js";
import { button, h, later, part } from "./dom.js";
import * as form from "./form.js";
import { config } from "./store.js";
import { onUndo, remember } from "./undo.js";

const TAB = "img2img";
const OF_FRAME = { outpaint_fill: "outpaintFill", outpaint_feather: "outpaintFeather" }; // fields whose controls are the frame's
const PAUSE = 120; // milliseconds after a change of the canvas
const MODE = { mask: "inpaint", subject: "inpaint" }; // of the canvas, where the need can be met

export function setUpIntents(canvas) {
  let chosen = null;
  const line = h("p", { className: "p-soft intents-line", id: "img2img_intent_line", role: "status", hidden: true });
  const buttons = config.intents.map((intent) =>
    button({ text: intent.label, title: intent.description, id: `img2img_intent_${intent.name}`, className: "p-small", onclick: () => choose(intent) }));
  part("intents", TAB).replaceChildren(
    h("div", { className: "intents", role: "group", "aria-label": "What to do with the picture" }, ...buttons), line);

  function choose(intent) {
    const { mode } = canvas.document;
    const needed = (!canvas.document.masking && MODE[intent.needs]) || mode;
    const frame = Object.entries(OF_FRAME).filter(([name]) => name in intent.values).map(([name, key]) => ({ key, given: intent.values[name], before: canvas.settings[key] }));
    const drawn = { before: canvas.document.frame };
    const choice = { given: intent.values, label: intent.label, mode, needed, drawn, frame };
    if (intent.needs === "frame") canvas.frame.drawOut();
    drawn.given = canvas.document.frame;
    remember(TAB, "intent", choice);
    form.set(TAB, intent.values);
    for (const { key, given } of frame) canvas.settings.set({ [key]: given });
    canvas.setMode(needed);
    tell(intent);
  }

  // What was done, and what is still to be done by hand: that goes when it has been.
  function tell(intent) {
    chosen = intent;
    line.replaceChildren(
      h("span", {}, h("strong", { textContent: `${intent.label}: ` }), intent.description),
      h("span", { className: "intents-ask", textContent: asked(intent), hidden: isThere(canvas, intent.needs) }),
      h("span", { textContent: `Set: ${intent.sentence}.` }),
      h("span", { textContent: `Prompt: ${intent.words}.` }));
    line.hidden = false;
  }

  // The frame need not be shown to somebody who sees it.
  const asked = ({ needs, ask }) => (needs === "frame" && canvas.document.frame && !canvas.frame.paintsOn ? "Drag an edge of the frame out beyond the picture first." : ask);

  const again = later(() => chosen && tell(chosen), PAUSE);
  canvas.document.onChange((what) => what !== "mask" && what !== "sketch" && again()); // those come with each move of a stroke

  // The canvas goes back too, where nothing has been done with it since.
  onUndo((tab, { reason, choice }) => {
    if (tab !== TAB || reason !== "intent") return;
    line.hidden = true;
    chosen = null;
    for (const { key, given, before } of choice.frame) if (canvas.settings[key] === given) canvas.settings.set({ [key]: before });
    const { document } = canvas;
    if (document.mode === choice.needed && !(document.masking && !measured(document.masking).isEmpty)) canvas.setMode(choice.mode);
    if (choice.drawn && sameBox(document.frame, choice.drawn.given)) document.setFrame(choice.drawn.before);
  });
}

const sameBox = (one, other) => one === other || (one && other && Object.keys(one).every((side) => one[side] === other[side]));

function isThere(canvas, needs) {
  const { masking } = canvas.document;
  if (needs === "frame") return Object.values(canvas.frame.margins).some(Boolean);
  return Boolean(masking) && !measured(masking).isEmpty;
}
