// Get models: the curated list, any file from the hub, and the running downloads.

import { get, post } from "../core/api.js";
import { button, first, h, part } from "../core/dom.js";
import { onOpen, openedTab } from "../core/tabs.js";
import { complain } from "../core/toast.js";
import { Download } from "./download.js";
import { sized } from "./meter.js";

const KINDS = {
  checkpoint: "Checkpoints",
  vae: "VAEs",
  lora: "LoRAs",
  controlnet: "ControlNets",
  upscaler: "Upscalers",
  embedding: "Embeddings",
  hypernetwork: "Hypernetworks",
  text_encoder: "Text encoders",
};

export class Fetch {
  constructor() {
    this.followed = new Map(); // id -> Download
    this.list = h("div", { className: "fetch-list", id: "fetch_list" });
    this.running = h("div", { className: "fetch-running", id: "fetch_running" });
    this.error = h("p", { className: "p-error", role: "alert", id: "fetch_error", hidden: true });
    this.file = h("input", {
      type: "text",
      id: "fetch_file",
      spellcheck: "false",
      placeholder: "owner/repository/file",
    });
    this.kind = h(
      "select",
      { id: "fetch_kind" },
      ...Object.entries(KINDS).map(([value, text]) => h("option", { value, textContent: text })),
    );
    this.go = button({
      icon: "download",
      text: "Look it up",
      id: "fetch_go",
      onclick: () => this.offer({ file: this.file.value.trim(), kind: this.kind.value }),
    });
    this.any = h(
      "div",
      { className: "fetch-any" },
      h(
        "div",
        { className: "script-field" },
        h("label", { for: "fetch_file", textContent: "Any file of huggingface.co" }),
        this.file,
      ),
      h("div", { className: "script-field" }, h("label", { for: "fetch_kind", textContent: "Goes to" }), this.kind),
      this.go,
    );
    part("fetch").replaceChildren(
      h(
        "div",
        { className: "merge" },
        h("div", { className: "merge-left" }, this.list),
        h("div", { className: "merge-right" }, this.any, this.error, this.running),
      ),
    );
    this.file.addEventListener("keydown", (event) => event.key === "Enter" && this.go.click());
    onOpen("fetch", () => this.load());
    if (openedTab() === "fetch") this.load();
    document.addEventListener("server-back", () => openedTab() === "fetch" && this.load());
  }

  async load() {
    try {
      const [{ offline, entries }, jobs] = await Promise.all([get("/v1/fetch/catalog"), get("/v1/fetch")]);
      this.show(entries, offline);
      for (const job of jobs.reverse()) if (["queued", "running"].includes(job.status)) this.follow(job);
    } catch (error) {
      complain(error, "fetch");
    }
  }

  show(entries, offline) {
    this.go.disabled = offline;
    const groups = Object.entries(KINDS).map(([kind, text]) => [text, entries.filter((entry) => entry.kind === kind)]);
    this.list.replaceChildren(
      offline
        ? h("p", { className: "p-soft", textContent: "Palimpsest was started with --offline: nothing can be fetched." })
        : "",
      ...groups
        .filter(([, rows]) => rows.length)
        .map(([text, rows]) =>
          h("section", {}, h("h2", { textContent: text }), ...rows.map((row) => this.row(row, offline))),
        ),
    );
  }

  row(entry, offline) {
    const facts = [entry.family, entry.size ? sized(entry.size) : "", entry.licence].filter(Boolean).join(" · ");
    const fetch = button({
      text: entry.is_here ? "Is here" : "Fetch …",
      id: `fetch_${entry.id}`,
      onclick: () => this.offer({ file: entry.id }),
    });
    fetch.disabled = entry.is_here || offline;
    return h(
      "div",
      { className: "fetch-row" },
      h(
        "div",
        {},
        h("div", { className: "fetch-title", textContent: entry.title }),
        h("div", { className: "p-soft", textContent: entry.about }),
        h("div", { className: "p-soft fetch-facts", textContent: facts }),
      ),
      fetch,
    );
  }

  // Asks the hub about the file, shows its licence terms, and downloads it once they are accepted.
  async offer(body) {
    this.error.hidden = true;
    if (!body.file) return this.fail("Write owner/repository/file, or paste the address of the file's page.");
    try {
      const offer = await post("/v1/fetch/offer", body);
      if (!(await accepted(offer))) return;
      this.follow(await post("/v1/fetch", { ...body, accept_terms: true }), offer.name);
    } catch (error) {
      this.fail(error.message);
    }
  }

  fail(sentence) {
    this.error.textContent = sentence;
    this.error.hidden = false;
  }

  follow(job, name = "") {
    if (this.followed.has(job.id)) return;
    const download = new Download(job, name || job.name || job.file, () => this.load());
    this.followed.set(job.id, download);
    this.running.prepend(download.element);
  }
}

// Resolves to whether the person accepts the licence of the file.
function accepted(offer) {
  return new Promise((resolve) => {
    const tick = h("input", { type: "checkbox", id: "fetch_accept" });
    const yes = button({ text: "Fetch", id: "fetch_yes", className: "p-strong", onclick: () => element.close("yes") });
    yes.disabled = true;
    tick.addEventListener("change", () => (yes.disabled = !tick.checked));
    const facts = {
      File: `${offer.repo}/${offer.file}`,
      Size: sized(offer.size),
      Licence: offer.licence || "the hub does not tell; see the page",
      sha256: offer.sha256 || "not told",
    };
    const element = h(
      "dialog",
      { className: "p-dialog p-ask fetch-terms", "aria-labelledby": "fetch_question" },
      h("div", { className: "p-dialog-head" }, h("h2", { id: "fetch_question", textContent: `Fetch ${offer.name}?` })),
      h(
        "dl",
        {},
        ...Object.entries(facts).map(([name, text]) =>
          h("div", {}, h("dt", { textContent: name }), h("dd", { textContent: text })),
        ),
      ),
      h("a", { href: offer.page, target: "_blank", rel: "noreferrer", textContent: "Read its terms on its page" }),
      h("label", { className: "script-check" }, tick, h("span", { textContent: "I accept the licence." })),
      h(
        "div",
        { className: "p-ask-answers" },
        button({ text: "Cancel", id: "fetch_no", onclick: () => element.close() }),
        yes,
      ),
    );
    element.addEventListener("close", () => {
      resolve(element.returnValue === "yes");
      element.remove();
    });
    document.body.append(element);
    element.showModal();
    first(element, "#fetch_accept").focus();
  });
}
