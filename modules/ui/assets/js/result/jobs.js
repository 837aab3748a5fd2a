// The jobs of one tab: submitted, followed by server-sent events, found again after a reload. A job runs without the
// page.

import { Again } from "../core/again.js";
import { get, GONE, post, remove } from "../core/api.js";
import { postOrAsk } from "../core/ask.js";
import { parsed } from "../core/json.js";
import { read, write } from "../core/store.js";

const NAMES = [
  "queued",
  "started",
  "staged",
  "stepped",
  "previewed",
  "image_saved",
  "file_saved",
  "warned",
  "finished",
  "failed",
];
const POLL = 3000; // milliseconds between two checks of a job while the page is hidden

export class Jobs {
  // onEvent(name, data, job): each event, and "lost" (a sentence) when the server or the job is gone.
  constructor(tab, onEvent) {
    this.tab = tab;
    this.onEvent = onEvent;
    this.list = read(`jobs.${tab}`, []); // [{id, source, mode, label, ladder, warned}]; the first is followed
    this.ended = ""; // how the last job ended: "finished" or "failed"
    this.listeners = [];
    this.stream = null;
    this.again = new Again();
    this.heard = { id: "", number: 0 }; // the last event of the followed job
    document.addEventListener("visibilitychange", () => (this.again.worked(), this.follow()));
  }

  get current() {
    return this.list[0] ?? null;
  }

  // action() is called when a job has come or gone.
  onChange(action) {
    this.listeners.push(action);
  }

  keep() {
    write(`jobs.${this.tab}`, this.list.length ? this.list : null);
    this.listeners.forEach((action) => action());
  }

  // Jobs of an earlier run of the server that wait or run again, and that this page does not know: [{id, kind}].
  adopt(resumed) {
    const known = new Set(this.list.map((job) => job.id));
    const found = resumed.filter((job) => job.kind === this.tab && !known.has(job.id));
    this.list.push(...found.map((job) => ({ id: job.id, source: null, mode: 0 })));
    if (found.length) this.keep();
    return found.length;
  }

  // details: what the page needs to know about the job later.
  async submit(request, details) {
    this.take(await postOrAsk("/v1/jobs", { kind: this.tab, request }), details);
  }

  // Asks the server to make the missing pictures of a failed job.
  async retry({ id, source, mode, label, ladder }) {
    const { jobs } = await post(`/v1/jobs/${id}/retry`);
    for (const answer of jobs) this.take(answer, { source, mode, label, ladder });
  }

  take(answer, details) {
    this.list.push({ id: answer.id, ...details });
    this.keep();
    if (this.list.length === 1) {
      this.onEvent("queued", { ahead: answer.ahead }, this.current);
      this.follow();
    } else this.onEvent("waiting", {}, this.current);
  }

  // Follows the first job. A browser opens six connections to a host, shared by all its tabs: a hidden page closes its
  // stream and only checks now and then.
  follow() {
    this.stream?.close();
    this.again.stop();
    const job = this.current;
    if (!job) return;
    if (document.hidden) this.again.in(POLL, () => this.look(job));
    else this.listen(job);
  }

  // Starts after the last event received; after a reload, at the first event, as the page must be rebuilt.
  listen(job) {
    if (this.heard.id !== job.id) this.heard = { id: job.id, number: 0 };
    this.stream?.close();
    const stream = new EventSource(`/v1/jobs/${job.id}/events?after=${this.heard.number}`);
    this.stream = stream;
    for (const name of NAMES)
      stream.addEventListener(name, (event) => stream === this.stream && this.hear(name, event, job));
    stream.onerror = () => {
      if (stream !== this.stream) return;
      stream.close();
      this.again.retry(() => this.look(job));
    };
  }

  hear(name, event, job) {
    this.again.worked();
    this.heard.number = Number(event.lastEventId) || this.heard.number;
    const data = parsed(event.data);
    if (name !== "warned" || this.isNews(data.message, job)) this.onEvent(name, data, job);
    if (name !== "finished" && name !== "failed") return;
    this.ended = name;
    this.next();
  }

  // A warning is shown once, although the log is read again after a reload and rewritten after a restart of the server.
  isNews(warning, job) {
    job.warned ??= [];
    if (job.warned.includes(warning)) return false;
    job.warned.push(warning);
    this.keep();
    return true;
  }

  // The state of a job whose stream broke, or which runs while the page is hidden. An ended job is read immediately:
  // its stream closes by itself.
  async look(job) {
    try {
      const now = await get(`/v1/jobs/${job.id}`);
      if (job !== this.current) return;
      const ended = !["queued", "running"].includes(now.status);
      if (document.hidden) this.onEvent("glimpse", { status: now.status, progress: now.progress }, job);
      if (ended || !document.hidden) this.listen(job);
      else {
        this.again.worked();
        this.again.in(POLL, () => this.look(job));
      }
    } catch (error) {
      if (job !== this.current) return;
      if (error.status === 404) {
        this.onEvent(
          "lost",
          {
            message: "The server no longer knows this job. Pictures saved earlier are in the outputs folder.",
            final: true,
          },
          job,
        );
        this.next();
      } else {
        this.onEvent("lost", { message: GONE, final: false }, job);
        this.again.retry(() => this.look(job));
      }
    }
  }

  next() {
    this.stream?.close();
    this.stream = null;
    this.again.stop();
    this.list.shift();
    this.keep();
    if (!this.current) return;
    this.onEvent("waiting", {}, this.current);
    this.follow();
  }

  // how: "interrupt" or "skip". Skip does nothing to a job that has not started; the server knows that.
  async stop(how, started) {
    if (!this.current) return;
    if (how === "skip" || started) await post(`/v1/jobs/${this.current.id}/${how}`);
    else await remove(`/v1/jobs/${this.current.id}`);
  }

  // Removes the jobs that have not started from the queue.
  async cancelWaiting() {
    const waiting = this.list.splice(1);
    this.keep();
    this.onEvent("waiting", {}, this.current);
    await Promise.all(waiting.map((job) => remove(`/v1/jobs/${job.id}`)));
  }
}
