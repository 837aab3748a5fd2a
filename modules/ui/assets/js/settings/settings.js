// The Settings tab: a change is sent immediately; if the server refuses it, the reason appears under its field.

import { get, post } from "../core/api.js";
import { button, byId, h, later, part } from "../core/dom.js";
import { ownBox, ownNumber } from "../core/numberbox.js";
import { config } from "../core/store.js";
import { complain, toast } from "../core/toast.js";

const blockOf = (name) => byId(config.settings.find((field) => field.name === name)?.elem ?? "");
const SAID = 6000; // milliseconds for which "Saved" is shown

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

export class SettingsPage {
  /** @type {(() => void) | undefined} a setting was saved */
  onSaved;

  constructor() {
    this.values = {};
    this.pending = {};
    this.latest = {};
    this.choices = {};
    this.status = h("span", { className: "p-soft", role: "status", id: "settings_status" });
    part("settings-head").replaceChildren(
      h(
        "div",
        { className: "settings-head" },
        h("p", { className: "p-soft", textContent: "Changes are saved immediately and apply from the next job." }),
        this.status,
        button({ icon: "reset", text: "Reset to defaults", id: "settings_reset", onclick: () => this.reset() }),
      ),
    );
    this.send = later(() => this.flush(), 400);
    for (const { name, whole } of config.settings)
      if (whole) ownNumber(blockOf(name), (value) => this.changed(name, value, true));
    this.silence = later(() => (this.status.textContent = ""), SAID);
  }

  async load() {
    const { values, declared } = await get("/v1/settings");
    this.choices = Object.fromEntries(declared.map((field) => [field.name, field.choices]));
    this.put(values);
  }

  put(values) {
    this.values = { ...this.values, ...values };
    this.latest = { ...values };
    for (const [name, value] of Object.entries(values)) {
      const box = ownBox(blockOf(name));
      if (box) box.value = value;
    }
    byId("setting_apply").click();
  }

  take() {
    return config.settings.map((field) =>
      ownBox(byId(field.elem)) ? undefined : field.list ? this.offered(field.name) : this.latest[field.name],
    );
  }

  // A list of files with its choice, which is shown even if its file is gone.
  offered(name) {
    const value = this.latest[name];
    return {
      __type__: "update",
      choices: [...new Set([...(this.choices[name] ?? []), value])].map((choice) => [choice, choice]),
      value,
    };
  }

  changed(name, value, own = false) {
    if (Boolean(ownBox(blockOf(name))) !== own) return; // a box of ours: Gradio does not know its content
    if (value === null || value === (this.pending[name] ?? this.values[name])) return;
    this.pending[name] = value;
    this.send();
  }

  async flush() {
    const pending = this.pending;
    this.pending = {};
    for (const [name, value] of Object.entries(pending)) {
      try {
        this.values = { ...this.values, ...(await post("/v1/settings", { [name]: value })) };
        this.showError(name, "");
        this.say("Saved");
        this.onSaved?.();
      } catch (error) {
        this.status.textContent = "";
        if (error.status === 422) this.showError(name, error.message);
        else complain(error);
      }
    }
  }

  // Shown for a moment.
  say(sentence) {
    this.status.textContent = sentence;
    this.silence();
  }

  showError(name, sentence) {
    const block = blockOf(name);
    block.querySelector(".p-error")?.remove();
    block.classList.toggle("p-wrong", Boolean(sentence));
    if (sentence) block.append(h("div", { className: "p-error", role: "alert", textContent: sentence }));
  }

  async reset() {
    const defaults = Object.fromEntries(config.settings.map((field) => [field.name, field.default]));
    const before = this.values;
    if (!(await this.sendAll(defaults, "All settings were reset to their defaults"))) return;
    // Settings changed since then stay.
    const isOurs = (name) => same(this.values[name], defaults[name]) && !same(before[name], defaults[name]);
    const back = () =>
      this.sendAll(
        Object.fromEntries(
          Object.keys(defaults)
            .filter(isOurs)
            .map((name) => [name, before[name]]),
        ),
        "Settings restored",
      );
    toast("All settings were reset to their defaults.", { action: { text: "Undo", run: back } });
  }

  async sendAll(values, sentence) {
    try {
      this.put(await post("/v1/settings", values));
      this.say(sentence);
      this.onSaved?.();
      return true;
    } catch (error) {
      complain(error);
      return false;
    }
  }
}
