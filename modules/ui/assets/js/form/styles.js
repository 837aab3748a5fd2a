// Styles: those chosen for a form, shown as chips under its prompts, and the dialog in which they are chosen, inserted
// into the prompts, saved and deleted. They are the rows of styles.csv, shared by both forms.

import { get, post, remove, request } from "../core/api.js";
import { button, byId, h, part } from "../core/dom.js";
import * as form from "./form.js";
import { complain, toast } from "../core/toast.js";
import { remember, toastWithUndo } from "./undo.js";

const PROMPTS = ["prompt", "negative_prompt"];

const sameStyle = (one, other) => PROMPTS.every((name) => one[name] === other[name]);
const put = ({ name, prompt, negative_prompt }) =>
  request("PUT", `/v1/styles/${encodeURIComponent(name)}`, {
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ prompt, negative_prompt }),
  });

export class Styles {
  constructor(tab) {
    this.tab = tab;
    this.rows = []; // {name, prompt, negative_prompt}
    this.error = h("div", { className: "p-error", role: "alert", hidden: true });
    this.build();
    form.onChange((which, name) => which === tab && name === "styles" && this.show());
    this.show();
  }

  get chosen() {
    return form.get(this.tab, "styles");
  }

  choose(names) {
    form.set(this.tab, { styles: names });
  }

  build() {
    this.list = h("div", { className: "styles-list", role: "group", "aria-label": "Styles" });
    this.name = h("input", { type: "text", id: `${this.tab}_style_name`, maxlength: "200", spellcheck: "false" });
    const area = (name) => h("textarea", { id: `${this.tab}_style_${name}`, rows: "2", spellcheck: "false" });
    this.prompt = area("prompt");
    this.negative = area("negative_prompt");
    const field = (label, input, wide = "") =>
      h("div", { className: `script-field ${wide}` }, h("label", { for: input.id, textContent: label }), input);
    this.element = h(
      "dialog",
      { className: "p-dialog", id: `${this.tab}_styles_dialog`, "aria-labeledby": `${this.tab}_styles_title` },
      h(
        "div",
        { className: "p-dialog-head" },
        h("h2", { id: `${this.tab}_styles_title`, textContent: "Styles" }),
        button({ icon: "close", title: "Close (Esc)", className: "p-bare", onclick: () => this.element.close() }),
      ),
      h("p", {
        className: "p-soft",
        textContent:
          "Selected styles wrap the prompts of each job, or are added after them. " +
          "{prompt} in a style marks where your prompt goes.",
      }),
      this.list,
      h(
        "div",
        { className: "styles-row" },
        button({
          icon: "fill",
          text: "Insert into the prompts",
          title: "Insert the selected styles into the prompt boxes, so you can edit them there",
          id: `${this.tab}_style_apply`,
          onclick: () => this.apply().catch((error) => this.complain(error.message)),
        }),
      ),
      h(
        "details",
        { className: "styles-save" },
        h("summary", { textContent: "Save a style" }),
        h(
          "form",
          { className: "script-controls", onsubmit: (event) => (event.preventDefault(), this.save()) },
          field("Name", this.name, "script-wide"),
          field("Prompt", this.prompt),
          field("Negative prompt", this.negative),
          h(
            "div",
            { className: "styles-row script-wide" },
            h(
              "button",
              { type: "submit", className: "p-button p-strong", id: `${this.tab}_style_save` },
              h("span", { textContent: "Save" }),
            ),
            button({ text: "Use the current prompts", className: "p-link", onclick: () => this.takePrompts() }),
          ),
        ),
      ),
      this.error,
    );
    // A click outside closes the dialog.
    this.element.addEventListener("click", (event) => event.target === this.element && this.element.close());
    document.body.append(this.element);
    part("styles", this.tab).replaceChildren((this.chips = h("div", { className: "chips", id: `${this.tab}_styles` })));
  }

  // A button for the tab's row of tools.
  button() {
    return button({
      icon: "styles",
      title: "Styles: select, insert into the prompts, save",
      id: `${this.tab}_styles_edit_button`,
      onclick: () => this.open(),
    });
  }

  async open() {
    this.complain("");
    this.name.value = "";
    this.takePrompts();
    this.element.showModal();
    try {
      this.put(await get("/v1/styles"));
    } catch (error) {
      this.complain(error.message);
    }
    this.element.querySelector("details").open = !this.rows.length;
  }

  takePrompts() {
    [this.prompt, this.negative].forEach((area, at) => (area.value = form.get(this.tab, PROMPTS[at])));
  }

  put(rows) {
    this.rows = rows;
    this.list.replaceChildren(...rows.map((row) => this.row(row)));
    byId(`${this.tab}_style_apply`).disabled = !rows.length;
    if (!rows.length)
      this.list.append(
        h("p", { className: "p-soft", textContent: "No styles yet. Save the current prompts as your first style." }),
      );
  }

  row(row) {
    const box = h("input", {
      type: "checkbox",
      value: row.name,
      checked: this.chosen.includes(row.name),
      onchange: () =>
        this.choose(box.checked ? [...this.chosen, row.name] : this.chosen.filter((name) => name !== row.name)),
    });
    const about = [row.prompt, row.negative_prompt && `negative: ${row.negative_prompt}`].filter(Boolean).join(" · ");
    return h(
      "div",
      { className: "styles-item", "data-style": row.name },
      h("label", { className: "script-check" }, box, h("span", { className: "styles-name", textContent: row.name })),
      h("span", { className: "styles-about", textContent: about, title: about }),
      button({ icon: "brush", title: `Edit ${row.name}`, className: "p-bare", onclick: () => this.edit(row) }),
      button({ icon: "trash", title: `Delete ${row.name}`, className: "p-bare", onclick: () => this.delete(row) }),
    );
  }

  edit(row) {
    [this.name.value, this.prompt.value, this.negative.value] = [row.name, row.prompt, row.negative_prompt];
    this.element.querySelector("details").open = true;
    this.prompt.focus();
  }

  async save() {
    const name = this.name.value.trim();
    if (!name) return this.complain("Name: enter a name for the style.");
    const row = { name, prompt: this.prompt.value, negative_prompt: this.negative.value };
    const before = this.rows.find((one) => one.name === name);
    const action = before && !sameStyle(before, row) ? { text: "Undo", run: () => this.putBack(before, row) } : null;
    await this.change(() => put(row), `Saved the style ${name}.`, action);
  }

  // Restores a style, unless it has been changed since: it no longer equals `left` (null: it was deleted).
  async putBack(row, left) {
    try {
      const now = (await get("/v1/styles")).find((one) => one.name === row.name);
      if (left ? !now || !sameStyle(now, left) : now)
        return toast(`The style ${row.name} was changed in the meantime, so it was left alone.`);
      this.put(await (await put(row)).json());
    } catch (error) {
      complain(error);
    }
  }

  // A deleted style can be restored.
  async delete(row) {
    const wasChosen = this.chosen.includes(row.name);
    const back = () =>
      this.putBack(row, null).then(
        () => wasChosen && !this.chosen.includes(row.name) && this.choose([...this.chosen, row.name]),
      );
    if (
      await this.change(() => remove(`/v1/styles/${encodeURIComponent(row.name)}`), `Deleted the style ${row.name}.`, {
        text: "Undo",
        run: back,
      })
    ) {
      this.choose(this.chosen.filter((name) => name !== row.name));
    }
  }

  async change(act, sentence, action = null) {
    try {
      this.put(await (await act()).json());
      this.complain("");
      toast(sentence, { action });
      return true;
    } catch (error) {
      this.complain(error.message);
      return false;
    }
  }

  // The chosen styles are written into the prompt boxes and are no longer chosen.
  async apply() {
    if (!this.chosen.length) return this.complain("Choose a style first.");
    const own = Object.fromEntries(PROMPTS.map((name) => [name, form.get(this.tab, name)]));
    const styled = await post("/v1/styles/apply", { ...own, styles: this.chosen });
    remember(this.tab, "styles");
    form.set(this.tab, { ...styled, styles: [] });
    this.element.close();
    toastWithUndo(this.tab, "Styles inserted into the prompts.");
  }

  show() {
    const chip = (name) =>
      h(
        "span",
        { className: "chip" },
        name,
        button({
          icon: "close",
          title: `Remove ${name}`,
          className: "p-bare",
          onclick: () => this.choose(this.chosen.filter((one) => one !== name)),
        }),
      );
    this.chips.replaceChildren(
      ...(this.chosen.length ? [h("span", { textContent: "Styles" }), ...this.chosen.map(chip)] : []),
    );
    for (const box of this.list.querySelectorAll("input")) box.checked = this.chosen.includes(box.value);
    byId(`${this.tab}_styles_edit_button`)?.classList.toggle("on", this.chosen.length > 0);
    this.complainBelow("");
  }

  complain(sentence) {
    this.error.textContent = sentence;
    this.error.hidden = !sentence;
  }

  // The server's remarks about a job's styles are shown at the chips.
  complainBelow(sentence) {
    this.chips.querySelector(".p-error")?.remove();
    if (sentence) this.chips.append(h("span", { className: "p-error", role: "alert", textContent: sentence }));
    return true;
  }
}
