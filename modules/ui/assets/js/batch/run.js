// A batch running on the server: followed by server-sent events, found again after a reload, shown above the result.

import { Again } from "../core/again.js";
import { get, GONE, post } from "../core/api.js";
import { Remarks } from "./remarks.js";
import { Report, words } from "./report.js";
import { button, download, h, part } from "../core/dom.js";
import { parsed } from "../core/json.js";
import { onNextAct } from "../core/nextact.js";
import { clock } from "../result/progress.js";
import { read, write } from "../core/store.js";
import { complain } from "../core/toast.js";

const POLL = 4000; // milliseconds between two checks while the page is hidden
const ENDED = ["finished", "stopped", "failed"];

// The keys under which img2img's batch, and those of other tabs, are remembered.
const keyOf = (tab) => (tab === "img2img" ? "batch" : `batch.${tab}`);

export class BatchRun {
  // page: {name, gallery, result} of the tab; onChange() is called when a batch starts or ends.
  constructor(page, onChange) {
    this.page = page;
    this.key = keyOf(page.name);
    this.onChange = onChange;
    this.batch = null;
    this.stream = null;
    this.again = new Again();
    this.report = new Report(this);
    const { name } = page;
    this.id = read(`${this.key}.id`);
    this.seen = read(`${this.key}.seen`, 0);
    this.fill = h("div", { className: "bar-fill" });
    this.bar = h(
      "div",
      {
        className: "bar",
        role: "progressbar",
        "aria-label": "Progress of the batch",
        "aria-valuemin": "0",
        "aria-valuemax": "100",
      },
      this.fill,
    );
    this.words = h("span", { className: "progress-words", id: `${name}_batch_words` });
    this.rest = h("span", { className: "progress-rest" });
    this.current = h("div", { className: "batch-current", id: `${name}_batch_current` });
    this.skip = button({
      icon: "skip",
      text: "Skip",
      title: "Skip to the next file (Alt+Enter)",
      id: `${name}_batch_skip`,
      className: "p-small",
      onclick: () => this.ask("skip"),
    });
    this.stop = button({
      icon: "stop",
      text: "Stop",
      title: "Stop the batch; finished files are kept (Esc)",
      id: `${name}_batch_stop`,
      className: "p-small",
      onclick: () => this.ask("stop"),
    });
    this.zip = button({
      icon: "zip",
      text: "Zip",
      title: "Download the results so far as a zip",
      id: `${name}_batch_zip`,
      className: "p-small",
      onclick: () => download(`/v1/batches/${this.id}/zip`),
    });
    this.close = button({
      icon: "close",
      title: "Dismiss",
      id: `${name}_batch_close`,
      className: "p-small",
      onclick: () => this.report.putAway(),
    });
    this.remarks = new Remarks(this.key);
    this.spoken = h("div", { className: "p-hidden", "aria-live": "polite" });
    this.element = h(
      "div",
      { className: "batch-run", id: `${name}_batch_run`, hidden: true },
      h(
        "div",
        { className: "batch-head" },
        h("strong", { textContent: "Batch" }),
        this.words,
        h("div", { className: "batch-tools" }, this.skip, this.stop, this.zip, this.close),
      ),
      this.bar,
      h("div", { className: "progress-line" }, this.current, this.rest),
      this.remarks.element,
      this.spoken,
    );
    part("result", name).prepend(this.element);
    onNextAct(part("result", name), () => this.report.giveWay());
    document.addEventListener("visibilitychange", () => (this.again.worked(), this.id && !this.ended && this.follow()));
  }

  get ended() {
    return this.batch !== null && ENDED.includes(this.batch.status);
  }

  get running() {
    return this.id !== null && !this.ended;
  }

  // After a reload: the batch of the last visit, unless its end has been seen.
  async resume() {
    if (read(`${this.key}.over`) === this.id) this.forget();
    else if (this.id) await this.look();
  }

  // Something else is being made: a finished batch need not be reported any longer.
  leave() {
    if (this.ended) this.forget();
  }

  begin({ id, notes }, failed) {
    this.forget();
    this.id = id;
    write(`${this.key}.id`, id);
    for (const sentence of [...failed, ...notes])
      this.remarks.add({ name: "", sentence, outcome: failed.includes(sentence) ? "failed" : "note" });
    this.follow();
    this.onChange();
  }

  forget() {
    this.stream?.close();
    this.again.stop();
    Object.assign(this, { id: null, batch: null, stream: null, seen: 0 });
    this.report.fold(false);
    this.report.isCalledBack = false;
    for (const name of ["id", "seen"]) write(`${this.key}.${name}`, null);
    this.remarks.set([]);
    this.element.hidden = true;
    this.onChange();
  }

  // A hidden page closes its stream: a browser opens only six connections to a host.
  follow() {
    this.stream?.close();
    this.again.stop();
    if (document.hidden) this.again.in(POLL, () => this.look());
    else this.listen();
  }

  // Resumes after the last file received.
  listen() {
    this.stream?.close();
    const stream = new EventSource(`/v1/batches/${this.id}/events?after=${this.seen}`);
    this.stream = stream;
    const hear = (name, action) =>
      stream.addEventListener(
        name,
        (event) => stream === this.stream && (this.again.worked(), action(parsed(event.data), event)),
      );
    hear("batch", (batch) => this.show(batch));
    hear("file", (file, event) => this.add(file, Number(event.lastEventId)));
    hear("previewed", ({ data }) => this.running && this.page.result.showPreview(data));
    stream.onerror = () => {
      if (stream !== this.stream) return;
      stream.close();
      if (!this.isHeardOut) this.again.retry(() => this.look());
    };
  }

  get isHeardOut() {
    return this.ended && this.batch.settled <= this.seen;
  }

  async look() {
    const { id } = this;
    try {
      const batch = await get(`/v1/batches/${id}`);
      if (id !== this.id) return;
      this.show(batch);
      if (this.isHeardOut) return;
      if (this.ended || !document.hidden)
        this.listen(); // when the batch has ended, the stream closes by itself
      else {
        this.again.worked();
        this.again.in(POLL, () => this.look());
      }
    } catch (error) {
      if (id !== this.id) return;
      if (error.status !== 404) {
        this.words.textContent = GONE;
        this.element.hidden = false;
        this.again.retry(() => this.look());
        return;
      }
      const { seen } = this;
      const { lines } = this.remarks;
      this.forget();
      this.words.textContent = "";
      complain(
        new Error(
          "The server was restarted, so this batch is gone. " +
            (seen ? `${seen} files had been processed${lines.length ? ", some with remarks" : ""}. ` : "") +
            "Start it again; finished files are skipped.",
        ),
      );
    }
  }

  add(file, number) {
    this.seen = number;
    write(`${this.key}.seen`, number);
    this.page.result.endPreview();
    for (const picture of file.pictures) {
      const { index, seed, width, height, infotext, path, url } = picture;
      this.page.gallery.add({
        job: `batch ${this.id}`,
        index: file.index * 1000 + index,
        seed,
        width,
        height,
        infotext,
        path,
        url,
        source: file.source || null,
        mode: 0,
      });
    }
    const sentence = [file.outcome === "kept" ? "" : file.sentence, ...file.notes].filter(Boolean).join(" ");
    if (sentence) this.remarks.add({ name: file.name, sentence, outcome: file.outcome });
  }

  show(batch) {
    const wasEnded = this.ended;
    this.batch = batch;
    const { counts, settled, current, status } = batch;
    const percent = Math.round(batch.fraction * 100);
    this.element.hidden = false;
    this.element.dataset.status = status;
    this.fill.style.width = `${percent}%`;
    this.bar.setAttribute("aria-valuenow", String(percent));
    this.bar.classList.toggle("unknown", status === "waiting");
    this.words.textContent = words(batch);
    const step = current?.progress.steps ? ` · step ${current.progress.step} of ${current.progress.steps}` : "";
    this.current.textContent = this.ended
      ? batch.message || `in outputs/${batch.output}`
      : current
        ? `${current.name}${step}`
        : "";
    this.current.classList.toggle("bad", status === "failed");
    this.rest.textContent = this.ended
      ? ""
      : [percent ? `${percent} %` : "", batch.eta_seconds === null ? "" : clock(batch.eta_seconds)]
          .filter(Boolean)
          .join(" · ");
    this.skip.hidden = this.stop.hidden = this.ended;
    this.close.hidden = !this.ended;
    this.zip.hidden = counts.done + counts.kept === 0;
    this.stop.disabled = this.skip.disabled = batch.stopping;
    this.stop.querySelector("span").textContent = batch.stopping ? "Stopping…" : "Stop";
    if (this.ended && !document.hidden) write(`${this.key}.over`, this.id);
    if (this.ended && !wasEnded) {
      if (settled <= this.seen) this.stream?.close();
      this.page.result.endPreview();
      this.spoken.textContent = `Batch ${this.words.textContent}`;
      this.onChange();
    }
  }

  async ask(how) {
    if (!this.running) return;
    try {
      await post(`/v1/batches/${this.id}/${how}`);
    } catch (error) {
      complain(error);
    }
  }
}
