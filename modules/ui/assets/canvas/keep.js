// The document kept in IndexedDB for this browser tab alone: it survives a reload, another page, a crash.

import { read, write } from "../js/store.js";
import { packed, unpacked } from "./runs.js";
import { Layer } from "./tiles.js";

const NAME = `palimpsest:${location.port || "80"}`;
const PAUSE = 250; // milliseconds between a change and its being kept
const DOCUMENTS = 8; // of other tabs that are remembered
const TRIES = 8; // a tab that is reloaded frees its name a moment late

const answer = (request) => new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));
const done = (transaction) => new Promise((resolve, reject) => Object.assign(transaction, { oncomplete: () => resolve(), onerror: () => reject(transaction.error), onabort: () => reject(transaction.error) }));
const rangeOf = (tab) => IDBKeyRange.bound([tab, "", 0], [tab, "~", Infinity]);

export class Keep {
  // complain(error): the browser keeps nothing.
  constructor(document, complain) {
    Object.assign(this, { document, complain });
    this.stale = { mask: new Set(), sketch: new Set() };
    this.isResized = false;
    this.timer = 0;
    this.isBusy = false;
    this.tab = null;
    document.onChange((what, box) => this.changed(what, box));
    addEventListener("pagehide", () => this.save());
    globalThis.document.addEventListener("visibilitychange", () => globalThis.document.hidden && this.save());
  }

  async open() {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("documents", { keyPath: "tab" });
      request.result.createObjectStore("tiles", { keyPath: ["tab", "layer", "index"] });
    };
    this.database = await answer(request);
  }

  // What this tab had, or, in a new one, what the tab closed last had: {picture, mode, frame, mask, sketch} or null.
  async restore() {
    await this.open();
    const mine = sessionStorage.getItem(NAME);
    const last = read("canvas.tab");
    let kept = null;
    if (mine && (await hold(mine, TRIES))) this.tab = mine;
    else if (!mine && last && (await hold(last, 1))) this.tab = last;
    if (this.tab) kept = await this.load(this.tab);
    else {
      // A duplicated tab brings the name of the first along: it goes on with a copy.
      this.tab = `${Date.now()}-${Math.random().toString(36).slice(2)}`;
      await hold(this.tab, 1);
      if (mine) kept = await this.load(mine);
      this.isResized = true;
    }
    sessionStorage.setItem(NAME, this.tab);
    write("canvas.tab", this.tab);
    return kept;
  }

  async load(tab) {
    const transaction = this.database.transaction(["documents", "tiles"]);
    const [document, tiles] = await Promise.all([answer(transaction.objectStore("documents").get(tab)), answer(transaction.objectStore("tiles").getAll(rangeOf(tab)))]);
    if (!document) return null;
    const { picture, mode, frame, width, height } = document;
    const layers = { mask: new Layer(width, height), sketch: new Layer(width, height, 4) };
    for (const { layer, index, tile } of tiles) layers[layer].tiles[index] = unpacked(tile);
    return { picture, mode, frame, ...layers };
  }

  changed(what, box) {
    if (what === "picture") this.isResized = true;
    else if (what in this.stale) {
      const layer = this.document[what];
      layer.each(box ?? layer.all, (index) => this.stale[what].add(index));
    } else if (what === "history") return;
    if (what === "picture") this.save(); // a new picture at once: the page may be left the next moment
    else this.timer ||= setTimeout(() => this.save(), PAUSE);
  }

  // Keeps what has changed, in one transaction: whole or not at all.
  async save() {
    clearTimeout(this.timer);
    this.timer = 0;
    const { document, tab } = this;
    if (!tab) return;
    if (this.isBusy || document.mask.saved || document.sketch.saved) { // in the middle of a stroke
      this.timer = setTimeout(() => this.save(), PAUSE);
      return;
    }
    this.isBusy = true;
    const { stale, isResized } = this;
    Object.assign(this, { stale: { mask: new Set(), sketch: new Set() }, isResized: false });
    try {
      const transaction = this.database.transaction(["documents", "tiles"], "readwrite");
      const { picture, mode, frame, width, height } = document;
      transaction.objectStore("documents").put({ tab, picture, mode, frame, width, height, at: Date.now() });
      const tiles = transaction.objectStore("tiles");
      if (isResized) tiles.delete(rangeOf(tab));
      for (const layer of ["mask", "sketch"]) {
        const indices = isResized ? document[layer].tiles.keys() : stale[layer];
        for (const index of indices) {
          const tile = document[layer].tiles[index];
          if (tile) tiles.put({ tab, layer, index, tile: packed(tile) });
          else if (!isResized) tiles.delete([tab, layer, index]);
        }
      }
      await done(transaction);
      if (isResized) await this.forget();
    } catch (error) {
      this.isResized = true; // all of it next time
      this.complain(error);
    } finally {
      this.isBusy = false;
    }
  }

  // The documents of tabs that are long gone.
  async forget() {
    const transaction = this.database.transaction(["documents", "tiles"], "readwrite");
    const documents = transaction.objectStore("documents");
    const all = (await answer(documents.getAll())).sort((one, other) => other.at - one.at);
    for (const { tab } of all.slice(DOCUMENTS).filter((one) => one.tab !== this.tab)) {
      documents.delete(tab);
      transaction.objectStore("tiles").delete(rangeOf(tab));
    }
    await done(transaction);
  }
}

// Takes a tab's name for as long as this page lives; false if another page has it.
async function hold(tab, tries) {
  if (!navigator.locks) return true; // plain http beyond this machine has none
  for (let turn = 0; turn < tries; turn++) {
    const isMine = await new Promise((resolve) => {
      navigator.locks.request(`${NAME}:${tab}`, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock ? new Promise(() => {}) : undefined;
      });
    });
    if (isMine) return true;
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  return false;
}
