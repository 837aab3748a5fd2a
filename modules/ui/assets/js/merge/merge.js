// The Checkpoint Merger: its form, built from the server's declaration, and the job that it starts.

import { get } from "../core/api.js";
import { ask } from "../core/ask.js";
import { button, h, part } from "../core/dom.js";
import { config, read, write } from "../core/store.js";
import { onOpen, openedTab } from "../core/tabs.js";
import { complain } from "../core/toast.js";
import { control } from "../form/scriptcontrols.js";
import { Jobs } from "../result/jobs.js";
import { Meter, sized } from "./meter.js";

// The methods that use a field. Fields that are not listed here always apply.
const ONLY = {
  secondary_model_name: ["Weighted sum", "Add difference", "SLERP", "Triple sum"],
  tertiary_model_name: ["Add difference", "Triple sum"],
  multiplier: ["Weighted sum", "Add difference", "SLERP", "Triple sum"],
  block_weights: ["Weighted sum", "Add difference", "SLERP", "Triple sum"],
  multiplier_c: ["Triple sum"],
};

export class Merge {
  // page: {engine}, whose list of checkpoints is refreshed when there is a new one.
  constructor(page) {
    this.page = page;
    this.tab = "merge";
    this.values = Object.fromEntries(config.merge.map((arg) => [arg.name, arg.default]));
    const kept = read("merge", {});
    for (const name of Object.keys(this.values)) if (name in kept) this.values[name] = kept[name];
    this.values.overwrite = false; // asked each time
    this.models = { checkpoints: [], vaes: [] };
    this.form = h("div", { className: "script-controls merge-form" });
    this.rest = h("div", { className: "script-controls merge-form" });
    this.error = h("p", { className: "p-error", role: "alert", id: "merge_error", hidden: true });
    this.meter = new Meter("merge", () => this.jobs.stop("interrupt", this.started).catch(complain));
    this.results = h("ul", { className: "merge-results", id: "merge_results", role: "status" });
    this.go = button({ text: "Merge", id: "merge_go", className: "p-strong", onclick: () => this.submit() });
    this.jobs = new Jobs("merge", (name, data) => this.hear(name, data));
    part("merge").replaceChildren(
      h(
        "div",
        { className: "merge" },
        h(
          "div",
          { className: "merge-left" },
          this.form,
          h("details", { className: "merge-more" }, h("summary", { textContent: "More" }), this.rest),
        ),
        h(
          "div",
          { className: "merge-right" },
          h("p", { className: "p-soft", textContent: this.about("interp_method") }),
          h("div", { className: "merge-go" }, this.go),
          this.error,
          this.meter.element,
          this.results,
        ),
      ),
    );
    this.show();
    onOpen("merge", () => this.load());
    if (openedTab() === "merge") this.load();
    document.addEventListener("server-back", () => openedTab() === "merge" && this.load());
  }

  about(name) {
    return config.merge.find((arg) => arg.name === name).description;
  }

  // Jobs of this tab that were started before the page was loaded.
  async resume() {
    if (!this.jobs.list.length) {
      const jobs = await get("/v1/jobs");
      this.jobs.adopt(jobs.filter((job) => ["queued", "running"].includes(job.status)).reverse());
    }
    this.jobs.follow();
  }

  async load() {
    try {
      const { checkpoints, vaes } = await get("/v1/checkpoints");
      this.models = { checkpoints: checkpoints.map((one) => one.name), vaes };
      this.show();
    } catch (error) {
      complain(error, "merge");
    }
  }

  show() {
    const shown = config.merge.filter((arg) => ONLY[arg.name]?.includes(this.values.interp_method) ?? true);
    const built = (isMore) =>
      shown.filter((arg) => arg.isMore === isMore).map((arg) => control(this, this.filled(arg)));
    this.form.replaceChildren(...built(false));
    this.rest.replaceChildren(...built(true));
  }

  filled(arg) {
    if (!arg.models) return arg;
    const names = this.models[arg.models];
    const first = arg.models === "checkpoints" ? [""] : [];
    const gone = this.values[arg.name] && !names.includes(this.values[arg.name]) ? [this.values[arg.name]] : [];
    return { ...arg, choices: [...first, ...names.filter((name) => name !== "Automatic"), ...gone] };
  }

  value(arg) {
    return this.values[arg.name];
  }

  set(arg, value) {
    this.values[arg.name] = value;
    write("merge", this.values);
    this.error.hidden = true;
    if (arg.name === "interp_method") this.show();
  }

  fillButton() {
    return null;
  }

  async submit(more = {}) {
    this.error.hidden = true;
    this.go.disabled = true;
    try {
      await this.jobs.submit({ ...this.values, ...more }, {});
    } catch (error) {
      this.fail(error.message);
    } finally {
      this.go.disabled = false;
    }
  }

  fail(sentence) {
    this.error.textContent = sentence;
    this.error.hidden = false;
  }

  async hear(name, data) {
    if (name === "queued") {
      this.started = false;
      this.error.hidden = true;
      this.meter.queued(data.ahead);
    }
    if (data.progress && name !== "finished" && name !== "failed" && name !== "queued") {
      this.started = true;
      this.meter.update(data.progress);
    }
    if (name === "warned") this.note(data.message);
    if (name === "file_saved") this.note(`Saved ${data.name} (${sized(data.size)}).`);
    if (["finished", "failed", "lost"].includes(name)) this.meter.hide();
    if (name === "finished") await this.load();
    if (name === "lost") this.fail(data.message);
    if (name === "failed") await this.failed([data.message, data.hint].filter(Boolean).join(" "), data.field);
  }

  async failed(sentence, field) {
    this.fail(sentence);
    if (field !== "custom_name" || !(await ask(sentence, "Replace the file?", "Replace"))) return;
    await this.submit({ overwrite: true });
  }

  note(sentence) {
    this.results.prepend(h("li", { textContent: sentence }));
  }
}
