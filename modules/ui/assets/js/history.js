// The History tab: what has been made, newest first; what a picture was made from and what came of it; and the way back
// into the forms, with source and mask as they were.

import { save, sendToImg2img } from "./actions.js";
import { get, post, request } from "./api.js";
import { button, download, h, part } from "./dom.js";
import { copyButton, fill, pretty } from "./infotext.js";
import { pixelsOf } from "./pictures.js";
import { read, write } from "./store.js";
import { onOpen, openedTab } from "./tabs.js";
import { complain } from "./toast.js";
import { remember, toastWithUndo } from "./undo.js";
import { view } from "./viewer.js";

const DAY = { weekday: "long", day: "numeric", month: "long", year: "numeric" };
const nameOf = (picture) => picture.path.split("/").at(-1);
const SIZES = ["width", "height", "resize_by"];
const marginsOf = (fields) =>
  Object.fromEntries(["left", "top", "right", "bottom"].map((side) => [side, fields[`outpaint_${side}`] ?? 0]));
const promptOf = (picture) => picture.infotext.split("\n")[0].slice(0, 200) || "no prompt";

export class History {
  // page: {source, canvas, tabs, openTab, sendToInfo}.
  constructor(page) {
    this.page = page;
    this.pictures = []; // newest first, as far as they have been asked for
    this.next = "";
    this.selected = null;
    this.turn = 0;
    this.grid = h("div", {
      className: "history-grid",
      role: "listbox",
      "aria-label": "Pictures, newest first",
      id: "history_grid",
    });
    this.status = h("p", { className: "p-soft", role: "status", id: "history_status" });
    this.more = button({ text: "Show more", id: "history_more", onclick: () => this.load(this.next) });
    this.more.hidden = true;
    this.detail = h("div", { className: "history-detail", id: "history_detail", "aria-live": "polite" });
    part("history").replaceChildren(
      h(
        "div",
        { className: "history" },
        h("div", { className: "history-list" }, this.status, this.grid, this.more),
        this.detail,
      ),
    );
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.showDetail(null);
    onOpen("history", () => this.load());
    if (openedTab() === "history") this.load();
    document.addEventListener("server-back", () => openedTab() === "history" && this.load());
  }

  // From the newest on, or the page after `before`.
  async load(before = "") {
    const turn = ++this.turn;
    if (!this.pictures.length) this.status.textContent = "Looking at the outputs folder …";
    try {
      const answer = await get(`/v1/history?${new URLSearchParams({ before })}`);
      if (turn !== this.turn) return;
      this.pictures = before ? [...this.pictures, ...answer.pictures] : answer.pictures;
      this.next = answer.next;
      this.status.textContent = answer.unread
        ? `${answer.unread} older pictures are still being read.`
        : this.pictures.length
          ? ""
          : "There is no picture in the outputs folder yet.";
      this.status.hidden = !this.status.textContent;
      this.more.hidden = !this.next;
      this.showGrid();
      if (!before)
        this.choose(
          this.pictures.find((picture) => picture.sha256 === (this.selected?.sha256 ?? read("history"))) ??
            this.pictures[0] ??
            null,
        );
      if (answer.unread && openedTab() === "history" && !before)
        setTimeout(() => turn === this.turn && this.load(), 50); // as long as new ones are found
    } catch (error) {
      this.status.hidden = false;
      this.status.textContent = error.message;
    }
  }

  showGrid() {
    const shown = new Map(
      [...this.grid.querySelectorAll(".history-thumb")].map((thumb) => [thumb.dataset.sha256, thumb]),
    );
    const rows = [];
    let day = "";
    for (const picture of this.pictures) {
      const made = new Date(picture.made * 1000).toLocaleDateString([], DAY);
      if (made !== day) rows.push(h("h3", { className: "history-day", textContent: (day = made) }));
      const thumb = shown.get(picture.sha256) ?? this.thumb(picture, () => this.look(picture));
      thumb.querySelector(".history-count")?.remove();
      if (picture.children)
        thumb.append(
          h("span", {
            className: "history-count",
            title: `${picture.children} made from it`,
            textContent: picture.children,
          }),
        );
      rows.push(thumb);
    }
    this.grid.replaceChildren(...rows);
    this.mark();
  }

  thumb(picture, onclick) {
    const image = h("img", {
      src: picture.thumbnail ?? picture.url,
      alt: promptOf(picture),
      loading: "lazy",
      draggable: "true",
    });
    return h(
      "button",
      {
        type: "button",
        className: "thumb history-thumb",
        role: "option",
        "data-sha256": picture.sha256,
        title: `${nameOf(picture)}: ${promptOf(picture)}`,
        onclick,
      },
      image,
    );
  }

  mark() {
    for (const thumb of this.grid.querySelectorAll(".history-thumb")) {
      const on = thumb.dataset.sha256 === this.selected?.sha256;
      thumb.setAttribute("aria-selected", String(on));
      thumb.tabIndex = on ? 0 : -1;
    }
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const next = this.pictures[this.pictures.indexOf(this.selected) + (by ?? NaN)];
    if (!next) return;
    event.preventDefault();
    this.choose(next);
    this.grid.querySelector("[aria-selected=true]")?.focus();
  }

  choose(picture) {
    if (picture && picture.sha256 === this.selected?.sha256 && this.lineage) return this.mark();
    this.selected = picture;
    write("history", picture?.sha256 ?? null);
    this.mark();
    this.showDetail(picture);
  }

  // On a narrow screen the chosen picture stands above the thumbnails, and may be out of sight.
  look(picture) {
    this.choose(picture);
    if (this.detail.getBoundingClientRect().top < 0) this.detail.scrollIntoView({ block: "start" });
  }

  showDetail(picture) {
    this.lineage = null;
    if (!picture) return this.detail.replaceChildren();
    const image = h("img", {
      className: "history-picture",
      src: picture.url,
      alt: promptOf(picture),
      tabindex: "0",
      title: "Full screen",
      draggable: "true",
      onclick: () => this.enlarge(),
    });
    // Its place is there before the picture is: nothing moves below somebody who has scrolled to it.
    image.style.aspectRatio = `${picture.width} / ${picture.height}`;
    image.style.width = `min(100%, ${picture.width}px, calc(var(--tallest) * ${picture.width / picture.height}))`;
    image.addEventListener("keydown", (event) => event.key === "Enter" && this.enlarge());
    const tab = picture.kind === "img2img" ? "img2img" : "txt2img";
    this.lineage = h("div", { className: "history-lineage", id: "history_lineage" });
    const made = new Date(picture.made * 1000).toLocaleString();
    this.detail.replaceChildren(
      image,
      h(
        "div",
        { className: "facts" },
        h(
          "span",
          { className: "facts-text" },
          h("b", { textContent: `${picture.width} × ${picture.height}` }),
          ` · ${picture.seed ? `seed ${picture.seed} · ` : ""}${made}`,
        ),
      ),
      h(
        "div",
        { className: "actions-row" },
        h(
          "div",
          { className: "actions-group" },
          picture.infotext
            ? button({
                icon: "undo",
                text: `Open in ${tab}`,
                id: "history_open",
                className: "p-strong",
                title: "The form as it was, with the source and the mask",
                onclick: () => this.open(picture, tab),
              })
            : null,
          button({
            icon: "send",
            text: "Send to img2img",
            id: "history_send",
            title: "This picture becomes img2img's source",
            onclick: () => sendToImg2img(picture, this.page),
          }),
        ),
        h(
          "div",
          { className: "actions-group" },
          button({
            icon: "download",
            title: "Download this picture",
            id: "history_download",
            onclick: () => download(picture.url, nameOf(picture)),
          }),
          button({
            icon: "info",
            title: "Send to PNG Info",
            id: "history_send_to_pnginfo",
            onclick: () => this.page.sendToInfo(picture),
          }),
        ),
      ),
      this.lineage,
      h(
        "details",
        { className: "infotext-box", open: true },
        h(
          "summary",
          {},
          h("span", { textContent: "Parameters" }),
          picture.infotext ? copyButton(() => picture.infotext) : null,
        ),
        h("div", { className: "infotext-holder" }, pretty(picture.infotext)),
      ),
    );
    this.showLineage(picture, this.lineage);
  }

  async showLineage(picture, place) {
    if (!picture.source && !picture.children && picture.children !== undefined) return;
    try {
      const { sources, children } = await get(`/v1/history/${picture.sha256}/lineage`);
      if (place !== this.lineage) return;
      const row = (label, pictures, id) =>
        h(
          "div",
          { className: "history-row", id },
          h("span", { textContent: label }),
          h("div", { className: "history-strip" }, ...pictures),
        );
      const ancestors = sources.map((one) => (one.path ? this.thumb(one, () => this.look(one)) : this.brought(one)));
      place.replaceChildren(
        ...(sources.length ? [row("Made from", ancestors, "history_sources")] : []),
        ...(children.length
          ? [
              row(
                children.length === 1 ? "Made from it" : `${children.length} made from it`,
                children.map((one) => this.thumb(one, () => this.look(one))),
                "history_children",
              ),
            ]
          : []),
      );
    } catch (error) {
      if (place === this.lineage) place.replaceChildren(h("p", { className: "p-soft", textContent: error.message }));
    }
  }

  // A source that came from elsewhere.
  brought({ sha256, url }) {
    if (!url)
      return h("span", {
        className: "p-soft",
        textContent: `a picture that is not here any more (${sha256.slice(0, 10)}…)`,
      });
    return h(
      "span",
      { className: "thumb history-brought", title: "A picture that was brought from elsewhere" },
      h("img", { src: pixelsOf(sha256), alt: "The picture that was brought", loading: "lazy" }),
    );
  }

  enlarge() {
    const history = this;
    const gallery = {
      get pictures() {
        return history.pictures.includes(history.selected) ? history.pictures : [history.selected];
      },
      get selected() {
        return history.selected;
      },
      step: (by) =>
        history.choose(gallery.pictures[gallery.pictures.indexOf(history.selected) + by] ?? history.selected),
    };
    view(gallery, save);
  }

  // The form as it was: parameters, source, and the mask and the frame where there were any. Undo brings back what
  // stood there.
  async open(picture, tab) {
    const { canvas } = this.page;
    try {
      const told = await post(`/v1/history/${picture.sha256}/open`);
      const mask = told.mask ? await (await request("GET", told.mask.url)).blob() : null;
      const step = remember(tab, "send");
      const margins = tab === "img2img" && told.source ? marginsOf(told.fields) : null;
      const isGrown = margins !== null && Object.values(margins).some(Boolean);
      // Where a frame paints on it makes the size, and the text's is the whole's: nothing to stretch the source to.
      const isSizedByFrame = isGrown && !told.fields.inpaint_full_res;
      if (isSizedByFrame) SIZES.forEach((name) => delete told.fields[name]);
      const notes = [...fill(tab, told, false), ...told.missing];
      if (margins) {
        canvas.startOver(told.source, () => this.page.source.set({ ...told.source, name: told.source.id }));
        canvas.setMode(told.mask ? "inpaint" : "img2img");
        if (mask) await canvas.acts.loadMask(mask);
        if (isGrown)
          canvas.settings.set({
            outpaintFill: told.fields.outpaint_fill,
            outpaintFeather: told.fields.outpaint_feather,
          });
        canvas.frame.setMargins(margins);
        if (isSizedByFrame) this.page.tabs.img2img.size.detect();
      }
      this.page.openTab(tab);
      toastWithUndo(tab, [`Opened in ${tab}.`, ...notes].join(" "), step);
    } catch (error) {
      complain(error);
    }
  }
}
