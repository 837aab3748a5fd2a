// What a person wants to do with a part of the picture, as a row of buttons: each sets fields of the form and says
// which. These apply to that part only: they are reset with the mask or the picture they were for.

import { measured } from "../../canvas/measure.js";
import { button, h, later, part } from "../core/dom.js";
import * as form from "./form.js";
import { config } from "../core/store.js";
import { toast } from "../core/toast.js";
import { onUndo, remember } from "./undo.js";

const TAB = "img2img";
// Fields whose controls belong to the frame
const OF_FRAME = { outpaint_fill: "outpaintFill", outpaint_feather: "outpaintFeather" };
const PAUSE = 120; // milliseconds after a change of the canvas
const MODE = { mask: "inpaint", subject: "inpaint" }; // canvas modes in which the need can be met

const sameBox = (one, other) =>
  one === other || (one && other && Object.keys(one).every((side) => one[side] === other[side]));
const named = (name) => config.intents.find((intent) => intent.name === name);

export class Intents {
  constructor(canvas) {
    this.canvas = canvas;
    this.line = h("p", { className: "p-soft intents-line", id: "img2img_intent_line", role: "status", hidden: true });
    this.shown = null; // the intent that the line describes
    this.buttons = config.intents.map((intent) =>
      button({
        text: intent.label,
        title: intent.description,
        id: `img2img_intent_${intent.name}`,
        className: "p-small",
        onclick: () => this.choose(intent),
      }),
    );
    part("intents", TAB).replaceChildren(
      h(
        "div",
        { className: "intents", role: "group", "aria-labelledby": "img2img_intents_label" },
        h("span", { className: "intents-label", id: "img2img_intents_label", textContent: "I want to" }),
        ...this.buttons,
      ),
      this.line,
    );
    this.enable(Boolean(canvas.document.picture));
    const again = later(() => this.shown && this.explain(this.shown), PAUSE);
    canvas.document.onChange((what) => {
      if (what !== "mask" && what !== "sketch") again(); // those come with every move of a stroke
      if (what === "mode" && this.active && named(this.active.name).needs !== "frame" && !canvas.document.masking)
        this.end();
    });
    onUndo((tab, step) => tab === TAB && this.undone(step));
  }

  // {name, picture, given, base}: the active intent, the picture it was chosen for, the values it set, and the values
  // before the first of several intents. It is a form value, and so is restored with the form.
  get active() {
    return form.get(TAB, "intent");
  }

  choose(intent) {
    const { canvas } = this;
    const { mode } = canvas.document;
    const needed = (!canvas.document.masking && MODE[intent.needs]) || mode;
    const frame = Object.entries(OF_FRAME)
      .filter(([name]) => name in intent.values)
      .map(([name, key]) => ({ key, given: intent.values[name], before: canvas.settings[key] }));
    const drawn = { before: canvas.document.frame };
    const choice = { given: intent.values, label: intent.label, mode, needed, drawn, frame, prior: this.active };
    if (intent.needs === "frame") canvas.frame.drawOut();
    drawn.given = canvas.document.frame;
    remember(TAB, "intent", choice);
    form.set(TAB, { ...intent.values, intent: this.begun(intent) });
    for (const { key, given } of frame) canvas.settings.set({ [key]: given });
    canvas.setMode(needed);
    this.explain(intent);
  }

  begun(intent) {
    const { active } = this;
    const base = Object.keys({ ...active?.base, ...intent.values }).map((name) => {
      const now = form.get(TAB, name);
      return [name, active && name in active.base && now === active.given[name] ? active.base[name] : now];
    });
    return {
      name: intent.name,
      picture: this.canvas.document.picture?.id ?? null,
      given: { ...active?.given, ...intent.values },
      base: Object.fromEntries(base),
    };
  }

  // Resets what it set, except values changed since.
  end() {
    const { active } = this;
    if (!active) return;
    const back = Object.entries(active.base).filter(
      ([name, before]) => form.get(TAB, name) === active.given[name] && before !== active.given[name],
    );
    form.set(TAB, { ...Object.fromEntries(back), intent: null });
    this.hush();
    if (back.length) toast(`${named(active.name).label} is off; its settings were undone.`);
  }

  // Whether this is a picture other than the one it was chosen for; that one brought back, or the first one, is not.
  setPicture(picture) {
    const { active } = this;
    this.enable(Boolean(picture));
    if (!active || !picture || active.picture === picture.id) return;
    if (active.picture === null) form.set(TAB, { intent: { ...active, picture: picture.id } });
    else this.end();
  }

  // Without a picture there is no part of it to redraw; the buttons then say so.
  enable(hasPicture) {
    config.intents.forEach((intent, index) => {
      this.buttons[index].disabled = !hasPicture;
      this.buttons[index].title = hasPicture ? intent.description : "Drop a picture first.";
    });
  }

  // Before a job: if nothing is masked and no frame extends the picture, the job is an ordinary one. Returns the fields
  // it set.
  settled() {
    const { active, canvas } = this;
    this.hush();
    if (!active) return {};
    if (!isThere(canvas, "mask") && !isThere(canvas, "frame")) this.end();
    return Object.fromEntries(Object.keys(active.base).map((name) => [name, form.get(TAB, name)]));
  }

  // What was done, and what the person still has to do: that part goes once it is done, everything with the job.
  explain(intent) {
    const { canvas, line } = this;
    this.shown = intent;
    line.replaceChildren(
      h("span", {}, h("strong", { textContent: `${intent.label}: ` }), intent.description),
      h("span", {
        className: "intents-ask",
        textContent: this.question(intent),
        hidden: isThere(canvas, intent.needs),
      }),
      h("span", { textContent: `Set: ${intent.sentence}.` }),
      h("span", { textContent: `Prompt: ${intent.words}.` }),
    );
    line.hidden = false;
  }

  hush() {
    this.shown = null;
    this.line.hidden = true;
  }

  // The frame is visible, so it need not be pointed out.
  question({ needs, ask }) {
    const { canvas } = this;
    return needs === "frame" && canvas.document.frame && !canvas.frame.paintsOn
      ? "First drag an edge of the frame beyond the picture."
      : ask;
  }

  // Resets the canvas too, if nothing has been done with it since.
  undone({ reason, choice }) {
    if (reason !== "intent") return;
    const { document, settings } = this.canvas;
    this.hush();
    if (this.active) form.set(TAB, { intent: choice.prior ?? null });
    for (const { key, given, before } of choice.frame) if (settings[key] === given) settings.set({ [key]: before });
    if (document.mode === choice.needed && !(document.masking && !measured(document.masking).isEmpty))
      this.canvas.setMode(choice.mode);
    if (choice.drawn && sameBox(document.frame, choice.drawn.given)) document.setFrame(choice.drawn.before);
  }
}

function isThere(canvas, needs) {
  const { masking } = canvas.document;
  if (needs === "frame") return Object.values(canvas.frame.margins).some(Boolean);
  return Boolean(masking) && !measured(masking).isEmpty;
}
