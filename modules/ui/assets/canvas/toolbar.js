// The tools' buttons and sliders above the stage; those that cannot be used at the moment are hidden.

import { button, h } from "../js/core/dom.js";
import { LARGEST, TOOLS } from "./settings.js";

const SHAPES = ["lasso", "rectangle", "ellipse", "wand"];
const STROKES = ["brush", "eraser", "line"];

export class Toolbar {
  // canvas: {document, view, settings, toggleWhole(), acts}.
  constructor(canvas) {
    this.canvas = canvas;
    const { document, settings, view } = canvas;
    this.tools = Object.entries(TOOLS).map(([name, { icon, title }]) =>
      button({
        icon,
        title,
        className: "p-small",
        id: `canvas_tool_${name}`,
        onclick: () => settings.set({ tool: name }),
      }),
    );
    const act = (icon, title, id, onclick) =>
      button({ icon, title, id: `canvas_${id}`, className: "p-small", onclick });
    this.undo = act("undo", "Undo (Ctrl+Z)", "undo", () => document.undo());
    this.redo = act("redo", "Redo (Ctrl+Y)", "redo", () => document.redo());
    this.invert = act("invert", "Invert the mask", "invert", () => canvas.acts.do("invert"));
    this.clear = act("trash", "Clear what you painted", "clear", () => canvas.acts.do("clear"));
    this.load = button({
      text: "Load mask…",
      id: "canvas_upload_mask",
      className: "p-small p-strong canvas-load",
      onclick: () => canvas.acts.chooseMask(),
    });
    this.more = this.menu();
    this.zoom = h("input", {
      type: "number",
      className: "canvas-zoom",
      id: "canvas_zoom",
      min: "1",
      max: "3200",
      "aria-label": "Zoom percentage",
      title: "Zoom as a percentage of the picture's size",
      onchange: () =>
        Number(this.zoom.value) > 0 &&
        view.camera.zoomTo(
          Number(this.zoom.value) / 100 / view.camera.ratio,
          view.camera.width / 2,
          view.camera.height / 2,
        ),
    });
    this.painting = h("div", { className: "canvas-group", role: "toolbar", "aria-label": "Tools" }, ...this.tools);
    this.steps = h(
      "div",
      { className: "canvas-group" },
      this.undo,
      this.redo,
      this.invert,
      this.clear,
      this.more,
      this.load,
    );
    this.looking = h(
      "div",
      { className: "canvas-group canvas-looking" },
      h("label", { className: "canvas-zoom-box" }, this.zoom, "%"),
      act("frame", "Frame: extend the picture beyond its edges, or crop it", "frame", () => canvas.frame.toggle()),
      act("fit", "Fit (R)", "fit", () => view.fit()),
      act("actual", "Actual size, 1:1 (1)", "actual", () => view.camera.actual()),
      act("expand", "Full screen (S)", "whole", () => canvas.toggleWhole()),
    );
    this.size = slider(
      "Size",
      "canvas_size",
      { min: 0, max: 1000, title: "Diameter in picture pixels (Q and W, or Ctrl+wheel)" },
      (at) => settings.set({ size: LARGEST ** (at / 1000) }),
    );
    this.hardness = slider("Hardness", "canvas_hardness", { min: 0, max: 100 }, (value) =>
      settings.set({ hardness: value / 100 }),
    );
    this.strength = slider(
      "Strength",
      "canvas_strength",
      { min: 1, max: 100, title: "How strongly the painted area is redrawn: fully at 100%, partly below" },
      (value) => settings.set({ strength: value / 100 }),
    );
    this.opacity = slider("Opacity", "canvas_opacity", { min: 1, max: 100 }, (value) =>
      settings.set({ opacity: value / 100 }),
    );
    this.tolerance = slider(
      "Tolerance",
      "canvas_tolerance",
      { min: 0, max: 255, title: "Tolerance of the magic wand: how much the color may differ" },
      (value) => settings.set({ tolerance: value }),
    );
    this.color = h("input", {
      type: "color",
      id: "canvas_color",
      "aria-label": "Color",
      title: "Sketch color",
      oninput: () => settings.set({ color: this.color.value }),
    });
    this.colorBox = h("label", { className: "canvas-color" }, h("span", { textContent: "Color" }), this.color);
    this.sliders = h(
      "div",
      { className: "canvas-sliders" },
      this.colorBox,
      this.size.element,
      this.hardness.element,
      this.strength.element,
      this.opacity.element,
      this.tolerance.element,
    );
    this.element = h("div", { className: "canvas-tools" }, this.painting, this.steps, this.looking, this.sliders);
    settings.onChange(() => this.refresh());
    document.onChange((what) => ["mode", "history", "picture"].includes(what) && this.refresh());
    view.camera.onChange(() => (this.zoom.value = String(Math.round(view.screen.scale * 100))));
    this.refresh();
  }

  // Operations on the whole mask, and how it is shown.
  menu() {
    const { canvas } = this;
    const { settings } = canvas;
    const pixels = h("input", {
      type: "number",
      value: "8",
      min: "1",
      max: "512",
      id: "canvas_pixels",
      "aria-label": "Pixels to grow, shrink or feather by",
    });
    const by = () => Math.min(512, Math.max(1, Math.round(Number(pixels.value)) || 1));
    const item = (text, id, onclick) => button({ text, id: `canvas_${id}`, className: "p-small", onclick });
    this.cover = slider(
      "Tint",
      "canvas_cover",
      { min: 15, max: 90, title: "Opacity of the mask overlay, which is never fully hidden" },
      (value) => (settings.set({ cover: value / 100 }), canvas.view.changed(null)),
    );
    this.tint = h("input", {
      type: "color",
      "aria-label": "Color of the mask overlay",
      value: settings.tint,
      oninput: () => (settings.set({ tint: this.tint.value }), canvas.view.changed(null)),
    });
    this.pressure = h("input", {
      type: "checkbox",
      id: "canvas_pressure",
      checked: settings.pressure,
      onchange: () => settings.set({ pressure: this.pressure.checked }),
    });
    const list = h(
      "div",
      { className: "canvas-menu" },
      h(
        "div",
        { className: "canvas-row canvas-of-mask" },
        h("label", { className: "canvas-number" }, pixels, " px"),
        item("Grow", "grow", () => canvas.acts.do("grow", by())),
        item("Shrink", "shrink", () => canvas.acts.do("shrink", by())),
        item("Feather", "feather", () => canvas.acts.do("feather", by())),
      ),
      h(
        "div",
        { className: "canvas-row canvas-of-mask" },
        item("Load mask…", "load_mask", () => canvas.acts.chooseMask()),
        item("Save mask", "save_mask", () => canvas.acts.saveMask()),
        item("Transparency as mask", "alpha_mask", () => canvas.acts.do("alpha")),
      ),
      h(
        "div",
        { className: "canvas-row canvas-of-mask" },
        h("label", { className: "canvas-color" }, this.tint),
        this.cover.element,
      ),
      h("label", { className: "canvas-row canvas-check" }, this.pressure, "Pen pressure sets the size"),
    );
    const more = h(
      "details",
      { className: "canvas-more" },
      h("summary", {
        className: "p-button p-small",
        title: "Mask: grow, shrink, feather, load, save",
        id: "canvas_more",
        textContent: "Mask ▾",
      }),
      list,
    );
    globalThis.document.addEventListener("pointerdown", ({ target }) => {
      if (target instanceof Node && !more.contains(target)) more.open = false;
    });
    return more;
  }

  refresh() {
    const { document, settings } = this.canvas;
    const layer = document.painted;
    const isMask = layer !== null && layer === document.mask;
    const { tool } = settings;
    this.element.dataset.layer = layer ? (isMask ? "mask" : "sketch") : "none";
    Object.keys(TOOLS).forEach((name, index) => {
      this.tools[index].classList.toggle("on", name === tool);
      this.tools[index].setAttribute("aria-pressed", String(name === tool));
      this.tools[index].hidden = TOOLS[name].layer === "sketch" && isMask;
    });
    this.more.firstChild.textContent = isMask ? "Mask ▾" : "More ▾";
    this.painting.hidden = this.steps.hidden = this.sliders.hidden = !layer;
    this.undo.disabled = !document.canUndo;
    this.redo.disabled = !document.canRedo;
    this.invert.hidden = !isMask;
    this.load.hidden = document.mode !== "inpaint_upload";
    this.colorBox.hidden = isMask || tool === "eraser";
    this.size.element.hidden = this.hardness.element.hidden = !STROKES.includes(tool);
    this.strength.element.hidden = !isMask || ![...SHAPES, "brush", "line"].includes(tool);
    this.opacity.element.hidden = isMask || ![...SHAPES, "brush", "line"].includes(tool);
    this.tolerance.element.hidden = tool !== "wand";
    this.size.show((Math.log(settings.size) / Math.log(LARGEST)) * 1000, `${settings.size} px`);
    this.hardness.show(settings.hardness * 100, `${Math.round(settings.hardness * 100)} %`);
    this.strength.show(settings.strength * 100, `${Math.round(settings.strength * 100)} %`);
    this.opacity.show(settings.opacity * 100, `${Math.round(settings.opacity * 100)} %`);
    this.tolerance.show(settings.tolerance, String(settings.tolerance));
    this.cover.show(settings.cover * 100, `${Math.round(settings.cover * 100)} %`);
    if (this.color.value !== settings.color) this.color.value = settings.color;
  }
}

// A slider with its name in front and its value behind it: {element, show(value, text)}.
function slider(name, id, { min, max, title = "" }, onInput) {
  const input = h("input", {
    type: "range",
    id,
    min,
    max,
    step: "1",
    "aria-label": name,
    oninput: () => onInput(Number(input.value)),
  });
  const text = h("output", {});
  const element = h("label", { className: "canvas-slider", title }, h("span", { textContent: name }), input, text);
  const show = (value, words) => {
    input.value = value;
    input.setAttribute("aria-valuetext", words);
    input.style.setProperty("--range_progress", `${((value - min) / (max - min)) * 100}%`);
    text.textContent = words;
  };
  return { element, show };
}
