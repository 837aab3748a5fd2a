// The dialog about one model: its metadata, and the person's own notes, which are saved beside its file.

import { get, request } from "../core/api.js";
import { button, h } from "../core/dom.js";
import { toast } from "../core/toast.js";
import { Preview } from "./preview.js";

const VERSIONS = { "": "as the file says", SD1: "SD 1", SD2: "SD 2", SDXL: "SDXL", SD3: "SD 3", Unknown: "Unknown" };

const PREDICTIONS = {
  "": "as the file says",
  epsilon: "noise (epsilon)",
  v_prediction: "v",
  v_prediction_zero_snr: "v, zero terminal SNR",
};

const select = (id, choices) =>
  h("select", { id }, ...Object.entries(choices).map(([value, textContent]) => h("option", { value, textContent })));

const field = (label, input, wide = "script-wide") =>
  h("div", { className: `script-field ${wide}` }, h("label", { for: input.id, textContent: label }), input);

export class CardEditor {
  // onSaved(kind, card) is called with the updated card; resultOf() is the selected picture of the open tab.
  constructor(onSaved, resultOf) {
    this.onSaved = onSaved;
    this.preview = new Preview({
      resultOf,
      onSaved: (card) => this.onSaved(this.kind, card),
      onFail: (sentence) => this.complain(sentence),
    });
    this.error = h("div", { className: "p-error", role: "alert", hidden: true });
    this.title = h("h2", { id: "card_title" });
    this.about = h("div", { className: "card-about" });
    this.tags = h("div", { className: "card-tags" });
    const area = (name, rows) => h("textarea", { id: `card_${name}`, rows: String(rows), maxlength: "20000" });
    this.inputs = {
      description: area("description", 3),
      activation_text: h("input", { type: "text", id: "card_activation_text", maxlength: "2000", spellcheck: "false" }),
      negative_text: h("input", { type: "text", id: "card_negative_text", maxlength: "2000", spellcheck: "false" }),
      preferred_weight: h("input", {
        type: "number",
        id: "card_preferred_weight",
        min: "-10",
        max: "10",
        step: "0.05",
        placeholder: "1",
      }),
      sd_version: select("card_sd_version", VERSIONS),
      prediction: select("card_prediction", PREDICTIONS),
      notes: area("notes", 4),
    };
    this.build();
  }

  build() {
    const { description, activation_text, negative_text, preferred_weight, sd_version, notes } = this.inputs;
    const close = () => this.element.close();
    this.prediction = field("Prediction", this.inputs.prediction, "");
    this.weight = field("Preferred weight", preferred_weight, "");
    this.words = h(
      "div",
      { className: "card-words-part" },
      field("Trigger words, written behind it", activation_text),
      this.tags,
      field("Words for the negative prompt", negative_text),
    );
    this.element = h(
      "dialog",
      { className: "p-dialog card-dialog", id: "card_dialog", "aria-labelledby": "card_title" },
      h(
        "div",
        { className: "p-dialog-head" },
        this.title,
        button({ icon: "close", title: "Close (Esc)", className: "p-bare", onclick: close }),
      ),
      this.about,
      h(
        "form",
        { className: "card-form", onsubmit: (event) => (event.preventDefault(), this.save()) },
        this.words,
        h("div", { className: "card-pair" }, this.weight, field("Base model", sd_version, ""), this.prediction),
        field("Description", description),
        field("Notes", notes),
        this.error,
        h(
          "div",
          { className: "p-ask-answers" },
          button({ text: "Cancel", onclick: close }),
          h(
            "button",
            { type: "submit", className: "p-button p-strong", id: "card_save" },
            h("span", { textContent: "Save" }),
          ),
        ),
      ),
    );
    this.element.addEventListener("click", (event) => event.target === this.element && close());
    document.body.append(this.element);
  }

  async open(kind, { name, label }) {
    this.complain("");
    this.address = `/v1/cards/${kind}/card?name=${encodeURIComponent(name)}`;
    this.thumbnail = `/v1/cards/${kind}/thumbnail?name=${encodeURIComponent(name)}`;
    this.kind = kind;
    try {
      this.put(await get(this.address));
      this.title.textContent = label;
      this.element.showModal();
    } catch (error) {
      toast(error.message, { bad: true, area: "cards" });
    }
  }

  put(card) {
    this.own = card.own;
    this.preview.put(card, this.thumbnail);
    const shown = {
      activation_text: card.words,
      negative_text: card.negative,
      description: card.about,
      notes: card.notes,
    };
    for (const [name, input] of Object.entries(this.inputs)) {
      input.value = card.own[name] || "";
      if (name in shown && !(input instanceof HTMLSelectElement)) input.placeholder = card.own[name] ? "" : shown[name];
    }
    this.weight.hidden = this.words.hidden = !["loras", "hypernetworks"].includes(this.kind);
    this.prediction.hidden = this.kind !== "checkpoints";
    const facts = Object.entries({ Title: card.title, Tags: card.tags.join(", "), ...card.metadata }).filter(
      ([, value]) => value,
    );
    this.about.replaceChildren(
      this.preview.element,
      h(
        "dl",
        {},
        ...[
          ["File", card.folder ? `${card.folder}/${card.file}` : card.file],
          ["Size", sized(card.size)],
          ["Changed", new Date(card.changed * 1000).toLocaleString()],
          ...(card.base ? [["Base model", card.base]] : []),
          ...facts,
        ].flatMap(([label, value]) => [h("dt", { textContent: label }), h("dd", { textContent: value })]),
      ),
      ...[card.reason, ...card.problems]
        .filter(Boolean)
        .map((textContent) => h("p", { className: "p-error", textContent })),
    );
    this.putTags(card.trained_tags);
  }

  // The tags of a LoRA's training data; a click adds one to its trigger words.
  putTags(tags) {
    const input = this.inputs.activation_text;
    const chip = (tag) => button({ text: tag, className: "networks-name", onclick: () => toggle(input, tag) });
    this.tags.replaceChildren(
      ...(tags.length
        ? [h("span", { className: "p-soft", textContent: "Tags of its training:" }), ...tags.map(chip)]
        : []),
    );
  }

  // Only the changes: other values stay as another program wrote them.
  changes() {
    const changed = {};
    for (const [name, input] of Object.entries(this.inputs)) {
      if (input.value === String(this.own[name] || "")) continue;
      changed[name] = name === "preferred_weight" ? Number(input.value) : input.value;
    }
    if (changed.sd_version === "") changed.sd_version = "Unknown";
    return changed;
  }

  async save() {
    try {
      const options = { headers: { "Content-Type": "application/json" }, body: JSON.stringify(this.changes()) };
      const card = await (await request("PUT", this.address, options)).json();
      this.element.close();
      this.onSaved(this.kind, card);
      toast(`The notes about ${card.label} are saved.`, { area: "cards" });
    } catch (error) {
      this.complain(error.message);
    }
  }

  complain(sentence) {
    this.error.textContent = sentence;
    this.error.hidden = !sentence;
  }
}

function toggle(input, tag) {
  const words = input.value
    .split(",")
    .map((word) => word.trim())
    .filter(Boolean);
  input.value = (words.includes(tag) ? words.filter((word) => word !== tag) : [...words, tag]).join(", ");
}

function sized(bytes) {
  const step = Math.min(3, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  const number = (bytes / 1000 ** step).toLocaleString(undefined, { maximumFractionDigits: step > 1 ? 1 : 0 });
  return `${number} ${["bytes", "kB", "MB", "GB"][step]}`;
}
