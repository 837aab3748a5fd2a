// Progress of the running job: bar, text, live preview, the buttons that stop it, and the browser's title.

import { button, byId, h, part } from "../core/dom.js";
import { complain, toast } from "../core/toast.js";

const TITLE = "Palimpsest";
const shownTitles = new Map();

// A remaining time as text.
export function clock(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s left`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return `about ${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s left`;
  if (minutes < 90) return `about ${minutes} min left`;
  return `about ${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export class Progress {
  constructor(tab, jobs) {
    this.tab = tab;
    this.jobs = jobs;
    this.started = false;
    this.fill = h("div", { className: "bar-fill" });
    this.bar = h(
      "div",
      { className: "bar", role: "progressbar", "aria-label": "Progress", "aria-valuemin": "0", "aria-valuemax": "100" },
      this.fill,
    );
    this.words = h("span", { className: "progress-words" });
    this.rest = h("span", { className: "progress-rest" });
    this.waiting = h("span", { className: "progress-waiting", hidden: true });
    this.spoken = h("div", { className: "p-hidden", "aria-live": "polite" });
    this.element = h(
      "div",
      { className: "progress", id: `${tab}_progress`, hidden: true },
      this.bar,
      h("div", { className: "progress-line" }, this.words, this.rest, this.waiting),
      this.spoken,
    );
    this.interrupt = button({
      icon: "stop",
      text: "Interrupt",
      title: "Stop; finished pictures are kept (Esc)",
      id: `${tab}_interrupt`,
      onclick: () => this.stop("interrupt"),
    });
    this.skip = button({
      icon: "skip",
      text: "Skip",
      title: "Skip to the next batch (Alt+Enter)",
      id: `${tab}_skip`,
      onclick: () => this.stop("skip"),
    });
    this.buttons = h("div", { className: "run-buttons", hidden: true }, this.interrupt, this.skip);
    part("run", tab).replaceChildren(this.buttons);
  }

  async stop(how) {
    if (!this.jobs.current) return;
    const pressed = how === "skip" ? this.skip : this.interrupt;
    pressed.querySelector("span").textContent = how === "skip" ? "Skipping…" : "Interrupting…";
    pressed.disabled = true;
    try {
      await this.jobs.stop(how, this.started);
      if (how === "skip" && !this.started)
        toast("The job is still waiting, so there is nothing to skip. Interrupt removes it from the queue.");
    } catch (error) {
      complain(error);
    }
    if (how === "skip") setTimeout(() => this.rearm(), 800);
  }

  rearm() {
    this.interrupt.querySelector("span").textContent = "Interrupt";
    this.skip.querySelector("span").textContent = "Skip";
    this.interrupt.disabled = this.skip.disabled = false;
  }

  running(on) {
    if (on === !this.element.hidden) return;
    this.element.hidden = !on;
    this.buttons.hidden = !on;
    byId(`${this.tab}_actions_column`).classList.toggle("running", on);
    this.started = false;
    this.rearm();
    if (on) this.show(0, "Sent", "");
    else this.title(null);
  }

  queued(ahead) {
    this.running(true);
    this.show(0, ahead ? `In the queue: ${ahead} ${ahead === 1 ? "job" : "jobs"} ahead` : "Starting", "");
    this.say(this.words.textContent);
  }

  // progress: {fraction, step, steps, image, images, stage, eta_seconds, seconds}
  update(progress) {
    this.started = true;
    this.running(true);
    const words = [capital(progress.stage || "working")];
    if (progress.stage === "sampling" && progress.step) words.push(`step ${progress.step} of ${progress.steps}`);
    if (progress.images > 1) words.push(`picture ${Math.max(1, progress.image)} of ${progress.images}`);
    const eta = progress.eta_seconds;
    this.show(progress.fraction, words.join(" · "), eta === null || eta === undefined ? "" : clock(eta));
    if (this.stage !== `${progress.stage}${progress.image}`) {
      this.stage = `${progress.stage}${progress.image}`;
      this.say(words.filter((word) => !word.startsWith("step")).join(", "));
    }
  }

  show(fraction, words, rest) {
    const percent = Math.round((fraction || 0) * 100);
    this.fill.style.width = `${percent}%`;
    this.bar.classList.toggle("unknown", !fraction);
    this.bar.setAttribute("aria-valuenow", String(percent));
    this.words.textContent = words;
    this.rest.textContent = [percent ? `${percent} %` : "", rest].filter(Boolean).join(" · ");
    this.title(percent);
  }

  showWaiting() {
    const count = this.jobs.list.length - 1;
    this.waiting.hidden = count < 1;
    this.waiting.replaceChildren(
      h("span", { textContent: `${count} more waiting` }),
      button({
        text: "Cancel",
        className: "p-link",
        title: "Remove the waiting jobs from the queue",
        onclick: () => this.jobs.cancelWaiting().catch(complain),
      }),
    );
  }

  say(text) {
    this.spoken.textContent = text;
  }

  title(percent) {
    if (percent === null) shownTitles.delete(this.tab);
    else shownTitles.set(this.tab, percent);
    const first = [...shownTitles.values()][0];
    document.title = first === undefined ? TITLE : `${first} % · ${TITLE}`;
  }
}
