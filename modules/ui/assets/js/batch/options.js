// The options of the Batch panel, besides files and masks; kept in this browser.

import { first, h } from "../core/dom.js";
import { read, write } from "../core/store.js";

const OWN = {
  prompt: "Prompt",
  negative_prompt: "Negative prompt",
  seed: "Seed",
  cfg_scale: "CFG scale",
  sampler_name: "Sampler",
  steps: "Steps",
  checkpoint: "Model hash",
};
const DEFAULTS = {
  text: true,
  csv: true,
  metadata: false,
  own: [],
  words_mode: "append",
  masks_for: "auto",
  unmasked: "leave out",
  large_sources: "only masked",
  size: "form",
  max_side: null,
  max_megapixels: null,
  output: "batch",
  skip_finished: true,
  folder: "",
  mask_folder: "",
};

export class Options {
  // onChange() is called for each change by a person.
  constructor(onChange) {
    this.onChange = onChange;
    const kept = Object.entries(read("batch.options", {})).filter(([name]) => name in DEFAULTS);
    this.values = { ...DEFAULTS, ...Object.fromEntries(kept) };
    this.folder = this.choice(
      "folder",
      "or on the server",
      [["", "none"]],
      "A folder inside inputs in the data folder; its subfolders are included.",
    );
    this.maskFolder = this.choice("mask_folder", "or on the server", [["", "none"]], "A folder with masks.");
    this.masks = h(
      "div",
      { className: "batch-line", id: "img2img_batch_mask_options" },
      this.choice(
        "masks_for",
        "Masks",
        [
          ["auto", "by name; a single mask for all"],
          ["name", "by name"],
          ["all", "one for all"],
        ],
        "Use the mask named like the picture (photo.png or photo_mask.png), or the first mask for all.",
      ),
      this.choice(
        "unmasked",
        "Without a mask",
        [
          ["leave out", "skip"],
          ["whole", "redraw all of it"],
        ],
        "What to do with pictures that have no mask.",
      ),
      this.choice(
        "large_sources",
        "Large pictures",
        [
          ["only masked", "only the masked part"],
          ["as asked", "as set in Inpaint area"],
        ],
        "Whole picture scales each picture down to the size of the result, including unmasked areas.",
      ),
    );
    this.own = h(
      "div",
      { className: "batch-line batch-own" },
      ...Object.entries(OWN).map(([name, label]) =>
        this.check(
          label,
          this.values.own.includes(name),
          (on) =>
            this.set({ own: Object.keys(OWN).filter((one) => (one === name ? on : this.values.own.includes(one))) }),
          `batch_own_${name}`,
        ),
      ),
    );
    this.words = h(
      "div",
      { className: "batch-group" },
      h("h4", { textContent: "Prompts from the files" }),
      h(
        "div",
        { className: "batch-line" },
        this.toggle("text", ".txt files", "A .txt file named like the picture holds its prompt."),
        this.toggle("csv", "CSV", "Columns: file, prompt, negative_prompt, seed and other fields."),
        this.toggle("metadata", "PNG info", "The parameters stored in the picture itself."),
        this.choice(
          "words_mode",
          "Use them",
          [
            ["append", "after the form's prompt"],
            ["replace", "instead of the form's prompt"],
          ],
          "How to combine the file's prompt with the form's.",
        ),
      ),
    );
    this.size = h(
      "div",
      { className: "batch-group" },
      h("h4", { textContent: "Size and output" }),
      h(
        "div",
        { className: "batch-line" },
        this.choice(
          "size",
          "Size",
          [
            ["form", "as set below"],
            ["source", "each picture's own"],
          ],
          "Width and height of the results.",
        ),
        this.number(
          "max_side",
          "Longest side",
          { min: 64, max: 4096, step: 8, placeholder: "no limit" },
          "Results are scaled down to this, keeping their proportions.",
        ),
        this.number(
          "max_megapixels",
          "Megapixels",
          { min: 0.01, max: 16, step: 0.1, placeholder: "no limit" },
          "Results are scaled down to this, keeping their proportions.",
        ),
      ),
      h(
        "div",
        { className: "batch-line" },
        this.text("output", "Folder in outputs", "Results keep the names of their sources; nothing is overwritten."),
        this.toggle(
          "skip_finished",
          "Skip finished files",
          "Do not repeat files that an earlier run into this folder finished with the same settings.",
        ),
      ),
    );
  }

  labeled(label, title, control) {
    return h("label", { className: "batch-field", title }, h("span", { textContent: label }), control);
  }

  choice(name, label, choices, title) {
    const select = h(
      "select",
      { id: `batch_option_${name}`, onchange: () => this.set({ [name]: select.value }) },
      ...choices.map(([value, text]) =>
        h("option", { value, textContent: text, selected: this.values[name] === value }),
      ),
    );
    return this.labeled(label, title, select);
  }

  number(name, label, attributes, title) {
    const input = h("input", {
      type: "number",
      id: `batch_option_${name}`,
      value: this.values[name],
      ...attributes,
      onchange: () => this.set({ [name]: input.value === "" ? null : Number(input.value) }),
    });
    return this.labeled(label, title, input);
  }

  text(name, label, title) {
    const input = h("input", {
      type: "text",
      id: `batch_option_${name}`,
      value: this.values[name],
      spellcheck: "false",
      onchange: () => this.set({ [name]: input.value.trim() || DEFAULTS[name] }),
    });
    return this.labeled(label, title, input);
  }

  check(label, on, action, id, title = "") {
    const input = h("input", { type: "checkbox", id, checked: on, onchange: () => action(input.checked) });
    return h("label", { className: "batch-check", title }, input, h("span", { textContent: label }));
  }

  toggle(name, label, title) {
    return this.check(label, this.values[name], (on) => this.set({ [name]: on }), `batch_option_${name}`, title);
  }

  set(partial) {
    Object.assign(this.values, partial);
    write("batch.options", this.values);
    this.onChange();
  }

  // Uses the name of the chosen folder for the results, unless a person has entered another.
  suggestOutput(folder) {
    const name = folder
      .replace(/[\\:*?"<>|]/g, "_")
      .replace(/^\.+|\.+$/g, "")
      .trim();
    if (!name || this.values.output !== DEFAULTS.output) return;
    first(this.size, "#batch_option_output").value = `batch/${name}`;
    this.set({ output: `batch/${name}` });
  }

  // The server's folders that can be read; the chosen one stays, even if it no longer exists.
  offerFolders(folders) {
    for (const [name, field] of Object.entries({ folder: this.folder, mask_folder: this.maskFolder })) {
      const chosen = this.values[name];
      const names = chosen && !folders.includes(chosen) ? [chosen, ...folders] : folders;
      field
        .querySelector("select")
        .replaceChildren(
          ...["", ...names].map((value) =>
            h("option", { value, textContent: value || "none", selected: value === chosen }),
          ),
        );
      field.hidden = !names.length;
    }
  }

  // The values in the format of POST /v1/batches.
  toBody() {
    const { text, csv, metadata, folder, mask_folder, ...others } = this.values;
    const words = Object.entries({ metadata, text, csv })
      .filter(([, on]) => on)
      .map(([name]) => name);
    return { folder, mask_folder, options: { ...others, words } };
  }
}
