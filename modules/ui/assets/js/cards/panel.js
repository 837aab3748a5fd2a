// The panel of models: cards of LoRAs, embeddings, checkpoints and VAEs beside the form, so that the prompt stays
// visible while they are tried one after another.

import { button, byId, h, later } from "../core/dom.js";
import { read, write } from "../core/store.js";
import { onSwitch, openedTab, tabRow } from "../core/tabs.js";
import { toast } from "../core/toast.js";
import { PromptBoxes } from "./boxes.js";
import { CardEditor } from "./editor.js";
import { Filters } from "./filters.js";
import { CardList } from "./list.js";
import { CardLists, KINDS } from "./lists.js";

const IN_PROMPTS = ["loras", "embeddings", "hypernetworks"];
const AUTOMATIC = "Automatic";

export class CardPanel {
  // page: {engine, settings}
  constructor(page) {
    this.page = page;
    this.kind = read("cards.kind") in KINDS ? read("cards.kind") : "loras";
    this.boxes = new PromptBoxes(() => this.mark());
    this.lists = new CardLists(
      (kind) => kind === this.kind && this.show(true),
      (kind) => kind === this.kind && !this.element.hidden,
    );
    this.filters = new Filters(() => this.show());
    this.list = new CardList({
      use: (card, event) => this.use(card, event),
      inform: (card) => this.editor.open(this.kind, card),
      isOn: (card) => this.isOn(card),
      leave: () => this.filters.search.focus(),
    });
    this.editor = new CardEditor(
      (kind, card) => this.lists.update(kind, card),
      () => page.tabs[openedTab()]?.gallery.selected,
    );
    this.build();
    this.mark = later(() => this.list.mark(), 60);
    window.addEventListener("keydown", (event) => this.key(event), true);
    addEventListener("scroll", () => this.place(), { passive: true });
    addEventListener("resize", () => this.place());
    addEventListener("focus", () => this.again()); // back from the file manager
    onSwitch((tab) => (tab in this.buttons ? (this.place(), this.mark()) : this.close()));
  }

  build() {
    this.buttons = {};
    this.status = h("span", { className: "p-soft cards-count", role: "status" });
    this.none = h("p", { className: "p-soft cards-none", hidden: true });
    this.tabs = tabRow(
      KINDS,
      "Kinds of models",
      (kind) => `cards_${kind}_button`,
      (kind) => this.choose(kind),
    );
    this.element = h(
      "aside",
      { className: "cards-panel", id: "cards_panel", "aria-label": "Models", hidden: true },
      h(
        "div",
        { className: "cards-head" },
        this.tabs,
        button({ icon: "close", title: "Close (Esc)", className: "p-bare", onclick: () => this.close() }),
      ),
      this.filters.element,
      this.none,
      this.list.element,
      h(
        "div",
        { className: "cards-foot" },
        this.status,
        button({
          icon: "reuse",
          text: "Refresh",
          className: "p-small",
          title: "Look into the folders again",
          onclick: () => this.lists.load(this.kind, true),
        }),
      ),
    );
    document.body.append(this.element);
    this.filters.search.addEventListener("keydown", (event) => this.fromSearch(event));
  }

  // A button for the tab's row of tools.
  button(tab) {
    this.buttons[tab] = button({
      icon: "network",
      title: "Models: LoRAs, embeddings, checkpoints and VAEs as cards (Ctrl+K)",
      id: `${tab}_networks_button`,
      onclick: () => (this.element.hidden ? this.open() : this.close()),
    });
    this.buttons[tab].setAttribute("aria-controls", "cards_panel");
    this.buttons[tab].setAttribute("aria-expanded", "false");
    return this.buttons[tab];
  }

  open() {
    this.element.hidden = false;
    this.expand(true);
    this.place();
    this.choose(this.kind);
    this.filters.search.focus();
    this.filters.search.select();
  }

  close() {
    if (this.element.hidden) return;
    const hadFocus = this.element.contains(document.activeElement);
    this.element.hidden = true;
    this.expand(false);
    if (hadFocus && openedTab() in this.buttons) this.boxes.focus();
  }

  expand(isOpen) {
    for (const one of Object.values(this.buttons)) {
      one.classList.toggle("on", isOpen);
      one.setAttribute("aria-expanded", String(isOpen));
    }
  }

  // Places the panel below the visible part of the prompts.
  place() {
    if (this.element.hidden) return;
    const row = byId(`${openedTab()}_toprow`)?.getBoundingClientRect();
    const top = row && innerWidth > 760 ? Math.max(8, Math.min(row.bottom + 8, innerHeight / 2)) : 0;
    this.element.style.top = `${top}px`;
  }

  choose(kind) {
    this.kind = kind;
    write("cards.kind", kind);
    for (const one of this.tabs.querySelectorAll("button")) {
      const isOpen = one.dataset.tabId === kind;
      one.setAttribute("aria-selected", String(isOpen));
      one.tabIndex = isOpen ? 0 : -1;
    }
    this.filters.begin(kind);
    this.show();
    this.lists.load(kind);
  }

  // Models may have been added or removed.
  again() {
    if (!this.element.hidden) this.lists.load(this.kind);
  }

  show(isKept = false) {
    const cards = this.filters.among(this.lists.cards(this.kind) ?? []);
    this.list.put(cards, isKept);
    this.status.textContent = this.lists.count(this.kind, cards.length);
    this.none.hidden = !this.lists.cards(this.kind) || cards.length > 0;
    this.none.textContent = this.lists.noneText(this.kind);
  }

  isOn(card) {
    if (this.kind === "checkpoints") return this.page.engine.selected === card.name;
    if (this.kind === "vaes") return this.page.settings.values.sd_vae === card.name;
    return this.boxes.holds(card);
  }

  async use(card, event) {
    if (card.reason) return toast(`${card.label}: ${card.reason}`, { bad: true, area: "cards" });
    if (IN_PROMPTS.includes(this.kind)) this.boxes.toggle(card, event.detail === 0);
    else if (this.kind === "checkpoints") {
      await this.page.engine.choose(card.name);
      this.page.engine.put(this.page.engine.selected);
    } else {
      const name = this.isOn(card) ? AUTOMATIC : card.name;
      await this.page.settings.sendAll({ sd_vae: name }, `VAE: ${name}`);
    }
    this.list.mark();
  }

  fromSearch(event) {
    if (event.key === "ArrowDown" || (event.key === "Enter" && this.list.cards.length > 1)) {
      event.preventDefault();
      this.list.focus(0);
    } else if (event.key === "Enter" && this.list.cards.length) {
      event.preventDefault();
      this.use(this.list.cards[0], { detail: 0 });
    }
  }

  key(event) {
    const isOpen = !this.element.hidden;
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
      if (!(openedTab() in this.buttons) || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      if (isOpen && this.element.contains(document.activeElement)) this.close();
      else this.open();
    } else if (event.key === "Escape" && isOpen && this.element.contains(document.activeElement)) {
      event.preventDefault();
      event.stopPropagation(); // it is not meant for the running job
      this.close();
    }
  }
}
