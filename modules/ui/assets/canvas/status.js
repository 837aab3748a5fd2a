// The canvas's messages: what will happen to the mask, in a line below the stage, and the question what to do with it
// when the picture changes.

import { button, h } from "../js/core/dom.js";
import { MODES } from "./document.js";
import { measured } from "./measure.js";

const LARGE = 40e6; // picture pixels above which a smaller copy is offered

export class StatusLine {
  // canvas: {document, frame, isInverted(), graysCount(), acts, shrinkSource()}.
  constructor(canvas) {
    this.canvas = canvas;
    this.line = h("div", { className: "canvas-status", id: "canvas_status", "aria-live": "polite" });
    this.question = h("div", {
      className: "canvas-question",
      id: "canvas_question",
      role: "group",
      "aria-label": "What to do with the mask",
      hidden: true,
    });
    this.offer = h("div", { className: "canvas-question", id: "canvas_offer", hidden: true });
    this.once = "";
    canvas.document.onChange((what) => {
      if (["history", "picture", "mode"].includes(what)) this.once = "";
      if (
        canvas.document.mask.isEmpty &&
        canvas.document.sketch.isEmpty &&
        !canvas.document.mask.saved &&
        !canvas.document.sketch.saved
      )
        this.stopAsking();
      this.refresh();
    });
  }

  // Something that has just happened, shown until the next change.
  say(sentence) {
    this.once = sentence;
    this.refresh();
  }

  refresh() {
    clearTimeout(this.timer);
    this.timer = setTimeout(
      () => this.line.replaceChildren(...this.sentences().map((text) => h("span", { textContent: text }))),
      60,
    );
  }

  sentences() {
    const { document } = this.canvas;
    const { mode, mask, sketch, masking, picture } = document;
    // A stroke is in progress
    if (mask.saved || sketch.saved) return [...this.line.children].map((child) => child.textContent);
    const messages = this.once ? [this.once] : [];
    const has = { mask: !mask.isEmpty, sketch: !sketch.isEmpty };
    if (!picture)
      return has.mask || has.sketch
        ? [...messages, "What you painted is kept until you load another picture."]
        : messages;
    const paintsOn = this.canvas.frame.paintsOn;
    if (paintsOn)
      messages.push(
        masking && !masking.isEmpty
          ? "Generate fills the area added by the frame and redraws the masked area."
          : "Generate fills the area added by the frame; the picture itself stays unchanged.",
      );
    if (masking && !(paintsOn && masking.isEmpty)) messages.push(...this.aboutMask(masking, masking === sketch));
    const unused = ["mask", "sketch"].filter(
      (name) => has[name] && masking !== document[name] && MODES[mode].paints !== name,
    );
    if (unused.length)
      messages.push(
        `The ${unused.join(" and the ")} you painted ${unused.length > 1 ? "are" : "is"} kept, ` +
          `but ${MODES[mode].label} does not use ${unused.length > 1 ? "them" : "it"}.`,
      );
    return messages;
  }

  aboutMask(layer, isSketch) {
    const { isEmpty, isFull, isSoft } = measured(layer);
    const inverted = this.canvas.isInverted();
    if (isEmpty && isSketch) return ["Nothing is painted, so Generate redraws the whole picture, like img2img."];
    const load = this.canvas.document.mode === "inpaint_upload" ? " Load or paint one." : "";
    if (isEmpty) return [`The mask is empty, so Generate redraws the whole picture, like img2img.${load}`];
    const messages = [];
    if (isFull)
      messages.push(
        inverted
          ? "The mask covers everything and Inpaint not masked is on, so nothing is redrawn."
          : "The mask covers the whole picture.",
      );
    else if (inverted) messages.push("Inpaint not masked: the tinted area is kept and everything else is redrawn.");
    if (isSoft && !isSketch)
      messages.push(
        this.canvas.graysCount()
          ? "Gray areas of the mask are partly redrawn."
          : "Gray areas of the mask act as soft edges. To use gray as a strength, turn on Gray sets strength.",
      );
    return messages;
  }

  // A new picture replaced one with something painted on it. wasResized: the sizes differ.
  ask(before, wasResized, only = "") {
    const { document } = this.canvas;
    this.replaced = [before, wasResized];
    const what =
      only ||
      (!document.mask.isEmpty && !document.sketch.isEmpty
        ? "mask and sketch"
        : document.mask.isEmpty
          ? "sketch"
          : "mask");
    const resized = wasResized
      ? ` It was resized from ${before.width} × ${before.height} to ${document.width} × ${document.height}.`
      : "";
    const close = () => (this.question.hidden = true);
    this.question.replaceChildren(
      h("span", { textContent: `The picture was replaced, but the old ${what} is still here.${resized}` }),
      button({ text: `Keep ${what}`, id: "canvas_keep", className: "p-small", onclick: close }),
      button({
        text: `Clear ${what}`,
        id: "canvas_drop",
        className: "p-small p-strong",
        onclick: () => (close(), this.canvas.acts.do(only ? `clear ${only}` : "clear all")),
      }),
    );
    this.question.hidden = false;
  }

  // The mask no longer comes from the old picture; a sketch may still.
  maskIsNew() {
    const { sketch } = this.canvas.document;
    if (this.question.hidden) return;
    if (sketch.isEmpty) this.stopAsking();
    else this.ask(...this.replaced, "sketch");
  }

  // Whether the open question is about the mask of `picture`, which is coming back.
  isAbout(picture) {
    return !this.question.hidden && this.replaced[0].picture?.id === picture.id;
  }

  stopAsking() {
    this.question.hidden = true;
  }

  // A very large source works, but not quickly on every machine.
  offerSmaller(picture) {
    const pixels = picture ? picture.width * picture.height : 0;
    this.offer.hidden = pixels < LARGE;
    if (this.offer.hidden) return;
    this.offer.replaceChildren(
      h("span", {
        textContent:
          `The picture has ${Math.round(pixels / 1e6)} megapixels. ` +
          `A 16-megapixel copy is faster on a small machine.`,
      }),
      button({
        text: "Use a smaller copy",
        id: "canvas_smaller_copy",
        className: "p-small",
        onclick: () => this.canvas.shrinkSource(),
      }),
      button({ text: "Keep the original", className: "p-small", onclick: () => (this.offer.hidden = true) }),
    );
  }
}
