// The progress of a job without pictures: a bar, a text, and the button that stops it.

import { button, h } from "../core/dom.js";
import { clock } from "../result/progress.js";

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// bytes as text
export const sized = (bytes) =>
  bytes < 1e9 ? `${Math.max(1, Math.round(bytes / 1e6))} MB` : `${(bytes / 1e9).toFixed(2)} GB`;

export class Meter {
  // name: the tab's, for ids.  stop(): called by Interrupt.
  constructor(name, stop) {
    this.fill = h("div", { className: "bar-fill" });
    this.bar = h(
      "div",
      { className: "bar", role: "progressbar", "aria-label": "Progress", "aria-valuemin": "0", "aria-valuemax": "100" },
      this.fill,
    );
    this.words = h("span", { className: "progress-words", role: "status" });
    this.rest = h("span", { className: "progress-rest" });
    this.element = h(
      "div",
      { className: "progress", id: `${name}_progress`, hidden: true },
      this.bar,
      h("div", { className: "progress-line" }, this.words, this.rest),
      button({ icon: "stop", text: "Interrupt", id: `${name}_interrupt`, onclick: stop }),
    );
  }

  queued(ahead) {
    this.show(0, ahead ? `In the queue: ${ahead} ${ahead === 1 ? "job" : "jobs"} ahead` : "Starting", "");
  }

  // progress: {fraction, stage, eta_seconds}
  update({ fraction, stage, eta_seconds: eta }) {
    this.show(fraction, capital(stage || "working"), eta === null || eta === undefined ? "" : clock(eta));
  }

  show(fraction, words, rest) {
    const percent = Math.round((fraction || 0) * 100);
    this.element.hidden = false;
    this.fill.style.width = `${percent}%`;
    this.bar.classList.toggle("unknown", !fraction);
    this.bar.setAttribute("aria-valuenow", String(percent));
    this.words.textContent = words;
    this.rest.textContent = [percent ? `${percent} %` : "", rest].filter(Boolean).join(" · ");
  }

  hide() {
    this.element.hidden = true;
  }
}
