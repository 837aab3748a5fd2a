// Width and height: swap, aspect lock, the source's own size, the checkpoint's training sizes.

import { button, byId, childrenOf, h, part, setIcon } from "../core/dom.js";
import * as form from "./form.js";
import { SizeHints } from "./sizehints.js";
import { isShapedLike, nearest, shaped, within } from "./sizes.js";
import { read, write } from "../core/store.js";
import { tabRow } from "../core/tabs.js";
import { TrainedSizes } from "./trainedsizes.js";

const UNIT = 8; // pixels, as long as no checkpoint is known

export class Size {
  // estimate: of this tab; sourceSize() -> {width, height} or null.
  constructor(tab, estimate, sourceSize = () => null) {
    this.tab = tab;
    this.sourceSize = sourceSize;
    this.unit = UNIT;
    this.ratio = read(`ratio.${tab}`);
    this.own = false; // while the script changes the other side
    this.hints = new SizeHints(this);
    this.trained = new TrainedSizes(tab, (size) => this.choose(size));
    this.lockButton = button({
      icon: "unlock",
      title: "Lock the aspect ratio",
      id: `${tab}_aspect_lock`,
      onclick: () => this.lock(this.ratio ? null : this.current()),
    });
    part("size-tools", tab).replaceChildren(h("div", { className: "size-tools" }, ...this.tools()));
    this.showLock();
    if (tab === "img2img") this.tabs();
    form.onChange((which, name) => which === tab && this.follow(name));
    estimate.onAnswer((estimate) => this.hints.show(estimate));
    this.refresh();
  }

  tools() {
    const swap = button({
      icon: "swap",
      title: "Swap width and height",
      id: `${this.tab}_res_switch_btn`,
      onclick: () => this.swap(),
    });
    if (this.tab !== "img2img") return [swap, this.trained.element, this.lockButton];
    const detect = button({
      icon: "ruler",
      title: "Use the source picture's size",
      id: `${this.tab}_detect_image_size_btn`,
      onclick: () => this.detect(),
    });
    return [swap, this.trained.element, this.lockButton, detect];
  }

  // sizes: {multiple_of, trained_on} of the selected checkpoint; null without one.
  setModel(sizes) {
    this.unit = sizes?.multiple_of ?? UNIT;
    this.trained.show(sizes?.trained_on ?? []);
    for (const name of ["width", "height"]) {
      const { elem } = form.fieldsOf(this.tab).find((field) => field.name === name);
      for (const input of byId(elem).querySelectorAll("input")) input.step = String(this.unit);
    }
  }

  // Resize to / Resize by: the open one applies.
  tabs() {
    const row = tabRow(
      { to: "Resize to", by: "Resize by" },
      "Size of the result",
      (name) => `img2img_tab_resize_${name}_button`,
      (which) => form.changed("img2img", "size_tab", which),
    );
    part("size-tabs", "img2img").replaceChildren(row);
    this.showTab = () => {
      const open = form.get("img2img", "size_tab");
      byId("img2img_tabs_resize").dataset.open = open;
      for (const button of childrenOf(row)) {
        button.setAttribute("aria-selected", String(button.dataset.tabId === open));
        button.tabIndex = button.dataset.tabId === open ? 0 : -1;
      }
    };
  }

  current() {
    return form.get(this.tab, "width") / form.get(this.tab, "height");
  }

  swap() {
    const [width, height] = [form.get(this.tab, "height"), form.get(this.tab, "width")];
    if (this.ratio) this.lock(width / height);
    this.put(width, height);
  }

  put(width, height) {
    this.own = true;
    form.set(this.tab, { width, height });
    this.own = false;
  }

  lock(ratio) {
    this.ratio = ratio;
    write(`ratio.${this.tab}`, ratio);
    this.showLock();
  }

  showLock() {
    setIcon(
      this.lockButton,
      this.ratio ? "lock" : "unlock",
      this.ratio ? "Unlock the aspect ratio" : "Lock the aspect ratio",
    );
    this.lockButton.classList.toggle("on", Boolean(this.ratio));
    this.lockButton.setAttribute("aria-pressed", String(Boolean(this.ratio)));
  }

  // Sets exactly this size, whatever the proportions were.
  choose({ width, height }) {
    if (this.ratio) this.lock(width / height);
    this.put(width, height);
  }

  // The source's size.
  detect() {
    const source = this.sourceSize();
    if (!source) return this.hints.say("There is no source picture.");
    this.take(source);
    if (form.get(this.tab, "size_tab") !== "to") form.set(this.tab, { size_tab: "to" });
  }

  // Sets the form's size to a picture's, scaled down if a side is longer than the form allows.
  take(picture) {
    const most = form.fieldsOf(this.tab).find((field) => field.name === "width").maximum;
    if (this.ratio) this.lock(picture.width / picture.height);
    const { width, height } = within(picture, most, this.unit);
    this.put(width, height);
  }

  // The source's proportions at about the current area: a size that suits the model.
  proportion() {
    this.putShaped(this.sourceSize(), form.get(this.tab, "width") * form.get(this.tab, "height"));
  }

  putShaped(picture, area) {
    if (this.ratio) this.lock(picture.width / picture.height);
    const { width, height } = shaped(picture, area, this.unit);
    this.put(width, height);
  }

  // The size that the checkpoint was trained at; if the form keeps the source's proportions, its area.
  takeNative({ width, height }) {
    const source = this.sourceSize();
    if (form.get(this.tab, "size_tab") !== "to") form.set(this.tab, { size_tab: "to" });
    else if (source && this.isShapedLike(source)) return this.putShaped(source, width * height);
    this.choose({ width, height });
  }

  isShapedLike(picture) {
    const [width, height] = [form.get(this.tab, "width"), form.get(this.tab, "height")];
    return isShapedLike({ width, height }, picture);
  }

  follow(name) {
    if (!["width", "height", "size_tab", "resize_mode"].includes(name)) return;
    if (this.ratio && !this.own && (name === "width" || name === "height")) {
      const value = form.get(this.tab, name);
      const other = name === "width" ? value / this.ratio : value * this.ratio;
      this.own = true;
      form.set(this.tab, { [name === "width" ? "height" : "width"]: nearest(other, this.unit) });
      this.own = false;
    }
    this.refresh();
  }

  refresh() {
    if (this.tab !== "img2img") return;
    this.showTab();
    this.hints.aboutShape();
  }
}
