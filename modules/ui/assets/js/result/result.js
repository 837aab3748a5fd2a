// The right half of a tab: the selected picture or the live preview, its thumbnails, its details and its actions.

import { Compare } from "./compare.js";
import { button, childrenOf, first, h, onEnterOrClick, part } from "../core/dom.js";
import { copyButton, pretty } from "../form/infotext.js";
import { read, write } from "../core/store.js";
import { view } from "./viewer.js";

const CALLS = {
  txt2img: "Describe what you want to see, and press Generate.",
  img2img: "Drop a picture on the left, describe what it should become, and press Generate.",
  extras: "Drop a picture on the left, choose an upscaler, and press Generate.",
};

export class Result {
  // actions: an element with the buttons below the picture; save(picture) is also used by the viewer's S;
  // reuseSeed(seed), or null if pictures have no seed.
  constructor(tab, gallery, progress, { actions, save, reuseSeed }) {
    this.tab = tab;
    this.gallery = gallery;
    this.progress = progress;
    this.save = save;
    this.hasSeeds = Boolean(reuseSeed);
    this.previewing = false;
    this.image = h("img", { className: "shot", alt: "Result", hidden: true, draggable: "true" });
    this.preview = h("img", { className: "shot preview", alt: "Live preview", hidden: true });
    this.compare = new Compare(tab, gallery, this.image);
    this.empty = h(
      "div",
      { className: "stage-empty" },
      h("div", { className: "stage-mark" }),
      h("p", {
        textContent: CALLS[tab],
      }),
      h(
        "p",
        { className: "p-keys" },
        h("kbd", { textContent: "Ctrl" }),
        "+",
        h("kbd", { textContent: "Enter" }),
        " generates · ",
        h("kbd", { textContent: "Esc" }),
        " interrupts",
      ),
    );
    const expand = button({
      icon: "expand",
      title: "Full screen",
      className: "p-glass",
      id: `${tab}_fullscreen`,
      onclick: () => this.open(),
    });
    this.tools = h("div", { className: "stage-tools", hidden: true }, ...this.compare.buttons, expand);
    this.left = button({
      icon: "left",
      title: "Previous picture",
      className: "p-glass stage-left",
      onclick: () => gallery.step(-1),
    });
    this.right = button({
      icon: "right",
      title: "Next picture",
      className: "p-glass stage-right",
      onclick: () => gallery.step(1),
    });
    this.stage = h(
      "div",
      { className: "stage", tabindex: "0", role: "group", "aria-label": "Result" },
      this.empty,
      this.image,
      this.preview,
      this.compare.element,
      this.tools,
      this.left,
      this.right,
    );
    this.strip = h("div", {
      className: "strip",
      role: "listbox",
      "aria-label": "Pictures",
      "aria-orientation": "horizontal",
      id: `${tab}_gallery`,
      hidden: true,
    });
    this.alert = h("div", { className: "p-alert", role: "alert", hidden: true, id: `${tab}_alert` });
    this.facts = h("span", { className: "facts-text" });
    this.factsRow = h(
      "div",
      { className: "facts", hidden: true },
      this.facts,
      reuseSeed
        ? button({
            icon: "reuse",
            text: "Reuse seed",
            className: "p-small",
            onclick: () => reuseSeed(gallery.selected.seed),
          })
        : null,
    );
    this.text = h("div", { className: "infotext-holder", id: `${tab}_html_info` });
    this.details = h(
      "details",
      { className: "infotext-box", hidden: true, open: read(`open.${tab}`, false) },
      h(
        "summary",
        {},
        h("span", { textContent: "Parameters" }),
        copyButton(() => gallery.selected?.infotext ?? ""),
      ),
      this.text,
    );
    this.details.addEventListener("toggle", () => write(`open.${tab}`, this.details.open));
    this.details.querySelector(".p-copy").addEventListener("click", (event) => event.preventDefault());
    this.actions = actions;
    part("result", tab).replaceChildren(
      h(
        "div",
        { className: "result" },
        this.stage,
        progress.element,
        this.alert,
        this.strip,
        this.actions,
        this.factsRow,
        this.details,
      ),
    );
    this.listen();
    gallery.onChange(() => this.refresh());
    this.refresh();
  }

  listen() {
    onEnterOrClick(this.stage, (event) => !event.target.closest("button") && this.open());
    this.stage.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by && event.target === this.stage) event.preventDefault(), this.gallery.step(by);
    });
    this.image.addEventListener("error", () => this.gallery.selected && this.gallery.drop(this.gallery.selected));
    this.image.addEventListener("load", () => this.compare.fit());
    new ResizeObserver(() => this.compare.fit()).observe(this.stage);
    this.strip.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      this.gallery.step(by);
      first(this.strip, "[aria-selected=true]")?.focus();
    });
  }

  open() {
    if (this.gallery.selected) view(this.gallery, this.save);
  }

  showPreview(data) {
    if (!this.gallery.following) return;
    this.preview.src = data;
    this.previewing = true;
    this.refreshStage();
  }

  endPreview() {
    this.previewing = false;
    this.preview.removeAttribute("src");
    this.refreshStage();
  }

  takeBack(sentence) {
    if (this.alert.textContent === sentence) this.complain("");
  }

  // action: {text, run} for a button behind the sentence, which disappears with it.
  complain(sentence, action = null) {
    const act = () => (this.complain(""), action.run());
    this.alert.replaceChildren(
      ...(action ? [`${sentence} `, button({ text: action.text, className: "p-link", onclick: act })] : [sentence]),
    );
    this.alert.hidden = !sentence;
  }

  refresh() {
    const { selected } = this.gallery;
    if (selected && this.shown !== selected) {
      this.image.src = selected.reduced ?? selected.url;
      this.facts.replaceChildren(
        h("b", { textContent: `${selected.width} × ${selected.height}` }),
        this.hasSeeds ? ` · seed ${selected.seed}` : "",
      );
      this.text.replaceChildren(pretty(selected.infotext));
    }
    this.shown = selected;
    for (const element of [this.factsRow, this.details, this.actions]) element.hidden = !selected;
    this.refreshStrip();
    this.refreshStage();
  }

  refreshStage() {
    const { selected, pictures, following } = this.gallery;
    const previewing = this.previewing && following;
    const at = pictures.indexOf(selected);
    this.preview.hidden = !previewing;
    this.image.hidden = previewing || !selected;
    this.empty.hidden = previewing || Boolean(selected);
    this.tools.hidden = previewing || !selected;
    this.left.hidden = previewing || at <= 0;
    this.right.hidden = previewing || at < 0 || at >= pictures.length - 1;
    this.compare.refresh(previewing);
  }

  refreshStrip() {
    const { pictures, selected } = this.gallery;
    this.strip.hidden = pictures.length < 2;
    const shown = new Map(childrenOf(this.strip).map((thumb) => [thumb.dataset.url, thumb]));
    const thumbs = pictures.map((picture) => {
      const thumb = shown.get(picture.url) ?? this.thumb(picture);
      thumb.setAttribute("aria-selected", String(picture === selected));
      thumb.tabIndex = picture === selected ? 0 : -1;
      const before = pictures[pictures.indexOf(picture) - 1];
      const isSibling = before?.job === picture.job || (picture.ladder && before?.ladder === picture.ladder);
      thumb.classList.toggle("pinned", this.compare.isPinned(picture));
      thumb.classList.toggle("new-job", !isSibling && picture !== pictures[0]);
      return thumb;
    });
    this.strip.replaceChildren(...thumbs);
    const chosen = first(this.strip, "[aria-selected=true]");
    if (chosen) this.strip.scrollTo({ left: chosen.offsetLeft - this.strip.clientWidth / 2 + chosen.clientWidth / 2 });
  }

  thumb(picture) {
    const image = h("img", {
      src: picture.reduced ?? picture.url,
      alt: `Picture with seed ${picture.seed}`,
      loading: "lazy",
      draggable: "true",
    });
    image.addEventListener("error", () => this.gallery.drop(picture));
    return h(
      "button",
      {
        type: "button",
        className: "thumb",
        role: "option",
        "data-url": picture.url,
        title: [picture.label, `Seed ${picture.seed}`].filter(Boolean).join(" · "),
        onclick: () => this.gallery.select(picture),
      },
      image,
      picture.label ? h("span", { className: "thumb-label", textContent: picture.label }) : "",
    );
  }
}
