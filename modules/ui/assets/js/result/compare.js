// The result beside what it came from, or beside a pinned result, in one frame: a slider, the difference, or the other
// picture for as long as a key or a button is held.

import { button, h } from "../core/dom.js";
import { pixelsOf } from "../core/pictures.js";
import { config, read, write } from "../core/store.js";
import { openedTab } from "../core/tabs.js";
import { complain } from "../core/toast.js";
import { GAIN, placed, reference, shareText } from "./compared.js";
import { drawDifference } from "./difference.js";

const STEP = 2; // percent per arrow key
const HOLD = "F2"; // no letter: it works while the prompt has the focus, and the canvas has none of its own

const fits = () => Object.fromEntries(Object.entries(config.resize_modes).map(([mode, { fit }]) => [mode, fit]));

export class Compare {
  // image: the element that shows the selected picture of `gallery`.
  constructor(tab, gallery, image) {
    this.tab = tab;
    this.gallery = gallery;
    this.image = image;
    this.at = 50;
    this.view = ""; // "slider", "difference" or neither
    this.isHeld = false;
    this.pinned = read(`pinned.${tab}`); // a picture of the gallery
    this.before = h("img", { alt: "Before", draggable: "false" });
    this.before.addEventListener("error", () => this.lost());
    this.canvas = h("canvas", { role: "img", "aria-label": "Difference" });
    this.left = h("span", { className: "compare-label left" });
    this.right = h("span", { className: "compare-label right" });
    this.handle = h("div", {
      className: "compare-handle",
      tabindex: "0",
      role: "slider",
      "aria-label": "Before and after",
      "aria-valuemin": "0",
      "aria-valuemax": "100",
    });
    this.element = h(
      "div",
      { className: "compare", hidden: true },
      this.before,
      this.canvas,
      this.left,
      this.right,
      this.handle,
    );
    this.buttons = this.makeButtons();
    this.listen();
    this.move(50);
  }

  makeButtons() {
    const tool = (icon, id, title, onclick) =>
      button({ icon, title, className: "p-glass", id: `${this.tab}_${id}`, onclick });
    this.pin = tool("pin", "pin", "", () => this.togglePin());
    this.hold = tool("eye", "hold", "", null);
    this.slider = tool("compare", "compare", "", () => this.toggle("slider"));
    this.difference = tool("difference", "difference", "", () => this.toggle("difference"));
    return [this.pin, this.hold, this.slider, this.difference];
  }

  listen() {
    this.element.addEventListener("pointerdown", (event) => {
      this.element.setPointerCapture(event.pointerId);
      this.drag(event);
    });
    this.element.addEventListener("pointermove", (event) => event.buttons && this.drag(event));
    this.element.addEventListener("click", (event) => event.stopPropagation());
    this.handle.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      this.move(this.at + by);
    });
    this.hold.addEventListener("pointerdown", () => this.setHeld(true));
    for (const name of ["pointerup", "pointercancel", "pointerleave"])
      this.hold.addEventListener(name, () => this.setHeld(false));
    this.hold.addEventListener("keydown", ({ key }) => [" ", "Enter"].includes(key) && this.setHeld(true));
    for (const name of ["keyup", "blur"]) this.hold.addEventListener(name, () => this.setHeld(false));
    addEventListener("keydown", (event) => {
      if (event.key !== HOLD || openedTab() !== this.tab || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      if (!event.repeat) this.setHeld(true);
    });
    addEventListener("keyup", ({ key }) => key === HOLD && this.setHeld(false));
    addEventListener("blur", () => this.setHeld(false));
  }

  get other() {
    return reference(this.gallery.selected, this.pinned, { fits: fits(), pixelsOf });
  }

  isPinned(picture) {
    return picture.url === this.pinned?.url;
  }

  togglePin() {
    const { selected } = this.gallery;
    this.setPinned(this.isPinned(selected) ? null : selected);
  }

  setPinned(picture) {
    this.pinned = picture;
    write(`pinned.${this.tab}`, picture);
    this.gallery.select(this.gallery.selected, false); // every listener shows it anew
  }

  toggle(view) {
    this.view = this.view === view ? "" : view;
    this.refresh(false);
  }

  setHeld(on) {
    if (on === this.isHeld || (on && !this.other)) return;
    this.isHeld = on;
    this.refresh(false);
  }

  // The file of the pinned picture no longer exists.
  lost() {
    if (this.pinned && this.before.src.endsWith(this.pinned.reduced ?? this.pinned.url)) this.setPinned(null);
  }

  drag(event) {
    if (this.element.dataset.view !== "slider") return;
    const box = this.element.getBoundingClientRect();
    this.move(((event.clientX - box.left) / box.width) * 100);
  }

  move(percent) {
    this.at = Math.min(100, Math.max(0, percent));
    this.element.style.setProperty("--at", `${this.at}%`);
    this.handle.setAttribute("aria-valuenow", String(Math.round(this.at)));
  }

  // isPreviewing: the frame shows a running job's preview, which is not compared.
  refresh(isPreviewing) {
    const { other } = this;
    this.name(other);
    const view = other && !isPreviewing ? (this.isHeld ? "held" : this.view) : "";
    this.element.hidden = !view;
    this.element.dataset.view = view;
    if (!view) return this.before.removeAttribute("src");
    if (this.before.getAttribute("src") !== other.url) this.before.src = other.url;
    this.before.style.objectFit = other.fit;
    this.left.textContent = other.before;
    this.right.textContent = other.after;
    this.fit();
    if (view === "difference") this.subtract(other).catch(complain);
  }

  // The buttons' names and states.
  name(other) {
    const { selected } = this.gallery;
    const what = other?.before === "before" ? "the source" : "the pinned picture A";
    const isPinned = Boolean(selected) && this.isPinned(selected);
    const say = (each, title, on) => {
      each.title = title;
      each.setAttribute("aria-label", title);
      each.setAttribute("aria-pressed", String(on));
      each.classList.toggle("on", on);
    };
    say(
      this.pin,
      isPinned ? "Unpin: compare with the source again" : "Pin as A: compare other results with it",
      isPinned,
    );
    say(this.hold, `Hold to see ${what} (${HOLD})`, this.isHeld);
    say(this.slider, `Compare with ${what}`, this.view === "slider");
    say(this.difference, `Difference from ${what}, ${GAIN} times as strong`, this.view === "difference");
    for (const each of [this.hold, this.slider, this.difference]) each.hidden = !other;
  }

  // The frame is where object-fit: contain places the picture within its element.
  fit() {
    const { image } = this;
    if (this.element.hidden || !image.naturalWidth) return;
    const size = { width: image.naturalWidth, height: image.naturalHeight };
    const { x, y, width, height } = placed(size, { width: image.offsetWidth, height: image.offsetHeight }, "contain");
    Object.assign(this.element.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
  }

  async subtract(other) {
    const { selected } = this.gallery;
    this.right.textContent = "…";
    await Promise.all([this.before.decode(), this.image.decode()]);
    if (other.url !== this.other?.url || selected !== this.gallery.selected) return; // another one since
    this.right.textContent = shareText(drawDifference(this.canvas, this.before, this.image, other.fit));
  }
}
