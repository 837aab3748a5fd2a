// The jobs of one tab: submitted, followed by server-sent events, found again after a reload. A job never needs the page.

import { get, GONE, post, remove } from "./api.js";
import { read, write } from "./store.js";

const NAMES = ["queued", "started", "staged", "stepped", "previewed", "image_saved", "warned", "finished", "failed"];
const POLL = 3000; // milliseconds between two looks at a job while the page is hidden

export class Jobs {
  // tell(name, data, job): each event, and "lost" (a sentence) when the server or the job is gone.
  constructor(tab, tell) {
    this.tab = tab;
    this.tell = tell;
    this.list = read(`jobs.${tab}`, []); // [{id, source, mode}], the first is followed
    this.stream = null;
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.list.length && this.follow());
  }

  get current() {
    return this.list[0] ?? null;
  }

  keep() {
    write(`jobs.${this.tab}`, this.list.length ? this.list : null);
  }

  // Jobs of an earlier run of the server that wait or run again, and that this page has not heard of: [{id, kind}].
  adopt(resumed) {
    const known = new Set(this.list.map((job) => job.id));
    const found = resumed.filter((job) => job.kind === this.tab && !known.has(job.id));
    this.list.push(...found.map((job) => ({ id: job.id, source: null, mode: 0 })));
    if (found.length) this.keep();
    return found.length;
  }

  // details: what the page wants to know of the job later.
  async submit(request, details) {
    const answer = await post("/v1/jobs", { kind: this.tab, request });
    this.list.push({ id: answer.id, ...details });
    this.keep();
    if (this.list.length === 1) {
      this.tell("queued", { ahead: answer.ahead }, this.current);
      this.follow();
    } else this.tell("waiting", {}, this.current);
  }

  // Follows the first job from its first event on. A browser opens six connections to a host, shared by all its
  // tabs: a hidden page gives its stream back and only looks now and then.
  follow() {
    this.stream?.close();
    clearTimeout(this.timer);
    const job = this.current;
    if (!job) return;
    if (document.hidden) {
      this.timer = setTimeout(() => this.look(job), POLL);
      return;
    }
    const stream = new EventSource(`/v1/jobs/${job.id}/events`);
    this.stream = stream;
    for (const name of NAMES) {
      stream.addEventListener(name, (event) => {
        if (stream !== this.stream) return;
        this.tell(name, JSON.parse(event.data), job);
        if (name === "finished" || name === "failed") this.next();
      });
    }
    stream.onerror = () => {
      if (stream !== this.stream) return;
      stream.close();
      this.timer = setTimeout(() => this.look(job), 1000);
    };
  }

  // What became of a job whose stream broke, or that runs while the page is hidden.
  async look(job) {
    try {
      const now = await get(`/v1/jobs/${job.id}`);
      if (job !== this.current) return;
      const ended = !["queued", "running"].includes(now.status);
      if (!document.hidden || ended) this.follow();
      else this.timer = setTimeout(() => this.look(job), POLL);
      if (document.hidden) this.tell("glimpse", { status: now.status, progress: now.progress }, job);
      if (document.hidden && ended) this.timer = setTimeout(() => this.look(job), POLL * 10);
    } catch (error) {
      if (job !== this.current) return;
      if (error.status === 404) {
        this.tell("lost", { message: "The server does not know this job any more. Pictures saved before are in the outputs folder.", final: true }, job);
        this.next();
      } else {
        this.tell("lost", { message: GONE, final: false }, job);
        this.timer = setTimeout(() => this.look(job), POLL);
      }
    }
  }

  next() {
    this.stream?.close();
    this.stream = null;
    this.list.shift();
    this.keep();
    if (!this.current) return;
    this.tell("waiting", {}, this.current);
    this.follow();
  }

  async stop(how, started) {
    if (!this.current) return;
    if (started) await post(`/v1/jobs/${this.current.id}/${how}`);
    else await remove(`/v1/jobs/${this.current.id}`);
  }

  // Takes the jobs that have not begun out of the queue.
  async cancelWaiting() {
    const waiting = this.list.splice(1);
    this.keep();
    this.tell("waiting", {}, this.current);
    await Promise.all(waiting.map((job) => remove(`/v1/jobs/${job.id}`)));
  }
}
