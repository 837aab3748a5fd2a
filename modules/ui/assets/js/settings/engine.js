// The top row: the selected checkpoint, what the engine is doing with it, and whether the server is reachable.

import { Again } from "../core/again.js";
import { get, GONE, post } from "../core/api.js";
import { button, byId, h, part } from "../core/dom.js";
import { parsed } from "../core/json.js";
import { config } from "../core/store.js";
import { complain, takeBack, takeBackEverywhere, toast } from "../core/toast.js";

const WORDS = {
  starting: "Starting",
  loading: "Loading",
  ready: "Ready",
  failed: "Failed",
  unloaded: "Not loaded",
  stopped: "Stopped",
};
// A connection that the other side has forgotten (sleep, a killed server) neither opens nor fails: it times out.
const OPENS_WITHIN = 6000; // milliseconds

export class EngineStatus {
  /** @type {((name: string) => void) | undefined} a checkpoint was chosen */
  onSelected;
  /** @type {(() => Promise<void>) | undefined} the list has been refreshed */
  onRefresh;

  constructor() {
    this.list = [];
    this.selected = null;
    this.state = {};
    this.choices = null;
    this.dot = h("span", { className: "engine-dot" });
    this.words = h("span", { className: "engine-words", id: "engine_status", role: "status" });
    this.banner = h("div", { className: "banner", role: "alert", hidden: true, textContent: GONE });
    document.body.append(this.banner);
    part("engine").replaceChildren(
      h(
        "div",
        { className: "engine" },
        button({
          icon: "reuse",
          title: "Look for new checkpoints",
          id: "refresh_sd_model_checkpoint",
          onclick: () => this.refresh(),
        }),
        this.dot,
        this.words,
      ),
    );
    this.again = new Again();
    const retry = () => (this.again.worked(), this.watch());
    document.addEventListener("visibilitychange", retry);
    window.addEventListener("online", retry);
    this.watch();
  }

  // One stream, closed while the page is hidden: a browser has only six connections to a host for all its tabs.
  watch() {
    this.stream?.close();
    this.again.stop();
    if (document.hidden) return;
    const stream = new EventSource("/v1/state/events");
    this.stream = stream;
    stream.addEventListener("state", (event) => (this.again.worked(), this.follow(parsed(event.data))));
    this.again.in(OPENS_WITHIN, () => this.lost());
    stream.onopen = () => {
      this.again.stop();
      const wasGone = !this.banner.hidden;
      this.banner.hidden = true;
      if (!wasGone) return;
      takeBackEverywhere(GONE);
      document.dispatchEvent(new Event("server-back"));
      toast("The server is back.");
    };
    stream.onerror = () => stream === this.stream && this.lost();
  }

  lost() {
    this.stream.close();
    this.banner.hidden = false;
    takeBack(GONE);
    this.again.retry(() => this.watch());
  }

  // The server finds models and computes their hashes while the page is open.
  follow({ engine, catalog }) {
    const before = this.catalog;
    this.catalog = catalog;
    this.show(engine);
    if (before !== undefined && before !== catalog && this.choices) this.load().catch(complain);
  }

  show(state) {
    this.state = state;
    this.dot.dataset.state = state.state;
    const parts = [WORDS[state.state] ?? state.state];
    if (state.state === "loading") parts[0] = `Loading ${state.checkpoint}…`;
    if (state.state === "ready") parts.push(...[state.device, state.checkpoint_hash?.slice(0, 10)].filter(Boolean));
    if (state.message) parts.push(state.message);
    this.words.textContent = parts.join(" · ");
    this.words.title = [state.checkpoint, state.checkpoint_hash].filter(Boolean).join(" ");
    this.words.classList.toggle("bad", state.state === "failed");
  }

  async load(path = null) {
    const answer = await (path ? post(path) : get("/v1/checkpoints"));
    this.list = answer.checkpoints;
    this.put(answer.selected);
    this.onSelected?.(answer.selected);
    if (!this.list.length)
      toast("There is no checkpoint yet. Put a .safetensors file in models/Stable-diffusion, then refresh.", {
        bad: true,
      });
  }

  async refresh() {
    try {
      await this.load("/v1/checkpoints/refresh");
      await this.onRefresh?.();
      toast(`${this.list.length} ${this.list.length === 1 ? "checkpoint" : "checkpoints"} available.`);
    } catch (error) {
      complain(error);
    }
  }

  // Puts names and choice into the selector.
  put(selected) {
    this.selected = selected;
    const names = this.list.map((row) => [row.label ?? row.name, row.name]);
    this.choices = { __type__: "update", choices: names, value: selected || null };
    byId("checkpoint_apply").click();
  }

  // The selector's options, then those of the fields that name another checkpoint, which keep their choice.
  take() {
    const names = this.list.map((row) => [row.label ?? row.name, row.name]);
    const others = Object.values(config.tabs)
      .flat()
      .filter((field) => field.list === "checkpoints");
    return [
      this.choices ?? undefined,
      ...others.map((field) => ({ __type__: "update", choices: [[field.empty, ""], ...names] })),
    ];
  }

  async choose(name) {
    if (!name || name === this.selected) return;
    const before = this.selected;
    this.selected = name;
    try {
      await post("/v1/checkpoint", { name });
      this.onSelected?.(name);
    } catch (error) {
      complain(error);
      this.put(before);
    }
  }

  get chosen() {
    return this.list.find((row) => row.name === this.selected);
  }

  // The selected checkpoint's default values for the form of `tab`.
  defaults(tab) {
    return this.chosen?.forms?.[tab] ?? {};
  }

  // {multiple_of, trained_on} of the selected checkpoint, from the server; null without one.
  get sizes() {
    return this.chosen?.sizes ?? null;
  }
}
