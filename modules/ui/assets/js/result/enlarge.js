// Enlarge: makes a result larger with one click, faithfully by an upscaler or redrawn with more detail.

import { get, post } from "../core/api.js";
import { button, h } from "../core/dom.js";
import { uploadFrom } from "../core/pictures.js";
import { read, write } from "../core/store.js";
import { complain } from "../core/toast.js";
import { sized } from "../merge/meter.js";

const WAYS = {
  faithful: ["Faithful", "The upscaler alone: what is there gets larger and crisper."],
  detail: ["Add detail", "Redrawn in tiles by the checkpoint, with the picture's own prompt."],
};
const DEFAULTS = { way: "faithful", upscaler: "", denoising_strength: 0.3 };

// seconds as text
export function lasting(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${Math.round(seconds / 360) / 10} h`;
}

class EnlargeMenu {
  // picture: {url, width, height, infotext, path};  page: {extras, tabs, openTab}.
  constructor(picture, page) {
    this.picture = picture;
    this.page = page;
    this.turn = 0;
    this.values = { ...DEFAULTS, ...read("enlarge", {}) };
    this.ways = h("div", { className: "enlarge-ways", role: "radiogroup", "aria-label": "How" });
    this.upscaler = h("select", {
      id: "enlarge_upscaler",
      onchange: () => this.set({ upscaler: this.upscaler.value }),
    });
    this.strength = h("input", {
      type: "range",
      id: "enlarge_strength",
      min: "0.2",
      max: "0.35",
      step: "0.01",
      value: this.values.denoising_strength,
      onchange: () => this.set({ denoising_strength: Number(this.strength.value) }),
    });
    this.strengthText = h("b", {});
    this.about = h("p", { className: "p-soft" });
    this.list = h("div", { className: "enlarge-list", id: "enlarge_list" });
    this.strengthRow = h(
      "label",
      { className: "enlarge-field" },
      h("span", { textContent: "Denoising strength" }),
      this.strength,
      this.strengthText,
    );
    this.element = h(
      "dialog",
      { className: "p-dialog enlarge", "aria-labelledby": "enlarge_title", id: "enlarge_menu" },
      h(
        "div",
        { className: "p-dialog-head" },
        h("h2", { id: "enlarge_title", textContent: `Enlarge ${picture.width} × ${picture.height}` }),
        button({ icon: "close", title: "Close", className: "p-bare", onclick: () => this.element.close() }),
      ),
      this.ways,
      this.about,
      h("label", { className: "enlarge-field" }, h("span", { textContent: "Upscaler" }), this.upscaler),
      this.strengthRow,
      this.list,
    );
    this.element.addEventListener("close", () => this.element.remove());
  }

  async open() {
    document.body.append(this.element);
    this.element.showModal();
    const { upscalers } = await get("/v1/upscalers");
    const rows = upscalers.filter((row) => row.name !== "None" && !row.reason);
    if (!rows.some((row) => row.name === this.values.upscaler))
      this.values.upscaler = (rows.find((row) => row.is_network) ?? rows[0]).name;
    this.upscaler.replaceChildren(
      ...rows.map(({ name }) =>
        h("option", { value: name, textContent: name, selected: name === this.values.upscaler }),
      ),
    );
    await this.load();
  }

  set(partial) {
    Object.assign(this.values, partial);
    write("enlarge", this.values);
    this.load().catch((error) => complain(error));
  }

  async load() {
    this.show();
    const turn = ++this.turn;
    const { width, height, infotext } = this.picture;
    const { upscaler, denoising_strength } = this.values;
    const { targets } = await post("/v1/enlarge", { width, height, infotext, upscaler, denoising_strength });
    if (turn !== this.turn) return;
    this.list.replaceChildren(...targets.map((target) => this.row(target)));
  }

  show() {
    const { way, denoising_strength } = this.values;
    this.ways.replaceChildren(
      ...Object.entries(WAYS).map(([name, [label]]) =>
        h("button", {
          type: "button",
          role: "radio",
          className: `p-button ${name === way ? "on" : ""}`,
          "aria-checked": String(name === way),
          id: `enlarge_${name}`,
          textContent: label,
          onclick: () => this.set({ way: name }),
        }),
      ),
    );
    this.about.textContent = WAYS[way][1];
    this.strengthRow.hidden = way !== "detail";
    this.strengthText.textContent = String(denoising_strength);
  }

  row(target) {
    const job = target[this.values.way];
    const facts = [
      job.seconds === null ? "not measured yet" : lasting(job.seconds),
      `${sized(job.memory_bytes)} of memory`,
      job.disk_bytes === null ? "" : `${sized(job.disk_bytes)} on disk`,
    ].filter(Boolean);
    const element = h(
      "button",
      { type: "button", className: "enlarge-row", "data-label": target.label, onclick: () => this.choose(job) },
      h("b", { textContent: target.label }),
      h("span", { textContent: `${target.width} × ${target.height}` }),
      h("span", { className: "enlarge-facts", textContent: job.reason || facts.join(" · ") }),
    );
    element.disabled = Boolean(job.reason);
    return element;
  }

  // The picture becomes the source of a job on its tab, which is opened.
  async choose({ kind, request }) {
    this.element.close();
    try {
      const source = await uploadFrom(this.picture.url);
      const own = kind === "extras" ? { image: source.id } : { init_images: [source.id] };
      const tab = this.page.tabs[kind] ?? this.page[kind];
      await tab.jobs.submit({ ...request, ...own }, { source: source.id, mode: 0 });
      tab.gallery.following = true;
      this.page.openTab(kind);
    } catch (error) {
      complain(error);
    }
  }
}

export function enlarge(picture, page) {
  new EnlargeMenu(picture, page).open().catch((error) => complain(error));
}
