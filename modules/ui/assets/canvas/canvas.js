// The picture area of img2img: modes, tools, stage and messages, all for one document.

import { childrenOf, h } from "../js/core/dom.js";
import * as form from "../js/form/form.js";
import { openedTab, tabRow } from "../js/core/tabs.js";
import { complain } from "../js/core/toast.js";
import { done, forget, remember } from "../js/form/undo.js";
import { Acts } from "./acts.js";
import { Document, MODES } from "./document.js";
import { Frame } from "./frame.js";
import { Keep } from "./keep.js";
import { Keys } from "./keys.js";
import { cutOut, smallerCopy } from "./maskfile.js";
import { Pointer } from "./pointer.js";
import { Regions } from "./regions.js";
import { BrushSettings, rgb } from "./settings.js";
import { Layer } from "./tiles.js";
import { StatusLine } from "./status.js";
import { Toolbar } from "./toolbar.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";
import { MASK_FIELDS, Wire } from "./wire.js";

const TAB = "img2img";
const NOT_TINTED = "#2f9d63"; // "Inpaint not masked": the painted part is kept

export class Canvas {
  /** @type {((blob: Blob, isNoted?: boolean) => Promise<void>) | undefined} uses a picture made here as the source */
  onBring;

  constructor() {
    this.document = new Document();
    this.settings = new BrushSettings();
    this.view = new View(this.document, () => ({
      color: rgb(this.isInverted() ? NOT_TINTED : this.settings.tint),
      opacity: this.settings.cover,
    }));
    this.status = new StatusLine(this);
    this.tools = new Tools(this.document, this.view, this.settings, (sentence) => this.status.say(sentence));
    this.acts = new Acts(this.document, this.view, this.status);
    this.frame = new Frame(this);
    this.regions = new Regions(this.document, this.view);
    this.toolbar = new Toolbar(this);
    this.element = h(
      "div",
      { className: "canvas", hidden: true },
      this.toolbar.element,
      this.frame.element,
      this.view.element,
      this.status.question,
      this.status.offer,
      this.status.line,
      this.acts.chooser,
    );
    this.head = this.modeRow();
    this.keys = new Keys(this);
    this.pointer = new Pointer(this.view, this.tools, this.settings, this.keys, this.frame);
    this.wire = new Wire(this.document, this.view.bitmap);
    this.keep = new Keep(this.document, (error) =>
      complain(new Error(`This browser cannot store the canvas for your next visit: ${error.message}`)),
    );
    this.guides();
    this.document.onChange((what) => ["mode", "frame", "picture"].includes(what) && this.showMode());
    form.onChange(
      (tab, name) =>
        tab === TAB &&
        ["inpainting_mask_invert", "mask_strength_by_grey", "soft_inpainting"].includes(name) &&
        (this.view.changed(null), this.status.refresh()),
    );
    form.onChange(
      (tab, name, value) =>
        tab === TAB &&
        name === "soft_inpainting" &&
        document.getElementById("img2img_soft_inpainting").classList.toggle("closed", !value),
    );
    let strength = this.settings.strength;
    this.settings.onChange(() => {
      if (this.settings.strength < 1 && strength === 1 && !this.graysCount())
        form.set(TAB, { mask_strength_by_grey: true });
      strength = this.settings.strength;
    });
    this.showMode();
  }

  modeRow() {
    const labels = Object.fromEntries(Object.entries(MODES).map(([name, { label }]) => [name, label]));
    const row = tabRow(
      labels,
      "Editing mode",
      (name) => `img2img_${name}_mode`,
      (name) => this.document.setMode(name),
    );
    row.classList.add("canvas-modes");
    return row;
  }

  showMode() {
    const { mode } = this.document;
    for (const tab of childrenOf(this.head)) {
      tab.setAttribute("aria-selected", String(tab.dataset.tabId === mode));
      tab.tabIndex = tab.dataset.tabId === mode ? 0 : -1;
    }
    Object.assign(document.getElementById("tab_img2img").dataset, {
      mode,
      masks: MODES[mode].masks || this.frame.paintsOn ? "yes" : "no",
    });
    if (MODES[mode].masks !== "mask" && this.settings.tool === "wand" && !MODES[mode].paints)
      this.settings.set({ tool: "brush" });
  }

  // The outlines of the brush and of a shape: light over dark, so that they are visible on everything.
  guides() {
    const parts = ["dark", "light"].map((kind) => ({
      ring: this.view.svg("circle", { class: kind, r: 0 }),
      path: this.view.svg("path", { class: kind, d: "" }),
    }));
    this.tools.onGuide = (path) => parts.forEach((part) => part.path.setAttribute("d", path));
    const ring = (at) => {
      const hasSize = ["brush", "eraser", "line"].includes(this.settings.tool);
      const radius = hasSize ? (this.settings.size / 2) * this.view.camera.scale : 0;
      parts.forEach(
        (part) => (
          part.ring.setAttribute("r", at ? radius : 0),
          at && (part.ring.setAttribute("cx", at.x), part.ring.setAttribute("cy", at.y))
        ),
      );
      this.view.element.dataset.cursor = at ? (hasSize && radius > 3 ? "ring" : "cross") : "";
    };
    this.pointer.onCursor = ring;
    for (const thing of [this.settings, this.view.camera])
      thing.onChange(() => this.pointer.cursor && ring(this.pointer.cursor));
  }

  isOpen() {
    return openedTab() === TAB && !this.element.hidden;
  }

  isInverted() {
    return form.get(TAB, "inpainting_mask_invert") === 1;
  }

  // Whether gray mask values mean partial redrawing.
  graysCount() {
    return form.get(TAB, "mask_strength_by_grey") || form.get(TAB, "soft_inpainting");
  }

  toggleWhole() {
    this.element.classList.toggle("canvas-whole");
    document.documentElement.classList.toggle("canvas-is-whole", this.element.classList.contains("canvas-whole"));
    this.view.fit();
  }

  setMode(mode) {
    this.document.setMode(mode);
  }

  // Called by the source when the picture changes; who: "person", "script" or "restore".
  setPicture(picture, who) {
    const doc = this.document;
    const before = { picture: doc.picture, width: doc.width, height: doc.height };
    if (who !== "restore" || picture?.id !== doc.picture?.id) {
      const had = !(doc.mask.isEmpty && doc.sketch.isEmpty);
      const { coming } = this;
      const isComing =
        Boolean(coming) && (!picture || (coming.mask.width === picture.width && coming.mask.height === picture.height));
      const wasResized = doc.setPicture(picture, isComing ? coming : null);
      this.coming = null;
      if (!picture || !had || isComing || picture.id === before.picture?.id || this.status.isAbout(picture))
        this.status.stopAsking();
      else this.status.ask(before, wasResized);
    }
    this.element.hidden = !picture;
    if (!picture && this.element.classList.contains("canvas-whole")) this.toggleWhole();
    this.status.offerSmaller(picture);
    this.view.fit();
    this.view
      .show(picture)
      .catch((error) =>
        this.status.say(`This browser cannot show the picture (${error.message}); it will be used anyway.`),
      );
  }

  // Accepts a picture sent from elsewhere, without any earlier painting or frame. setPicture() then brings it. mask: of
  // its size, or none.
  startOver({ width, height }, setPicture, mask = new Layer(width, height)) {
    this.coming = { mask, sketch: new Layer(width, height, 4) };
    setPicture();
    this.coming = null;
    this.document.setFrame(null);
  }

  // Restores what this tab had before; returns the picture.
  async restore() {
    try {
      const kept = await this.keep.restore();
      const early = this.document.picture; // the person was quicker than the database
      if (!kept || (early && !this.document.mask.isEmpty)) return null;
      this.document.picture = kept.picture;
      this.document.load(kept);
      if (early) this.setPicture(early, "person");
      return early ? null : kept.picture;
    } catch (error) {
      complain(new Error(`This browser cannot store the canvas for your next visit: ${error.message}`));
      return null;
    }
  }

  // For Undo: what a step stored in the browser keeps of the canvas, and what is kept only as long as the page lives.
  noted() {
    this.document.settle();
    const { mode, frame, mask, sketch } = this.document;
    return { seen: { mode, frame }, layers: { mask: mask.copy(), sketch: sketch.copy() } };
  }

  // Restores the canvas exactly as it was noted. setPicture() then brings the picture of that time. Without layers (the
  // page has been reloaded since), the current mask stays.
  bringBack({ mode, frame }, layers, setPicture) {
    this.coming = layers ?? null;
    setPicture();
    this.coming = null;
    this.document.setMode(mode);
    this.document.setFrame(frame);
    this.view.fit();
  }

  // The part of the picture in `box` becomes the source, with the painting on it.
  async crop(box) {
    const { mask, sketch } = this.document;
    const step = remember(TAB, "crop");
    const { picture } = this.document;
    this.coming = { mask: mask.cropped(box), sketch: sketch.cropped(box) };
    await this.onBring?.(await cutOut(this.view.bitmap, box), true);
    if (this.document.picture === picture)
      forget(TAB, step); // it was refused
    else done(TAB, step);
  }

  async shrinkSource() {
    this.status.offer.hidden = true;
    await this.onBring?.(await smallerCopy(this.view.bitmap.whole));
  }

  // What a request takes from the canvas: fields to set, and fields without meaning if there is no mask or new area.
  async outgoing() {
    /** @type {Record<string, any>} */
    const fields = { ...(await this.wire.fields(form.get(TAB, "mask_blur"))), ...this.frame.fields() };
    return { fields, without: fields.mask || this.frame.paintsOn ? [] : MASK_FIELDS };
  }
}
