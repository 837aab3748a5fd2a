// The Batch mode of img2img: files, masks, per-file prompts, size limits and the output folder. Generate starts the
// batch.

import { MASK_FIELDS } from "../../canvas/wire.js";
import { get } from "../core/api.js";
import { begin, bring, dropped, Files } from "./files.js";
import { Options } from "./options.js";
import { BatchRun } from "./run.js";
import { Zone } from "./zone.js";
import { button, byId, h } from "../core/dom.js";
import { read, write } from "../core/store.js";

const TAB = "img2img";
const isStarted = () => document.body.classList.contains("started"); // until then, values are only being restored

export class Batch {
  // page: {canvas, source, tabs}.
  constructor(page) {
    this.page = page;
    this.files = new Files();
    this.masks = new Files();
    this.known = new Set(); // ids of files that this page has uploaded
    this.options = new Options(() => this.refresh());
    this.sending = null; // an AbortController during an upload
    this.run = new BatchRun(page.tabs[TAB], () => this.refreshRun());
    this.panel = this.built();
    this.joinModes();
    this.refresh();
    this.open(read("batch.open", false));
  }

  // Adds a mode to the canvas's row of modes.
  joinModes() {
    const row = this.page.canvas.head;
    this.tab = h("button", {
      type: "button",
      role: "tab",
      id: "img2img_batch_mode",
      textContent: "Batch",
      "data-tab-id": "batch",
      "aria-selected": "false",
      tabindex: "-1",
      onclick: () => this.open(true),
    });
    row.append(this.tab);
    row.addEventListener(
      "click",
      (event) =>
        event.target.closest("[role=tab]") !== this.tab && event.target.closest("[role=tab]") && this.open(false),
    );
    row.after(this.panel);
    // Shows a picture that is sent to the canvas, or a mode that is requested.
    const { canvas, source } = this.page;
    const { onChange } = source;
    source.onChange = (picture, who) => {
      onChange(picture, who);
      if (picture && this.isOpen && isStarted()) this.open(false);
    };
    canvas.document.onChange((what) => what === "mode" && this.isOpen && isStarted() && this.open(false));
  }

  open(on) {
    const was = this.isOpen;
    this.isOpen = on;
    write("batch.open", on || null);
    const tab = byId("tab_img2img");
    if (on) tab.dataset.batch = "yes";
    else delete tab.dataset.batch;
    if (on) {
      for (const other of this.page.canvas.head.children) {
        other.setAttribute("aria-selected", String(other === this.tab));
        other.tabIndex = other === this.tab ? 0 : -1;
      }
      this.refreshMasks();
      if (!was) this.loadFolders();
    } else if (was) {
      this.tab.setAttribute("aria-selected", "false");
      this.page.canvas.showMode();
    }
  }

  built() {
    this.error = h("div", { className: "p-error", role: "alert", hidden: true, id: "img2img_batch_error" });
    this.fileZone = new Zone(this.files, {
      id: "img2img_batch",
      call: "Drop pictures, a folder or a zip here",
      hint: "with a .txt next to each picture, or a CSV, for individual prompts",
      onChange: (folder) => this.brought(folder),
      onError: (error) => this.complain(error.message),
    });
    this.maskZone = new Zone(this.masks, {
      id: "img2img_batch_mask",
      call: "Masks, to redraw only parts",
      hint: "named like their pictures, or one for all",
      small: true,
      onChange: () => this.refresh(),
      onError: (error) => this.complain(error.message),
    });
    const { folder, maskFolder, masks, words, own, size } = this.options;
    this.fileZone.element.append(folder);
    this.maskZone.element.append(maskFolder);
    this.sent = h(
      "div",
      { className: "batch-sending", hidden: true },
      h("span", {}),
      button({ text: "Cancel", className: "p-link", onclick: () => this.sending?.abort() }),
    );
    return h(
      "div",
      { className: "batch-panel", id: "img2img_batch_panel" },
      this.fileZone.element,
      this.maskZone.element,
      masks,
      words,
      own,
      size,
      this.sent,
      this.error,
    );
  }

  brought(folder) {
    this.options.suggestOutput(folder);
    this.refresh();
  }

  refresh() {
    this.complain("");
    this.fileZone.refresh();
    this.maskZone.refresh();
    this.options.own.hidden = !this.options.values.metadata;
    if (this.isOpen) this.refreshMasks();
  }

  get hasMasks() {
    return this.masks.size > 0 || Boolean(this.options.values.mask_folder);
  }

  // The form's mask controls are shown while they have an effect.
  refreshMasks() {
    this.options.masks.hidden = !this.hasMasks;
    byId("tab_img2img").dataset.masks = this.hasMasks ? "yes" : "no";
  }

  refreshRun() {
    byId(`${TAB}_actions_column`)?.classList.toggle("batching", Boolean(this.run?.running));
  }

  async loadFolders() {
    try {
      this.options.offerFolders((await get("/v1/batches/folders")).folders);
    } catch (error) {
      this.complain(error.message);
    }
  }

  complain(sentence) {
    this.error.textContent = sentence;
    this.error.hidden = !sentence;
    if (sentence) this.error.scrollIntoView({ block: "nearest" });
  }

  // Something pasted or dropped outside the panel.
  async bringFrom(transfer) {
    await this.fileZone.take(dropped(transfer));
  }

  bring(blob) {
    if (blob)
      this.fileZone.take(Promise.resolve({ folder: "", files: [{ name: blob.name || "pasted.png", file: blob }] }));
  }

  // request: the form's fields.
  // blames(field, sentence) shows an error at its control in the form, or returns false.
  async generate(request, blames) {
    if (this.sending) return;
    this.complain("");
    const { values } = this.options;
    if (!this.files.size && !values.folder)
      return this.complain("There are no pictures yet. Drop or choose some, or enter a folder on the server.");
    if (!this.hasMasks) for (const field of MASK_FIELDS) delete request[field];
    this.sending = new AbortController();
    try {
      const files = await this.carry(this.files, "files");
      const masks = await this.carry(this.masks, "masks");
      const body = { request, files: files.brought, masks: masks.brought, ...this.options.toBody() };
      this.run.begin(await begin(body), [...files.failed, ...masks.failed]);
      this.page.tabs[TAB].gallery.following = true;
      if (matchMedia("(max-width: 760px)").matches) this.run.element.scrollIntoView({ block: "start" });
    } catch (error) {
      if (!this.sending.signal.aborted && !blames(error.field, error.message)) this.complain(error.message);
    } finally {
      this.sending = null;
      this.sent.hidden = true;
    }
  }

  async carry(files, what) {
    const words = this.sent.firstChild;
    const onProgress = (done, total) => {
      this.sent.hidden = false;
      words.textContent = `Uploading ${what}: ${done} of ${total}`;
    };
    return files.size ? bring(files.list, this.known, onProgress, this.sending.signal) : { brought: [], failed: [] };
  }

  get running() {
    return this.isOpen && this.run.running;
  }

  end(how) {
    this.run.ask(how === "skip" ? "skip" : "stop");
  }
}
