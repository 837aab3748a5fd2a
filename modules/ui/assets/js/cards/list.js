// The grid of cards: however long the list is, the page holds only the cards in its window.

import { button, h, icon } from "../core/dom.js";
import { measured, nextOf, scrolledTo, shownOf } from "./grid.js";

const LEAST = 124; // a card's width in pixels
const GAP = 8;

export class CardList {
  // do: {use(card, event), inform(card), isOn(card), leave()}; `leave` is called when a key moves out at the top.
  constructor(acts) {
    this.acts = acts;
    this.cards = [];
    this.at = 0; // the card that has the focus, or would get it
    this.kept = new Map(); // name -> element, for those in the window
    this.window = h("div", { className: "cards-window" });
    this.space = h("div", { className: "cards-space" }, this.window);
    this.element = h(
      "div",
      { className: "cards-scroll", role: "group", "aria-label": "Cards", tabindex: "-1" },
      this.space,
    );
    this.element.addEventListener("scroll", () => this.later(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.later()).observe(this.element);
  }

  // Shows another list; selection and position are reset unless the same cards are `kept`.
  put(cards, isKept = false) {
    this.cards = cards;
    this.at = Math.max(0, Math.min(this.at, cards.length - 1));
    this.kept.clear();
    if (!isKept) (this.at = 0), (this.element.scrollTop = 0);
    this.draw();
  }

  later() {
    this.frame ??= requestAnimationFrame(() => ((this.frame = null), this.draw()));
  }

  draw() {
    const width = this.element.clientWidth;
    if (!width) return;
    this.sizes = measured(width, LEAST, GAP);
    const { first, end, at, total } = shownOf(
      this.cards.length,
      this.sizes,
      this.element.scrollTop,
      this.element.clientHeight,
    );
    const before = this.kept;
    this.kept = new Map();
    const cards = this.cards.slice(first, end);
    for (const [offset, card] of cards.entries()) {
      const element = before.get(card.name) ?? this.card(card);
      element.dataset.index = String(first + offset);
      this.kept.set(card.name, element);
    }
    this.space.style.height = `${total}px`;
    this.window.style.transform = `translateY(${at}px)`;
    this.window.style.gridTemplateColumns = `repeat(${this.sizes.columns}, minmax(0, 1fr))`;
    this.window.style.gridAutoRows = `${this.sizes.row - GAP}px`;
    const elements = [...this.kept.values()];
    if (elements.length !== this.window.children.length || elements.some((one, n) => one !== this.window.children[n]))
      this.replace(elements);
    this.mark();
  }

  // The focus stays on its card while others come and go.
  replace(elements) {
    const focused = document.activeElement;
    this.window.replaceChildren(...elements);
    if (focused !== document.activeElement && this.window.contains(focused) && focused instanceof HTMLElement)
      focused.focus({ preventScroll: true });
  }

  // Marks the cards in use, and the one that Tab moves to.
  mark() {
    for (const [name, element] of this.kept) {
      const index = Number(element.dataset.index);
      const card = this.cards[index];
      const main = element.querySelector(".card-main");
      if (!card || card.name !== name || !(main instanceof HTMLElement)) continue;
      const isOn = this.acts.isOn(card);
      element.classList.toggle("on", isOn);
      main.setAttribute("aria-pressed", String(isOn));
      main.tabIndex = index === this.at ? 0 : -1;
    }
  }

  card(card) {
    const about = [
      card.title && card.title !== card.label ? card.title : "",
      card.alias && card.alias !== card.label ? `also called ${card.alias}` : "",
      card.folder ? `${card.folder}/${card.file}` : card.file,
      card.words && `Trigger words: ${card.words}`,
      card.about,
      card.reason,
    ];
    const main = h(
      "button",
      {
        type: "button",
        className: "card-main",
        title: about.filter(Boolean).join("\n"),
        "aria-label": card.label,
        onclick: (event) => ((this.at = this.cards.indexOf(card)), this.acts.use(card, event)),
      },
      picture(card),
      card.base ? h("span", { className: "card-base", textContent: card.base }) : null,
      h(
        "span",
        { className: "card-text" },
        h("span", { className: "card-name", textContent: card.label }),
        card.words || card.folder
          ? h("span", { className: "card-words", textContent: card.words || card.folder })
          : null,
      ),
      h("span", { className: "card-tick" }, icon("tick")),
    );
    return h(
      "div",
      { className: `card ${card.reason ? "bad" : ""}`, "data-card": card.name },
      main,
      button({
        icon: "info",
        title: `About ${card.label}: notes, trigger words, weight`,
        className: "p-glass p-small card-info",
        onclick: () => this.acts.inform(card),
      }),
    );
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !event.target.closest(".card-main")) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.sizes.row));
    const next = nextOf(event.key, this.at, this.cards.length, this.sizes.columns, page);
    if (next === null) return;
    event.preventDefault();
    if (next < 0) this.acts.leave();
    else this.focus(next);
  }

  focus(index = this.at) {
    if (!this.cards.length) return;
    this.at = Math.min(index, this.cards.length - 1);
    this.element.scrollTop = scrolledTo(this.at, this.sizes, this.element.scrollTop, this.element.clientHeight);
    this.draw();
    const main = this.kept.get(this.cards[this.at].name)?.querySelector(".card-main");
    if (main instanceof HTMLElement) main.focus({ preventScroll: true });
  }
}

// The model's picture; its first letters if there is no picture or it cannot be shown.
function picture(card) {
  const letters = h("span", {
    className: "card-letters",
    textContent: [...card.label.replace(/[^\p{L}\p{N}]/gu, "")].slice(0, 2).join("") || "?",
  });
  if (!card.thumbnail) return letters;
  return h("img", {
    src: card.thumbnail,
    alt: "",
    loading: "lazy",
    decoding: "async",
    draggable: "false",
    onerror: (event) => event.target.replaceWith(letters),
  });
}
