// The Extras tab: a picture, what is done to it, and the result with its progress, like img2img.

import { GONE } from "../core/api.js";
import { button, byId, h, part } from "../core/dom.js";
import { pixelsOf, uploadFrom } from "../core/pictures.js";
import { read, write } from "../core/store.js";
import { onOpen, openedTab, tabRow } from "../core/tabs.js";
import { complain, toast } from "../core/toast.js";
import { undoButton } from "../form/undo.js";
import { actionRow, save } from "../result/actions.js";
import { Gallery } from "../result/gallery.js";
import { Jobs } from "../result/jobs.js";
import { Progress } from "../result/progress.js";
import { Result } from "../result/result.js";
import { Source } from "../source/source.js";
import { ExtrasBatch } from "./batch.js";
import { ExtrasForm } from "./form.js";

const MODES = { single: "Single Image", batch: "Batch" };
const TAB = "extras";
const COVERS = 1; // the resize mode in which the source is overlaid on a cropped result

export class Extras {
  // page: {source, canvas, tabs, openTab, sendToInfo, sendToExtras}.
  constructor(page) {
    this.page = page;
    this.name = TAB;
    this.form = new ExtrasForm(() => {});
    this.source = new Source(h("div", {}), TAB, {
      hint: "or paste it, or click to choose a file",
      word: "Picture",
      onChange: () => this.result?.complain(""),
      tools: undoButton(TAB),
    });
    part("extras-source").replaceChildren(this.source.element);
    part("extras-form").replaceChildren(this.form.element);
    this.go = button({
      text: "Generate",
      id: `${TAB}_generate`,
      className: "p-strong",
      onclick: () => this.generate(),
    });
    part("extras-go").replaceChildren(this.go);
    this.gallery = new Gallery(TAB);
    this.jobs = new Jobs(TAB, (event, data, job) => this.hear(event, data, job));
    this.progress = new Progress(TAB, this.jobs);
    this.progress.skip.hidden = true;
    this.result = new Result(TAB, this.gallery, this.progress, {
      actions: actionRow(TAB, this.gallery, page),
      save,
      reuseSeed: null,
    });
    this.batch = new ExtrasBatch(this);
    part("extras-batch").replaceChildren(this.batch.element);
    this.modes = tabRow(
      MODES,
      "Pictures",
      (name) => `extras_mode_${name}`,
      (name) => this.open(name),
    );
    part("extras-modes").replaceChildren(this.modes);
    this.open(read("extras.mode", "single"));
    onOpen(TAB, () => this.load());
    if (openedTab() === TAB) this.load();
    document.addEventListener("server-back", () => openedTab() === TAB && this.load());
  }

  // mode: a key of MODES.
  open(mode) {
    this.isBatch = mode === "batch";
    write("extras.mode", mode);
    this.source.element.hidden = this.isBatch;
    this.batch.element.hidden = !this.isBatch;
    for (const tab of this.modes.children) {
      const isOpen = tab.getAttribute("data-tab-id") === mode;
      tab.setAttribute("aria-selected", String(isOpen));
      tab.setAttribute("tabindex", isOpen ? "0" : "-1");
    }
    if (this.isBatch) this.batch.load();
  }

  // The target for something pasted or dropped.
  get place() {
    return this.isBatch ? this.batch : this.source;
  }

  refreshRun() {
    byId(`${TAB}_actions_column`).classList.toggle("batching", Boolean(this.batch?.run.running));
  }

  load() {
    this.form.load().catch((error) => complain(error, TAB));
  }

  get running() {
    return this.jobs.current !== null;
  }

  resume() {
    if (!this.running) return;
    this.progress.running(true);
    this.progress.showWaiting();
    this.jobs.follow();
  }

  // Uses a picture that the server has saved as the source.
  async receive(picture) {
    try {
      this.take({ ...(await uploadFrom(picture.url)), name: picture.path });
    } catch (error) {
      complain(error, TAB);
    }
  }

  // Uses a picture that the server has as a source: {id, width, height …}.
  take(picture) {
    this.source.set(picture);
    this.open("single");
    this.page.openTab(TAB);
    toast("The picture is in Extras.", { area: TAB });
  }

  async generate() {
    this.result.complain("");
    this.form.clearErrors();
    this.batch.run.leave();
    if (this.isBatch) return this.generateBatch();
    await this.source.busy;
    const picture = this.source.picture;
    if (!picture) return this.source.complain("There is no picture yet. Drop or choose one.");
    const request = { ...this.form.toRequest(), image: picture.id };
    try {
      await this.jobs.submit(request, { source: picture.id, mode: COVERS });
      this.gallery.following = true;
    } catch (error) {
      this.fail(error.message, error.field);
    }
  }

  async generateBatch() {
    try {
      await this.batch.generate(this.form.toRequest());
    } catch (error) {
      if (!this.form.complain(error.message, error.field)) this.batch.complain(error.message);
    }
  }

  // how: the action of the pressed key.
  stop(how) {
    if (this.running) this.progress.stop(how);
    else this.batch.run.ask(how === "skip" ? "skip" : "stop");
  }

  fail(sentence, field = "") {
    if (field === "image") this.source.complain(sentence);
    else if (!this.form.complain(sentence, field)) this.result.complain(sentence);
  }

  hear(event, data, job) {
    const { progress, result, gallery } = this;
    if (event === "lost") {
      result.complain(data.message);
      if (data.final) this.end();
      return;
    }
    result.takeBack(GONE);
    if (event === "waiting") return progress.showWaiting();
    if (event === "queued") return progress.queued(data.ahead);
    if (event === "started" || event === "glimpse") result.complain("");
    if (event === "warned") return toast(data.message);
    if (event === "started" && job.source && gallery.following) result.showPreview(pixelsOf(job.source));
    if (data.progress && event !== "failed" && event !== "finished") progress.update(data.progress);
    if (event === "image_saved") {
      result.endPreview();
      const { index, seed, width, height, infotext, path, url, reduced } = data;
      const from = { source: job.source, mode: job.mode };
      gallery.add({ job: job.id, index, seed, width, height, infotext, path, url, reduced, ...from });
    }
    if (event === "failed") this.fail([data.message, data.hint].filter(Boolean).join(" "), data.field);
    if (event === "finished" || event === "failed") this.end(data);
  }

  end(data = null) {
    this.result.endPreview();
    if (this.jobs.list.length <= 1) this.progress.running(false);
    else this.progress.started = false;
    this.progress.rearm();
    if (data && "interrupted" in data) this.progress.say(data.interrupted ? "Interrupted" : "Finished");
    if (data?.interrupted) toast("Interrupted.");
  }
}
