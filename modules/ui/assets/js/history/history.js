// The History tab: all pictures, newest first; what a picture was made from, and what was made from it.

import { save, sendToImg2img } from "../result/actions.js";
import { get } from "../core/api.js";
import { all, button, download, first, h, part } from "../core/dom.js";
import { copyButton, pretty } from "../form/infotext.js";
import { read, write } from "../core/store.js";
import { onOpen, openedTab } from "../core/tabs.js";
import { enlarge } from "../result/enlarge.js";
import { view } from "../result/viewer.js";
import { reopen, reopenExtras } from "./reopen.js";
import { brought, nameOf, promptOf, thumb } from "./thumbs.js";

/** @type {Intl.DateTimeFormatOptions} */
const DAY = { weekday: "long", day: "numeric", month: "long", year: "numeric" };

export class History {
  // page: {source, canvas, tabs, openTab, sendToInfo, sendToExtras}.
  constructor(page) {
    this.page = page;
    this.pictures = []; // newest first, as many as have been requested
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

  // The newest page, or the page after `before`.
  async load(before = "") {
    const turn = ++this.turn;
    if (!this.pictures.length) this.status.textContent = "Scanning the outputs folder …";
    try {
      const answer = await get(`/v1/history?${new URLSearchParams({ before })}`);
      if (turn !== this.turn) return;
      this.pictures = before ? [...this.pictures, ...answer.pictures] : answer.pictures;
      this.next = answer.next;
      this.status.textContent = answer.unread
        ? `${answer.unread} older pictures are still being read.`
        : this.pictures.length
          ? ""
          : "There are no pictures in the outputs folder yet.";
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
    const shown = new Map(all(this.grid, ".history-thumb").map((thumb) => [thumb.dataset.sha256, thumb]));
    const rows = [];
    let day = "";
    for (const picture of this.pictures) {
      const made = new Date(picture.made * 1000).toLocaleDateString([], DAY);
      if (made !== day) rows.push(h("h3", { className: "history-day", textContent: (day = made) }));
      const small = shown.get(picture.sha256) ?? thumb(picture, () => this.look(picture));
      small.querySelector(".history-count")?.remove();
      if (picture.children)
        small.append(
          h("span", {
            className: "history-count",
            title: `${picture.children} made from it`,
            textContent: picture.children,
          }),
        );
      rows.push(small);
    }
    this.grid.replaceChildren(...rows);
    this.mark();
  }

  mark() {
    for (const thumb of all(this.grid, ".history-thumb")) {
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
    first(this.grid, "[aria-selected=true]")?.focus();
  }

  choose(picture) {
    if (picture && picture.sha256 === this.selected?.sha256 && this.lineage) return this.mark();
    this.selected = picture;
    write("history", picture?.sha256 ?? null);
    this.mark();
    this.showDetail(picture);
  }

  // On a narrow screen, the chosen picture is above the thumbnails and may be out of sight.
  look(picture) {
    this.choose(picture);
    if (this.detail.getBoundingClientRect().top < 0) this.detail.scrollIntoView({ block: "start" });
  }

  showDetail(picture) {
    this.lineage = null;
    if (!picture) return this.detail.replaceChildren();
    const image = h("img", {
      className: "history-picture",
      src: picture.reduced ?? picture.url,
      alt: promptOf(picture),
      tabindex: "0",
      title: "Full screen",
      draggable: "true",
      onclick: () => this.enlarge(),
    });
    // Its space is reserved before the picture loads: nothing moves for somebody who has scrolled there.
    image.style.aspectRatio = `${picture.width} / ${picture.height}`;
    image.style.width = `min(100%, ${picture.width}px, calc(var(--tallest) * ${picture.width / picture.height}))`;
    image.addEventListener("keydown", (event) => event.key === "Enter" && this.enlarge());
    const tab = picture.kind === "txt2img" ? "txt2img" : picture.kind;
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
                text: `Open in ${tab === "extras" ? "Extras" : tab}`,
                id: "history_open",
                className: "p-strong",
                title:
                  tab === "extras" ? "Load what it was made from" : "Restore the form, with the source and the mask",
                onclick: () => (tab === "extras" ? reopenExtras : reopen)(this.page, picture, tab),
              })
            : null,
          button({
            icon: "send",
            text: "Send to img2img",
            id: "history_send",
            title: "Use this picture as the img2img source",
            onclick: () => sendToImg2img(picture, this.page),
          }),
          button({
            icon: "fill",
            text: "Enlarge",
            id: "history_enlarge",
            title: "Make it larger: 2×, 4×, 8×, or to 4K and more",
            onclick: () => enlarge(picture, this.page),
          }),
          button({
            icon: "ruler",
            text: "Extras",
            id: "history_send_to_extras",
            title: "Send to Extras: enlarge it, sharpen it, take noise away",
            onclick: () => this.page.sendToExtras(picture),
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
      const ancestors = sources.map((one) => (one.path ? thumb(one, () => this.look(one)) : brought(one)));
      place.replaceChildren(
        ...(sources.length ? [row("Made from", ancestors, "history_sources")] : []),
        ...(children.length
          ? [
              row(
                children.length === 1 ? "Made from it" : `${children.length} made from it`,
                children.map((one) => thumb(one, () => this.look(one))),
                "history_children",
              ),
            ]
          : []),
      );
    } catch (error) {
      if (place === this.lineage) place.replaceChildren(h("p", { className: "p-soft", textContent: error.message }));
    }
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
}
