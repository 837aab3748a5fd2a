// The results of one send, laid over the canvas to choose from: arrow keys go through them, Enter makes one the source,
// Esc takes them away. They stay in the strip and in the history.

import { MODES } from "../../canvas/document.js";
import { button, h } from "../core/dom.js";
import { uploadFrom } from "../core/pictures.js";
import { openedTab } from "../core/tabs.js";
import { complain } from "../core/toast.js";
import { remember, toastWithUndo } from "../form/undo.js";
import { around, candidates, placeText } from "./candidates.js";

const TAB = "img2img";
const isTyping = (target) =>
  target instanceof HTMLElement && target.matches("input, textarea, select, [contenteditable]");

export class Staging {
  // page: {source, canvas, tabs}
  constructor(page) {
    const { source, canvas, tabs } = page;
    this.source = source;
    this.canvas = canvas;
    this.gallery = tabs[TAB].gallery;
    this.list = [];
    this.at = 0;
    this.isBusy = false;
    this.offer = button({
      icon: "styles",
      text: "Candidates",
      id: "img2img_candidates",
      className: "p-small",
      title: "Lay the results of the last send over the canvas, to choose one",
      onclick: () => this.open(),
    });
    source.bar.insertBefore(this.offer, source.text.nextSibling);
    this.image = h("img", { className: "staging-shot", alt: "Candidate", draggable: "false" });
    this.text = h("span", { className: "staging-text", "aria-live": "polite" });
    const step = (icon, title, by) => button({ icon, title, className: "p-glass", onclick: () => this.step(by) });
    this.element = h(
      "div",
      { className: "staging", hidden: true, tabindex: "-1", role: "group", "aria-label": "Candidates" },
      this.image,
      h(
        "div",
        { className: "staging-bar" },
        step("left", "Previous candidate (←)", -1),
        this.text,
        step("right", "Next candidate (→)", 1),
        button({
          icon: "tick",
          text: "Accept",
          id: "img2img_accept",
          className: "p-small p-strong",
          title: "Make it the source (Enter)",
          onclick: () => this.accept(),
        }),
        button({
          icon: "close",
          title: "Discard: take the candidates away; they stay in the strip (Esc)",
          id: "img2img_discard",
          className: "p-glass",
          onclick: () => this.close(),
        }),
      ),
    );
    canvas.view.element.append(this.element);
    this.listen();
    this.refresh();
  }

  get isOpen() {
    return !this.element.hidden;
  }

  listen() {
    this.gallery.onChange(() => this.refresh());
    this.canvas.document.onChange((what) => ["picture", "frame"].includes(what) && this.refresh());
    this.canvas.view.camera.onChange(() => this.place());
    this.element.addEventListener("pointerdown", (event) => event.stopPropagation()); // nothing is painted below it
    addEventListener("keydown", (event) => this.key(event), true); // before the page's Esc, which interrupts a job
  }

  // A new send, another source or a removed file may change what there is to choose from.
  refresh() {
    const shown = this.list[this.at];
    this.list = candidates(this.gallery.pictures, this.source.picture?.id);
    this.offer.hidden = this.list.length < 2;
    this.offer.querySelector("span").textContent = `${this.list.length} candidates`;
    if (!this.isOpen) return;
    const { selected } = this.gallery;
    this.at = this.list.indexOf(this.list.includes(selected) ? selected : shown);
    if (this.at < 0) this.close();
    else this.show();
  }

  open() {
    this.at = Math.max(0, this.list.indexOf(this.gallery.selected));
    this.element.hidden = false;
    this.show();
    this.element.focus();
  }

  close() {
    this.element.hidden = true;
    this.canvas.view.element.focus();
  }

  step(by) {
    this.at = around(this.at, by, this.list.length);
    this.gallery.select(this.list[this.at]); // its parameters are shown beside it
  }

  show() {
    const picture = this.list[this.at];
    const address = picture.reduced ?? picture.url;
    if (this.image.getAttribute("src") !== address) this.image.src = address;
    this.text.textContent = placeText(this.at, this.list);
    this.place();
  }

  // Over the source, or over the frame that was to be filled.
  place() {
    if (!this.isOpen) return;
    const { width, height, frame } = this.canvas.document;
    const box = frame ?? { left: 0, top: 0, right: width, bottom: height };
    const { scale, x, y } = this.canvas.view.camera;
    Object.assign(this.image.style, {
      left: `${box.left * scale + x}px`,
      top: `${box.top * scale + y}px`,
      width: `${(box.right - box.left) * scale}px`,
      height: `${(box.bottom - box.top) * scale}px`,
    });
  }

  key(event) {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    if (!this.isOpen || !isPlain || event.defaultPrevented || isTyping(event.target)) return;
    if (openedTab() !== TAB || document.querySelector("dialog[open]")) return;
    const onButton = event.target instanceof Element && event.target.closest("button");
    const actions = {
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      Enter: onButton ? null : () => this.accept(),
      Escape: () => this.close(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  // Makes the shown candidate the source. Painted colors are part of it now; a mask stays if the size does.
  async accept() {
    if (this.isBusy) return;
    this.isBusy = true;
    const chosen = this.list[this.at];
    try {
      const picture = { ...(await uploadFrom(chosen.url)), name: chosen.path };
      const step = remember(TAB, "send");
      const doc = this.canvas.document;
      const keepsMask =
        MODES[doc.mode].masks === "mask" && picture.width === doc.width && picture.height === doc.height;
      this.close();
      this.canvas.startOver(picture, () => this.source.set(picture), keepsMask ? doc.mask.copy() : undefined);
      toastWithUndo(TAB, "The candidate is now the source. The others are in the strip.", step);
    } catch (error) {
      complain(error, "form");
    } finally {
      this.isBusy = false;
    }
  }
}
