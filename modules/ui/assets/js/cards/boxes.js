// The prompt boxes that cards are written into: the box used last, on the open tab.

import { byId, insertText } from "../core/dom.js";
import { config } from "../core/store.js";
import { openedTab } from "../core/tabs.js";
import { insertion, removal, removalOf, written } from "./prompt.js";

const BOXES = { prompt: "prompt", negative_prompt: "neg_prompt" };

export class PromptBoxes {
  // onChange() is called when something is typed into one of them, or when another one gets the focus.
  constructor(onChange) {
    this.fields = {}; // tab -> the field used last
    document.addEventListener("input", ({ target }) => boxOf(target) && onChange());
    document.addEventListener("focusin", ({ target }) => {
      const box = boxOf(target);
      if (!box) return;
      this.fields[box.tab] = box.field;
      onChange();
    });
  }

  get field() {
    return this.fields[openedTab()] ?? "prompt";
  }

  /** @returns {HTMLTextAreaElement | undefined} */
  area(field) {
    return byId(`${openedTab()}_${BOXES[field]}`)?.querySelector("textarea");
  }

  // A1111's negative prompt takes embeddings and no tags.
  areaFor(card) {
    return this.area(card.text.startsWith("<") ? "prompt" : this.field);
  }

  focus() {
    this.area(this.field)?.focus();
  }

  holds(card) {
    const area = card.text ? this.areaFor(card) : null;
    return Boolean(area) && removal(area.value, card, config.tag).length > 0;
  }

  // The first click inserts a card, the second removes it; the browser's own undo covers both.
  toggle(card, isByKey) {
    const before = /** @type {HTMLElement} */ (document.activeElement);
    const area = this.areaFor(card);
    const negative = this.area("negative_prompt");
    const found = removal(area.value, card, config.tag);
    const inNegative = card.negative ? removalOf(negative.value, card.negative) : [];
    if (found.length) apply(negative, inNegative);
    else if (card.negative && !inNegative.length) apply(negative, [atEnd(negative.value, card.negative)]);
    apply(area, found.length ? found : [insertion(area.value, area.selectionStart, area.selectionEnd, written(card))]);
    (isByKey ? before : area).focus({ preventScroll: true }); // by key: a search for the next card follows
  }
}

const atEnd = (value, text) => insertion(value, value.length, value.length, text);

// Applies edits to a box, last to first, so that positions stay valid.
function apply(area, edits) {
  for (const { start, end, text } of [...edits].reverse()) insertText(area, start, end, text);
}

// The prompt box that `target` is: {tab, field}.
function boxOf(target) {
  const id = target instanceof Element ? target.closest("[id$=_prompt]")?.id : "";
  const [, tab, elem] = id?.match(/^(txt2img|img2img)_(neg_prompt|prompt)$/) ?? [];
  return tab ? { tab, field: elem === "prompt" ? "prompt" : "negative_prompt" } : null;
}
