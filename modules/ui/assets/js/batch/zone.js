// A drop zone of the Batch panel, with buttons to choose files or a folder.

import { chosen, dropped } from "./files.js";
import { button, h } from "../core/dom.js";
import { toast } from "../core/toast.js";

// files: a set of files (batchfiles.js); onChange(folder) is called for each change, with the name of a chosen folder.
export class Zone {
  constructor(files, { id, call, hint, small = false, onChange, onError }) {
    this.files = files;
    this.onChange = onChange;
    this.onError = onError;
    this.call = call;
    this.hint = hint;
    const picker = (attributes, name) => {
      const input = h("input", {
        type: "file",
        multiple: true,
        className: "p-hidden",
        tabindex: "-1",
        "aria-hidden": "true",
        id: `${id}_${name}`,
        ...attributes,
        onchange: () => (this.take(Promise.resolve(chosen(input.files))), (input.value = "")),
      });
      return input;
    };
    const some = picker({ accept: "image/*,.txt,.csv,.zip" }, "files");
    const folder = picker({ webkitdirectory: true }, "dir");
    this.words = h("strong", {});
    this.more = h("span", {});
    this.clear = button({
      icon: "trash",
      title: "Remove them",
      className: "p-small",
      id: `${id}_clear`,
      onclick: () => this.putAway(),
    });
    this.element = h(
      "div",
      { className: `batch-zone ${small ? "small" : ""}`, id: `${id}_zone` },
      h("div", { className: "source-call" }, this.words, this.more),
      h(
        "div",
        { className: "batch-buttons" },
        button({
          icon: "picture",
          text: "Files",
          className: "p-small",
          title: "Choose files",
          onclick: () => some.click(),
        }),
        button({
          icon: "folder",
          text: "Folder",
          className: "p-small",
          title: "Choose a folder on this computer",
          onclick: () => folder.click(),
        }),
        this.clear,
      ),
      some,
      folder,
    );
    let depth = 0; // dragenter and dragleave also fire for the children
    const lit = (on) => this.element.classList.toggle("dragging", on);
    const on = (name, action) =>
      this.element.addEventListener(name, (event) => (event.preventDefault(), event.stopPropagation(), action(event)));
    on("dragenter", () => ((depth += 1), lit(true)));
    on("dragleave", () => ((depth -= 1), depth <= 0 && lit(false)));
    on("dragover", () => {});
    on("drop", (event) => ((depth = 0), lit(false), this.take(dropped(event.dataTransfer))));
  }

  // They can be brought back; files added since then stay.
  putAway() {
    const { files } = this;
    const { list } = files;
    files.clear();
    this.onChange("");
    toast("Files removed.", {
      action: {
        text: "Undo",
        run: () => (files.add(list.filter(({ name }) => !files.byName.has(name))), this.onChange("")),
      },
    });
  }

  async take(promise) {
    try {
      const { folder, files } = await promise;
      this.files.add(files);
      this.onChange(folder);
    } catch (error) {
      this.onError(error);
    }
  }

  refresh() {
    const { size } = this.files;
    this.element.classList.toggle("filled", size > 0);
    this.words.textContent = size ? this.files.described() : this.call;
    this.more.textContent = size ? "You can add more." : this.hint;
    this.clear.hidden = size === 0;
  }
}
