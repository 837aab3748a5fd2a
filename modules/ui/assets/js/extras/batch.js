// The Batch of Extras: files and folders, the output folder, and the run on the server, like img2img's.

import { get } from "../core/api.js";
import { button, h } from "../core/dom.js";
import { read, write } from "../core/store.js";
import { begin, bring, dropped, Files } from "../batch/files.js";
import { BatchRun } from "../batch/run.js";
import { Zone } from "../batch/zone.js";

const DEFAULTS = { folder: "", output: "extras-batch", skip_finished: true };

export class ExtrasBatch {
  // page: the Extras tab, {name, gallery, result, form}.
  constructor(page) {
    this.page = page;
    this.files = new Files();
    this.known = new Set(); // ids of files that this page has uploaded
    this.values = { ...DEFAULTS, ...read("batch.extras.options", {}) };
    this.sending = null;
    this.error = h("div", { className: "p-error", role: "alert", hidden: true, id: "extras_batch_error" });
    this.zone = new Zone(this.files, {
      id: "extras_batch",
      call: "Drop pictures, a folder or a zip here",
      hint: "each is enlarged in the same way",
      onChange: (folder) => this.brought(folder),
      onError: (error) => this.complain(error.message),
    });
    this.folder = h("select", {
      id: "extras_batch_folder",
      onchange: () => this.set({ folder: this.folder.value }),
    });
    this.output = h("input", {
      type: "text",
      id: "extras_batch_output",
      spellcheck: "false",
      value: this.values.output,
      onchange: () => this.set({ output: this.output.value.trim() || DEFAULTS.output }),
    });
    this.skip = h("input", {
      type: "checkbox",
      id: "extras_batch_skip_finished",
      checked: this.values.skip_finished,
      onchange: () => this.set({ skip_finished: this.skip.checked }),
    });
    this.onServer = labeled("or on the server", this.folder, "A folder inside inputs in the data folder.");
    this.zone.element.append(this.onServer);
    this.sent = h(
      "div",
      { className: "batch-sending", hidden: true },
      h("span", {}),
      button({ text: "Cancel", className: "p-link", onclick: () => this.sending?.abort() }),
    );
    this.element = h(
      "div",
      { className: "batch-panel extras-batch", id: "extras_batch_panel" },
      this.zone.element,
      h(
        "div",
        { className: "batch-line" },
        labeled("Folder in outputs", this.output, "Results keep the names of their sources; nothing is overwritten."),
        h(
          "label",
          { className: "batch-check", title: "Do not repeat files that an earlier run into this folder finished." },
          this.skip,
          h("span", { textContent: "Skip finished files" }),
        ),
      ),
      this.sent,
      this.error,
    );
    this.run = new BatchRun(page, () => page.refreshRun());
    this.zone.refresh();
    this.offer([]);
  }

  set(partial) {
    Object.assign(this.values, partial);
    write("batch.extras.options", this.values);
    this.complain("");
  }

  brought(folder) {
    const name = folder.replace(/[\\:*?"<>|]/g, "_").trim();
    if (name && this.values.output === DEFAULTS.output) {
      this.output.value = `${DEFAULTS.output}/${name}`;
      this.set({ output: this.output.value });
    }
    this.complain("");
    this.zone.refresh();
  }

  async load() {
    try {
      this.offer((await get("/v1/batches/folders")).folders);
    } catch (error) {
      this.complain(error.message);
    }
  }

  // The server's folders that can be read; the chosen one stays, even if it no longer exists.
  offer(folders) {
    const chosen = this.values.folder;
    const names = chosen && !folders.includes(chosen) ? [chosen, ...folders] : folders;
    this.folder.replaceChildren(
      ...["", ...names].map((value) =>
        h("option", { value, textContent: value || "none", selected: value === chosen }),
      ),
    );
    this.onServer.hidden = !names.length;
  }

  complain(sentence) {
    this.error.textContent = sentence;
    this.error.hidden = !sentence;
  }

  // Something pasted or dropped outside the panel.
  async bringFrom(transfer) {
    await this.zone.take(dropped(transfer));
  }

  bring(blob) {
    if (blob) this.zone.take(Promise.resolve({ folder: "", files: [{ name: blob.name || "pasted.png", file: blob }] }));
  }

  // request: the form's fields. Throws if the server refuses it.
  async generate(request) {
    if (this.sending) return;
    this.complain("");
    const { folder, ...options } = this.values;
    if (!this.files.size && !folder)
      return this.complain("There are no pictures yet. Drop or choose some, or choose a folder on the server.");
    this.sending = new AbortController();
    try {
      const files = this.files.size ? await this.carry() : { brought: [], failed: [] };
      const body = { kind: "extras", request, files: files.brought, folder, options: { ...options, words: [] } };
      this.run.begin(await begin(body), files.failed);
      this.page.gallery.following = true;
    } catch (error) {
      if (!this.sending.signal.aborted) throw error;
    } finally {
      this.sending = null;
      this.sent.hidden = true;
    }
  }

  carry() {
    const tell = (done, total) => {
      this.sent.hidden = false;
      this.sent.firstChild.textContent = `Uploading files: ${done} of ${total}`;
    };
    return bring(this.files.list, this.known, tell, this.sending.signal);
  }
}

function labeled(label, control, title) {
  return h("label", { className: "batch-field", title }, h("span", { textContent: label }), control);
}
