// The report of a batch, and what happens to it once the batch has ended.

import { write } from "../core/store.js";
import { toast } from "../core/toast.js";

export function words({ counts, total, settled, status }) {
  const tally = [
    [counts.done, "done"],
    [counts.kept, "finished before"],
    [counts.failed, "failed"],
    [counts.left_out, "left out"],
    [counts.skipped, "skipped"],
  ]
    .filter(([count]) => count)
    .map(([count, word]) => `${count} ${word}`);
  const heads = {
    waiting: "waiting for another batch",
    running: `${Math.min(settled + 1, total)} of ${total}`,
    finished: `finished, ${total} ${total === 1 ? "file" : "files"}`,
    stopped: `stopped at ${settled} of ${total}`,
    failed: `failed at ${settled} of ${total}`,
  };
  return [heads[status], ...tally].join(" · ");
}

export class Report {
  // run: the BatchRun it reports on.
  constructor(run) {
    this.run = run;
    this.isCalledBack = false;
  }

  // The person goes on: a report without remarks disappears, one with remarks becomes a line. One that was brought back
  // stays.
  giveWay() {
    const { run } = this;
    if (!run.isHeardOut || this.isCalledBack || run.batch.status === "failed") return;
    if (run.remarks.lines.length) this.fold(true);
    else this.putAway(`Batch ${words(run.batch)}, in outputs/${run.batch.output}.`, "Show");
  }

  // Only once: a person who opens the remarks again wants to read them.
  fold(on) {
    const { element, remarks } = this.run;
    if (on === element.classList.contains("folded")) return;
    element.classList.toggle("folded", on);
    remarks.element.open = !on;
  }

  // It can be brought back until there is another.
  putAway(sentence = "Batch report closed.", text = "Undo") {
    const { run } = this;
    const { id, seen } = run;
    const { lines } = run.remarks;
    run.forget();
    const back = () => {
      if (run.id) return;
      Object.assign(run, { id, seen });
      for (const name of ["id", "seen"]) write(`${run.key}.${name}`, run[name]);
      run.remarks.set(lines);
      this.isCalledBack = true;
      run.look();
    };
    toast(sentence, { action: { text, run: back } });
  }
}
