// LoRAs and embeddings: the dialogue in which a click writes one into the prompt.

import { get, post } from "../core/api.js";
import { button, byId, h, insertText } from "../core/dom.js";

const BOXES = { prompt: "prompt", negative_prompt: "neg_prompt" };

export class Networks {
  constructor(tab) {
    this.tab = tab;
    this.field = "prompt"; // the box that was worked in last
    for (const [name, elem] of Object.entries(BOXES)) {
      byId(`${tab}_${elem}`)
        .querySelector("textarea")
        .addEventListener("focus", () => (this.field = name));
    }
    this.list = h("div", { className: "networks-list" });
    this.error = h("div", { className: "p-error", role: "alert", hidden: true });
    this.element = h(
      "dialog",
      { className: "p-dialog", id: `${tab}_networks_dialog`, "aria-labeledby": `${tab}_networks_title` },
      h(
        "div",
        { className: "p-dialog-head" },
        h("h2", { id: `${tab}_networks_title`, textContent: "LoRAs and embeddings" }),
        button({ icon: "close", title: "Close (Esc)", className: "p-bare", onclick: () => this.element.close() }),
      ),
      h("p", {
        className: "p-soft",
        textContent: "Click one to add it to the prompt. Put files in models/Lora and models/embeddings.",
      }),
      this.list,
      h(
        "div",
        { className: "styles-row" },
        button({
          icon: "reuse",
          text: "Refresh",
          title: "Rescan the folders",
          onclick: () => this.load(true),
        }),
      ),
      this.error,
    );
    // Beside it
    this.element.addEventListener("click", (event) => event.target === this.element && this.element.close());
    document.body.append(this.element);
  }

  // A button for the row of tools.
  button() {
    return button({
      icon: "network",
      title: "LoRAs and embeddings: add one to the prompt",
      id: `${this.tab}_networks_button`,
      onclick: () => this.open(),
    });
  }

  open() {
    this.element.showModal();
    this.load(false);
  }

  async load(again) {
    this.complain("");
    try {
      if (again) await Promise.all(["loras", "embeddings"].map((what) => post(`/sdapi/v1/refresh-${what}`)));
      this.put(await get("/v1/networks"));
    } catch (error) {
      this.complain(error.message);
    }
  }

  put({ loras, embeddings }) {
    const group = (title, items) =>
      items.length ? [h("h3", { textContent: title }), h("div", { className: "networks-names" }, ...items)] : [];
    const usable = (items, about, field) =>
      items
        .filter((item) => item.text)
        .map((item) =>
          button({
            text: item.name,
            title: about(item),
            className: "networks-name",
            onclick: () => this.write(item.text, field()),
          }),
        );
    const rows = (title, items) =>
      items.length
        ? [
            h(
              "details",
              { className: "styles-save" },
              h("summary", { textContent: `${title}: ${items.length}` }),
              ...items.map(({ name, reason }) => h("div", { className: "p-soft", textContent: `${name}: ${reason}` })),
            ),
          ]
        : [];
    this.list.replaceChildren(
      ...group(
        "LoRAs",
        usable(
          loras,
          ({ file, alias }) => (alias ? `${file}, also called ${alias}` : file),
          () => "prompt",
        ),
      ),
      ...group(
        "Embeddings",
        usable(
          embeddings,
          ({ vectors }) => `${vectors} ${vectors === 1 ? "token" : "tokens"}`,
          () => this.field,
        ),
      ),
      ...rows(
        "LoRAs that cannot be used",
        loras.filter(({ reason }) => reason),
      ),
      ...rows(
        "Not for this model",
        embeddings.filter(({ reason }) => reason),
      ),
    );
    if (!this.list.children.length)
      this.list.append(h("p", { className: "p-soft", textContent: "There are none yet." }));
  }

  // At the cursor, with a space to what stands before and after it.
  write(text, field) {
    const area = byId(`${this.tab}_${BOXES[field]}`).querySelector("textarea");
    const [before, after] = [area.value.slice(0, area.selectionStart), area.value.slice(area.selectionEnd)];
    const gap = before && !/\s$/.test(before) ? " " : "";
    const [start, end] = [area.selectionStart, area.selectionEnd];
    this.element.close();
    insertText(area, start, end, gap + text + (after && !/^[\s,.)]/.test(after) ? " " : ""));
    const at = start + gap.length + text.length;
    area.setSelectionRange(at, at);
  }

  complain(sentence) {
    this.error.textContent = sentence;
    this.error.hidden = !sentence;
  }
}
