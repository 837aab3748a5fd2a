// A picture in full screen: arrows browse the gallery, wheel, pinch, + and − zoom, dragging moves, Esc closes.

import { button, h } from "../core/dom.js";

const MOST = 16; // times the fitted size

class Viewer {
  constructor() {
    this.pointers = new Map();
    this.gallery = null; // the browsed pictures, as in gallery.js
    this.saver = null;
    this.back = null; // the element that had the focus before
    this.image = h("img", { alt: "Picture", draggable: "false" });
    this.text = h("span", { className: "viewer-text" });
    const tool = (icon, title, onclick) => button({ icon, title, className: "p-glass", onclick });
    this.bar = h(
      "div",
      { className: "viewer-bar" },
      this.text,
      tool("minus", "Smaller (−)", () => this.zoom(1 / 1.5)),
      tool("plus", "Larger (+)", () => this.zoom(1.5)),
      tool("save", "Save (S)", () => this.save()),
      tool("close", "Close (Esc)", () => this.close()),
    );
    this.left = button({
      icon: "left",
      title: "Previous picture",
      className: "p-glass viewer-left",
      onclick: () => this.step(-1),
    });
    this.right = button({
      icon: "right",
      title: "Next picture",
      className: "p-glass viewer-right",
      onclick: () => this.step(1),
    });
    this.frame = h("div", { className: "viewer-frame", tabindex: "-1", autofocus: true }, this.image);
    this.element = h(
      "dialog",
      { className: "viewer", "aria-label": "Picture, full screen" },
      this.frame,
      this.bar,
      this.left,
      this.right,
    );
    document.body.append(this.element);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("close", () => this.back?.focus?.());
    this.frame.addEventListener(
      "wheel",
      (event) => (event.preventDefault(), this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event)),
      { passive: false },
    );
    this.frame.addEventListener("dblclick", (event) => (this.scale > 1 ? this.reset() : this.zoom(2.5, event)));
    this.frame.addEventListener("click", (event) => event.target === this.frame && this.close());
    this.frame.addEventListener("pointerdown", (event) => this.down(event));
    this.frame.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"])
      this.frame.addEventListener(name, (/** @type {PointerEvent} */ event) => this.pointers.delete(event.pointerId));
  }

  // gallery as in gallery.js; save(picture) does what the panel's Save does.
  open(gallery, save) {
    this.gallery = gallery;
    this.saver = save;
    this.back = /** @type {HTMLElement | null} */ (document.activeElement);
    this.show();
    this.element.showModal();
  }

  show() {
    const { pictures, selected } = this.gallery;
    this.image.src = selected.reduced ?? selected.url; // a file of gigabytes is shown at reduced size
    const at = pictures.indexOf(selected);
    this.text.textContent =
      `${selected.width} × ${selected.height} · seed ${selected.seed}` +
      (pictures.length > 1 ? ` · ${at + 1} of ${pictures.length}` : "");
    this.left.disabled = at <= 0;
    this.right.disabled = at >= pictures.length - 1;
    this.reset();
  }

  step(by) {
    this.gallery.step(by);
    this.show();
  }

  save() {
    this.saver(this.gallery.selected);
  }

  close() {
    this.element.close();
  }

  key(event) {
    const actions = {
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      "+": () => this.zoom(1.5),
      "=": () => this.zoom(1.5),
      "-": () => this.zoom(1 / 1.5),
      0: () => this.reset(),
      s: () => this.save(),
    };
    if (event.key === "Escape") {
      event.preventDefault();
      this.close();
    } else if (actions[event.key] && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      actions[event.key]();
    }
    event.stopPropagation();
  }

  reset() {
    Object.assign(this, { scale: 1, x: 0, y: 0 });
    this.place();
  }

  // Around the pointer if there is one, else around the middle.
  zoom(by, at = null) {
    const scale = Math.min(MOST, Math.max(1, this.scale * by));
    const box = this.frame.getBoundingClientRect();
    const [px, py] = at ? [at.clientX - box.left - box.width / 2, at.clientY - box.top - box.height / 2] : [0, 0];
    this.x = px - ((px - this.x) * scale) / this.scale;
    this.y = py - ((py - this.y) * scale) / this.scale;
    this.scale = scale;
    if (scale === 1) this.x = this.y = 0;
    this.place();
  }

  down(event) {
    this.frame.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const others = [...this.pointers.values()].filter((one) => one.pointerId !== event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (others.length) {
      const gap = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
      if (gap(before) > 0) this.zoom(gap(event) / gap(before), event);
    } else if (this.scale > 1) {
      this.x += event.clientX - before.clientX;
      this.y += event.clientY - before.clientY;
      this.place();
    }
  }

  place() {
    this.image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.image.classList.toggle("zoomed", this.scale > 1);
  }
}

let viewer = null;

export function view(gallery, save) {
  viewer ??= new Viewer();
  viewer.open(gallery, save);
}
