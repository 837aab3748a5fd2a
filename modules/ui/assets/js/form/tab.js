// One generation tab assembled: form, jobs, progress, gallery and result.

import { ControlPanel } from "../control/panel.js";
import { actionRow, save } from "../result/actions.js";
import { GONE } from "../core/api.js";
import { byId } from "../core/dom.js";
import { Estimate } from "./estimate.js";
import * as form from "./form.js";
import { Gallery } from "../result/gallery.js";
import { setUpGroups } from "./groups.js";
import { setUpHires } from "./hires.js";
import { Jobs } from "../result/jobs.js";
import { setUpOverrides } from "./override.js";
import { Ladder } from "./ladder.js";
import { Progress } from "../result/progress.js";
import { setUpPrompts } from "./prompts.js";
import { Result } from "../result/result.js";
import { ScriptSection } from "./scripts.js";
import { seedTools } from "./seedtools.js";
import { Size } from "./size.js";
import { Styles } from "./styles.js";
import { setUpTopRow } from "./toprow.js";
import { begins, toast } from "../core/toast.js";

// parts that a checkbox of the form opens
const PARTS = { extra: "seed_extras", refine: "refiner", enable_hr: "hr", keep_unchanged: "changes" };

export class Tab {
  // page: {source, openTab, sendToInfo, modelDefaults(tab)}
  constructor(name, page) {
    this.name = name;
    this.page = page;
    this.gallery = new Gallery(name);
    this.jobs = new Jobs(name, (event, data, job) => this.hear(event, data, job));
    this.progress = new Progress(name, this.jobs);
    this.result = new Result(name, this.gallery, this.progress, {
      actions: actionRow(name, this.gallery, page),
      save,
      reuseSeed: (seed) => form.set(name, { seed }),
    });
    const source = () => (name === "img2img" ? page.source.picture : null);
    this.estimate = new Estimate(name, source, () => (name === "img2img" ? page.canvas.frame.fields() : {}));
    this.size = new Size(name, this.estimate, source);
    this.styles = new Styles(name);
    setUpPrompts(name, {
      styles: this.styles,
      cards: page.cards,
      lastInfotext: () => this.gallery.pictures[0]?.infotext ?? "",
      modelDefaults: page.modelDefaults,
    });
    for (const setUp of [setUpOverrides, setUpGroups, setUpTopRow]) setUp(name);
    if (name === "txt2img") setUpHires(this.estimate);
    this.script = new ScriptSection(name);
    this.control = new ControlPanel(name, page.lists, name === "img2img" ? page.canvas : null, this.estimate);
    this.ladder = new Ladder(name);
    this.ladder.enable(Boolean(source()));
    seedTools(name, "seed-tools", "seed", () => this.gallery.selected);
    seedTools(name, "subseed-tools", "subseed", () => this.gallery.selected);
    form.onChange(
      (tab, field, value) =>
        tab === name && field in PARTS && byId(`${name}_${PARTS[field]}`)?.classList.toggle("closed", !value),
    );
  }

  // values: the form's current values from Gradio.
  async generate(values) {
    const { name, page, result } = this;
    const ladder = this.ladder.taken();
    result.complain("");
    begins("form");
    form.clearErrors(name);
    if (name === "img2img") page.batch.run.leave();
    if (ladder && page.batch.isOpen) return result.complain("Try several works on one picture: leave Batch first.");
    if (name === "img2img" && page.batch.isOpen) return this.generateBatch(form.toRequest(name, values));
    await Promise.all([page.source.busy, page.shown.depth.busy, this.control.busy]);
    if (name === "img2img") Object.assign(values, page.intents.settled(), await page.area.settled());
    if (name === "img2img" && page.source.picture) page.source.complain(""); // about a file that was refused before
    const request = form.toRequest(name, values);
    const source = name === "img2img" ? page.source.picture : null;
    try {
      if (name === "img2img") await this.fromCanvas(request);
      Object.assign(request, this.script.toRequest(), await this.control.fields());
      const from = { source: source?.id ?? null, mode: request.resize_mode ?? 0 };
      for (const { request: each, ...rung } of this.ladder.requests(request, ladder))
        await this.jobs.submit(each, { ...from, ...rung });
      this.gallery.following = true;
      if (matchMedia("(max-width: 760px)").matches) result.stage.scrollIntoView({ block: "center" });
    } catch (error) {
      this.complain(error.message, error.field);
    }
  }

  async retry(job) {
    try {
      await this.jobs.retry(job);
    } catch (error) {
      this.result.complain(error.message);
    }
  }

  async generateBatch(request) {
    try {
      Object.assign(request, await this.control.fieldsForFiles());
      await this.page.batch.generate(request, (field, sentence) => this.blames(field, sentence));
    } catch (error) {
      this.complain(error.message, error.field);
    }
  }

  // Source and mask, and nothing about a mask if there is none.
  async fromCanvas(request) {
    const { fields, without } = await this.page.canvas.outgoing();
    for (const field of without) delete request[field];
    Object.assign(request, fields, this.page.shown.fields());
    // A frame that extends the picture sets the size, unless only the masked region is redrawn: then the size is the
    // tile's.
    if ("outpaint_left" in fields && !request.inpaint_full_res)
      ["width", "height"].forEach((field) => delete request[field]);
  }

  complain(sentence, field) {
    const pictures = { init_images: this.page.source, mask: this.page.source, depth_map: this.page.shown.depth };
    if (field in pictures && this.name === "img2img") pictures[field].complain(sentence);
    else if (!this.blames(field, sentence)) this.result.complain(sentence);
  }

  // Shows an error at the control of its field; returns false if none is visible.
  blames(field, sentence) {
    return (
      this.script.complain(sentence, field) ||
      this.control.complain(sentence, field) ||
      (field === "styles" && this.styles.complainBelow(sentence)) ||
      form.showError(this.name, field, sentence)
    );
  }

  hear(event, data, job) {
    const { progress, result, gallery } = this;
    if (event === "lost") {
      result.complain(data.message);
      if (data.final) this.end();
      return;
    }
    result.takeBack(GONE); // the message shown while the server did not answer
    if (event === "waiting") return progress.showWaiting();
    if (event === "queued") return progress.queued(data.ahead);
    if (event === "started" || event === "glimpse") result.complain("");
    if (event === "warned") return toast(data.message);
    if (data.progress && event !== "failed" && event !== "finished") progress.update(data.progress);
    if (event === "previewed") result.showPreview(data.data);
    if (event === "image_saved") {
      const { index, seed, width, height, infotext, path, url, reduced, sheet } = data;
      result.endPreview();
      if (data.shown === false) return;
      gallery.add({
        job: job.id,
        index,
        seed,
        width,
        height,
        infotext,
        path,
        url,
        reduced,
        sheet,
        source: job.source,
        mode: job.mode,
        label: job.label,
        ladder: job.ladder,
      });
    }
    if (event === "failed") {
      const sentence = [data.message, data.hint].filter(Boolean).join(" ");
      if (data.field) this.complain(sentence, data.field);
      else result.complain(sentence, data.retry === false ? undefined : { text: "Retry", run: () => this.retry(job) });
    }
    if (event === "finished" || event === "failed") this.end(event, data);
  }

  end(event, data) {
    const { progress, result, jobs } = this;
    result.endPreview();
    if (jobs.list.length <= 1) progress.running(false);
    else progress.started = false;
    progress.rearm();
    if (event === "finished") progress.say(data.interrupted ? "Interrupted" : "Finished");
    if (event === "finished" && data.interrupted) toast("Interrupted; finished pictures are kept.");
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
}
