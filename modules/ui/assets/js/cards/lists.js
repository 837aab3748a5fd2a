// The lists of cards, one for each kind of model: requested from the server, kept while the page lives, and summed up.

import { get } from "../core/api.js";
import { complain } from "../core/toast.js";
import { haystack } from "./find.js";

export const KINDS = {
  loras: "LoRAs",
  embeddings: "Embeddings",
  checkpoints: "Checkpoints",
  vaes: "VAEs",
  hypernetworks: "Hypernetworks",
};
const FOLDERS = {
  loras: "Lora",
  embeddings: "embeddings",
  checkpoints: "Stable-diffusion",
  vaes: "VAE",
  hypernetworks: "hypernetworks",
};
const AGAIN = 400; // milliseconds until the rest of a long list is requested; doubled each time

export class CardLists {
  // onChange(kind) is called when a list has changed; isShown(kind): whether the panel shows it.
  constructor(onChange, isShown) {
    this.onChange = onChange;
    this.isShown = isShown;
    this.lists = {};
  }

  // The cards of `kind`; undefined until the server has answered.
  cards(kind) {
    return this.lists[kind]?.cards;
  }

  // isAnew: the server scans the folders first.
  async load(kind, isAnew = false, pause = AGAIN) {
    try {
      const { cards, more } = await get(`/v1/cards/${kind}${isAnew ? "?anew=true" : ""}`);
      this.put(kind, cards);
      if (!this.isShown(kind)) return;
      clearTimeout(this.timer);
      if (more) this.timer = setTimeout(() => this.isShown(kind) && this.load(kind, false, pause * 2), pause);
    } catch (error) {
      complain(error);
    }
  }

  put(kind, cards) {
    const text = JSON.stringify(cards);
    if (text === this.lists[kind]?.text) return;
    this.lists[kind] = { text, cards: cards.map((card) => ({ ...card, hay: haystack(card) })) };
    this.onChange(kind);
  }

  // Updates one card after its notes were saved.
  update(kind, card) {
    this.put(
      kind,
      this.cards(kind).map(({ hay, ...one }) => (one.name === card.name ? { ...one, ...card } : one)),
    );
  }

  // How many cards of `kind` are shown, such as "3 of 12 LoRAs".
  count(kind, shown) {
    const all = this.cards(kind);
    if (!all) return "Looking…";
    return `${shown < all.length ? `${shown} of ${all.length}` : shown} ${KINDS[kind]}`;
  }

  // The sentence for an empty list.
  noneText(kind) {
    return this.cards(kind)?.length
      ? "Nothing found. Use fewer search words, or choose all folders and base models."
      : `There are none yet. Put files into models/${FOLDERS[kind]}; they are found without a restart.`;
  }
}
