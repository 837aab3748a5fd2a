// Width and height: swap, aspect lock, the source's own size; what they come to, and what is wrong with them.

import { button, byId, childrenOf, h, part, setIcon } from "../core/dom.js";
import * as form from "./form.js";
import { isShapedLike, nearest, shaped, within } from "./sizes.js";
import { read, write } from "../core/store.js";
import { tabRow } from "../core/tabs.js";

export class Size {
  // estimate: of this tab; sourceSize() -> {width, height} or null.
  constructor(tab, estimate, sourceSize = () => null) {
    this.tab = tab;
    this.estimate = estimate;
    this.sourceSize = sourceSize;
    this.ratio = read(`ratio.${tab}`);
    this.own = false; // while we change the other side ourselves
    const tools = h("div", { className: "size-tools" });
    tools.append(
      button({ icon: "swap", title: "Swap width and height", id: `${tab}_res_switch_btn`, onclick: () => this.swap() }),
    );
    if (tab === "img2img") {
      tools.append(
        button({
          icon: "ruler",
          title: "Use the source picture's size",
          id: `${tab}_detect_image_size_btn`,
          onclick: () => this.detect(),
        }),
      );
    }
    this.lockButton = button({
      icon: "unlock",
      title: "Lock the aspect ratio",
      id: `${tab}_aspect_lock`,
      onclick: () => this.lock(this.ratio ? null : this.current()),
    });
    tools.append(this.lockButton);
    part("size-tools", tab).replaceChildren(tools);
    this.hint = part("size-hint", tab);
    this.warning = part("size-warning", tab);
    this.text = part("size-text", tab);
    this.showLock();
    if (tab === "img2img") this.tabs();
    form.onChange((which, name) => which === tab && this.follow(name));
    estimate.onAnswer((told) => this.tell(told));
    this.refresh();
  }

  // Resize to / Resize by: the one that is open counts.
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

  // The source's size.
  detect() {
    const source = this.sourceSize();
    if (!source) return this.tellHint("There is no source picture.");
    this.take(source);
    if (form.get(this.tab, "size_tab") !== "to") form.set(this.tab, { size_tab: "to" });
  }

  // The form's size is that of a picture, made smaller where a side is longer than the form takes.
  take(picture) {
    const most = form.fieldsOf(this.tab).find((field) => field.name === "width").maximum;
    if (this.ratio) this.lock(picture.width / picture.height);
    const { width, height } = within(picture, most);
    this.put(width, height);
  }

  // The source's proportions at about the area that is set now: a size the model knows.
  proportion() {
    this.putShaped(this.sourceSize(), form.get(this.tab, "width") * form.get(this.tab, "height"));
  }

  putShaped(picture, area) {
    if (this.ratio) this.lock(picture.width / picture.height);
    const { width, height } = shaped(picture, area);
    this.put(width, height);
  }

  // The size that the checkpoint was trained at; where the form keeps the source's proportions, at its area.
  takeNative({ width, height }) {
    const source = this.sourceSize();
    if (form.get(this.tab, "size_tab") !== "to") form.set(this.tab, { size_tab: "to" });
    else if (source && this.isShapedLike(source)) return this.putShaped(source, width * height);
    if (this.ratio) this.lock(width / height);
    this.put(width, height);
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
      form.set(this.tab, { [name === "width" ? "height" : "width"]: nearest(other) });
      this.own = false;
    }
    this.refresh();
  }

  refresh() {
    if (this.tab !== "img2img") return;
    this.showTab();
    this.hintAboutShape(this.sourceSize());
  }

  // told: the server's estimate, null where it has none for these values.
  tell(told) {
    this.warning.replaceChildren();
    if (told?.warning) {
      const { width, height } = told.native;
      this.warning.replaceChildren(
        h(
          "div",
          { className: "p-hint", id: `${this.tab}_size_warning`, role: "status" },
          h("span", { textContent: told.warning }),
          button({
            text: `Use ${width} × ${height}`,
            className: "p-link",
            id: `${this.tab}_use_native`,
            title: "The size this checkpoint was trained at",
            onclick: () => this.takeNative(told.native),
          }),
        ),
      );
    }
    if (this.tab !== "img2img") return;
    const source = this.sourceSize();
    this.hintAboutShape(source);
    if (!source) this.text.textContent = "Load a picture to see its new size.";
    else if (told) this.text.textContent = `from ${source.width} × ${source.height} to ${told.width} × ${told.height}`;
    this.stepsText().textContent = told ? `${told.effective_steps} of ${told.steps} steps` : "";
  }

  hintAboutShape(source) {
    this.hint.replaceChildren();
    if (!source || form.get(this.tab, "size_tab") !== "to" || this.isShapedLike(source)) return;
    const [width, height] = [form.get(this.tab, "width"), form.get(this.tab, "height")];
    const what = ["stretches", "crops", "adds borders to", "stretches"][form.get(this.tab, "resize_mode")];
    this.tellHint(
      `${width} × ${height} ${what} the source (${source.width} × ${source.height}).`,
      button({
        text: "Use its proportions",
        className: "p-link",
        id: "img2img_use_proportions",
        onclick: () => this.proportion(),
      }),
    );
  }

  tellHint(sentence, action = null) {
    this.hint.replaceChildren(h("div", { className: "p-hint" }, h("span", { textContent: sentence }), action ?? ""));
  }

  stepsText() {
    const found = byId("img2img_effective_steps");
    if (found) return found;
    const made = h("span", {
      className: "steps-text",
      id: "img2img_effective_steps",
      title: "Steps actually run at this denoising strength",
    });
    byId("img2img_denoising_strength").querySelector(".head label").append(made);
    return made;
  }
}
