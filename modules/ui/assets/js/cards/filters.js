// Filters for the list of cards: search words, a base model, a folder; and the sort order.

import { first, h, later } from "../core/dom.js";
import { read, write } from "../core/store.js";
import { chosen, familiesOf, foldersBelow, NO_FAMILY, SORTS } from "./find.js";

const PAUSE = 90; // milliseconds after the last key before a search starts
const MOST_FOLDERS = 60;

export class Filters {
  // onChange() is called when a filter changes.
  constructor(onChange) {
    this.onChange = onChange;
    this.folder = "";
    this.search = h("input", {
      type: "search",
      id: "cards_search",
      placeholder: "Search",
      "aria-label": "Search models",
      spellcheck: "false",
      autocomplete: "off",
      oninput: later(() => onChange(), PAUSE),
    });
    this.family = h("select", { id: "cards_family", "aria-label": "Base model", onchange: () => onChange() });
    this.sort = h(
      "select",
      { id: "cards_sort", "aria-label": "Order", onchange: () => (write("cards.sort", this.sort.value), onChange()) },
      ...Object.entries(SORTS).map(([value, textContent]) => h("option", { value, textContent })),
    );
    this.sort.value = read("cards.sort") in SORTS ? read("cards.sort") : "name";
    this.folders = h("div", { className: "cards-folders", role: "group", "aria-label": "Folders" });
    this.element = h(
      "div",
      { className: "cards-filters" },
      h("div", { className: "cards-line" }, this.search, this.family, this.sort),
      this.folders,
    );
  }

  // Switches to another kind of models, which has other folders.
  begin(kind) {
    if (this.kind === kind) return;
    this.kind = kind;
    this.folder = "";
    this.family.value = "";
  }

  // The cards of `all` that match, in order.
  among(all) {
    if (this.folder && !all.some(({ folder }) => folder === this.folder || folder.startsWith(`${this.folder}/`)))
      this.folder = "";
    this.putFamilies(familiesOf(all));
    this.putFolders(all);
    const { search, family, sort, folder } = this;
    return chosen(all, { search: search.value, folder, family: family.value, sort: sort.value });
  }

  putFamilies(families) {
    const before = this.family.value;
    const named = families.map(([family, count]) =>
      h("option", { value: family, textContent: `${family === NO_FAMILY ? "Unknown" : family} (${count})` }),
    );
    this.family.replaceChildren(h("option", { value: "", textContent: "All base models" }), ...named);
    this.family.value = families.some(([family]) => family === before) ? before : "";
    this.family.hidden = families.length < 2 && !this.family.value;
  }

  // The path from the top to the open folder, then the folders inside it.
  putFolders(all) {
    const parts = this.folder ? this.folder.split("/") : [];
    const parents = parts.map((name, index) => [parts.slice(0, index + 1).join("/"), name]);
    const below = foldersBelow(all, this.folder);
    this.folders.hidden = !parents.length && !below.length;
    this.folders.replaceChildren(
      this.chip("", "All folders", !this.folder),
      ...parents.map(([path, name]) => this.chip(path, name, path === this.folder)),
      ...below.slice(0, MOST_FOLDERS).map(([path, name, count]) => this.chip(path, name, false, count)),
    );
  }

  chip(path, name, isOn, count = 0) {
    return h(
      "button",
      {
        type: "button",
        className: `cards-folder ${count ? "" : "cards-parent"}`,
        "aria-pressed": String(isOn),
        "data-folder": path,
        onclick: () => this.enter(path),
      },
      name,
      count ? h("span", { className: "cards-number", textContent: String(count) }) : null,
    );
  }

  enter(path) {
    this.folder = path;
    this.onChange();
    first(this.folders, "[aria-pressed=true]")?.focus();
  }
}
