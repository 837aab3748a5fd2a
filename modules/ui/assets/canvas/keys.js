// Keys of the canvas while the pointer is over it or it has the focus: A1111's, and those of painting programs.

import { TOOLS } from "./settings.js";

const typing = (target) =>
  target instanceof HTMLElement &&
  (target.isContentEditable ||
    target.tagName === "TEXTAREA" ||
    target.tagName === "SELECT" ||
    (target.tagName === "INPUT" &&
      !["range", "checkbox", "color"].includes(/** @type {HTMLInputElement} */ (target).type)));

export class Keys {
  // canvas: {element, document, view, settings, tools, toggleWhole(), isOpen()}.
  constructor(canvas) {
    this.canvas = canvas;
    this.held = new Set(); // keys that move the picture while held down
    this.isControl = false;
    this.isOver = false;
    canvas.element.addEventListener("pointerenter", () => (this.isOver = true));
    canvas.element.addEventListener("pointerleave", () => (this.isOver = false));
    // On window and in the capture phase: it must run before the page's own Esc, which interrupts a job.
    addEventListener("keydown", (event) => this.down(event), true);
    addEventListener("keyup", (event) => this.up(event), true);
    addEventListener("blur", () => (this.held.clear(), (this.isControl = false)));
  }

  get isPanning() {
    return this.held.size > 0;
  }

  get isMine() {
    const { element } = this.canvas;
    return (
      this.canvas.isOpen() &&
      (this.isOver || element.contains(document.activeElement) || element.classList.contains("canvas-whole"))
    );
  }

  up(event) {
    if (event.key === "Control" || event.key === "Meta") this.isControl = false;
    this.held.delete(event.code);
    this.canvas.view.element.classList.toggle("moving", this.isPanning);
  }

  down(event) {
    if (event.key === "Control" || event.key === "Meta") this.isControl = true;
    if (!this.isMine || typing(event.target) || document.querySelector("dialog[open]")) return;
    const done = event.ctrlKey || event.metaKey ? this.withControl(event) : !event.altKey && this.plain(event);
    if (!done) return;
    event.preventDefault();
    event.stopPropagation();
  }

  withControl(event) {
    const { document: doc } = this.canvas;
    const key = event.key.toLowerCase();
    if (key === "z" && !event.shiftKey) doc.undo();
    else if (key === "y" || key === "z") doc.redo();
    else return false;
    return true;
  }

  plain(event) {
    const { canvas } = this;
    const { view, settings, tools } = canvas;
    const key = event.key.toLowerCase();
    if (event.code === "Space" || key === "f") {
      if (event.code === "Space" && event.target.closest?.("button")) return false;
      this.held.add(event.code);
      view.element.classList.add("moving");
      return true;
    }
    if (key === "escape") {
      if (tools.isBusy) tools.cancel();
      else if (canvas.element.classList.contains("canvas-whole")) canvas.toggleWhole();
      else return false;
      return true;
    }
    const actions = {
      q: () => settings.grow(1 / 1.15),
      w: () => settings.grow(1.15),
      "[": () => settings.grow(1 / 1.15),
      "]": () => settings.grow(1.15),
      s: () => canvas.toggleWhole(),
      r: () => view.fit(),
      1: () => view.camera.actual(),
      "+": () => view.camera.zoom(1.25),
      "=": () => view.camera.zoom(1.25),
      "-": () => view.camera.zoom(1 / 1.25),
    };
    if (key in actions) actions[key]();
    else {
      const tool = Object.keys(TOOLS).find((name) => TOOLS[name].key === key);
      if (!tool || !canvas.document.painted) return false;
      settings.set({ tool });
    }
    return true;
  }
}
