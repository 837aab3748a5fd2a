// Before and after in one frame: the source over the result, divided at a line that the pointer or arrow keys move.

import { h } from "../core/dom.js";
import { config } from "../core/store.js";

const STEP = 2; // percent per arrow key

export class Compare {
  constructor() {
    this.at = 50;
    this.before = h("img", { alt: "Before", draggable: "false" });
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
      h("span", { className: "compare-label left", textContent: "before" }),
      h("span", { className: "compare-label right", textContent: "after" }),
      this.handle,
    );
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
    this.move(50);
  }

  drag(event) {
    const box = this.element.getBoundingClientRect();
    this.move(((event.clientX - box.left) / box.width) * 100);
  }

  move(percent) {
    this.at = Math.min(100, Math.max(0, percent));
    this.element.style.setProperty("--at", `${this.at}%`);
    this.handle.setAttribute("aria-valuenow", String(Math.round(this.at)));
  }

  // Lays the source over `image`, in the same frame.
  show(url, mode, image) {
    this.before.src = url;
    this.before.style.objectFit = config.resize_modes[mode]?.fit ?? "fill";
    this.element.hidden = false;
    this.fit(image);
  }

  // The frame is where object-fit: contain places the picture within its element.
  fit(image) {
    if (this.element.hidden || !image.naturalWidth) return;
    const scale = Math.min(image.offsetWidth / image.naturalWidth, image.offsetHeight / image.naturalHeight);
    const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
    Object.assign(this.element.style, {
      left: `${(image.offsetWidth - width) / 2}px`,
      top: `${(image.offsetHeight - height) / 2}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
  }

  hide() {
    this.element.hidden = true;
  }
}
