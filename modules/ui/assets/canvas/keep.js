// The document, stored in IndexedDB for this browser tab alone: it survives a reload, navigation and a crash.

import { read, write } from "../js/core/store.js";
import { hold, isHeld } from "./hold.js";
import { packed, unpacked } from "./runs.js";
import { Layer } from "./tiles.js";

const NAME = `palimpsest:${location.port || "80"}`;
const PAUSE = 250; // milliseconds between a change and its being saved
const DOCUMENTS = 8; // number of other tabs that are remembered
const TRIES = 8; // a reloaded tab frees its name a moment late

const answer = (request) =>
  new Promise((resolve, reject) =>
    Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }),
  );
/** @type {(transaction: IDBTransaction) => Promise<void>} */
const done = (transaction) =>
  new Promise((resolve, reject) =>
    Object.assign(transaction, {
      oncomplete: () => resolve(),
      onerror: () => reject(transaction.error),
      onabort: () => reject(transaction.error),
    }),
  );
const lockOf = (tab) => `${NAME}:${tab}`;
const rangeOf = (tab) => IDBKeyRange.bound([tab, "", 0], [tab, "~", Infinity]);

export class Keep {
  // complain(error): the browser could not save anything.
  constructor(document, complain) {
    this.document = document;
    this.complain = complain;
    this.stale = { mask: new Set(), sketch: new Set() };
    this.isResized = false;
    this.timer = 0;
    this.isBusy = false;
    this.isOverdue = false; // a stroke was in progress when saving was due
    this.tab = null;
    this.isKept = false; // whether this tab has any content: an empty one evicts no other tab's
    document.onChange((what, box) => this.changed(what, box));
    addEventListener("pagehide", () => this.leave());
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

  // What this tab had or, in a new tab, the document of the tab opened last, or else of one that crashed: {picture,
  // mode, frame, mask, sketch} or null.
  async restore() {
    await this.open();
    const mine = sessionStorage.getItem(NAME);
    const last = read("canvas.tab");
    let kept = null;
    let tab = await this.firstFree(mine ? [mine] : [last, ...(await this.crashed())], mine ? TRIES : 1);
    if (tab) kept = await this.load(tab);
    else {
      // A duplicated tab starts with the name of the first: it continues with a copy.
      tab = `${Date.now()}-${Math.random().toString(36).slice(2)}`;
      await hold(lockOf(tab), 1);
      if (mine) kept = await this.load(mine);
      this.isResized = true;
    }
    this.tab = tab;
    sessionStorage.setItem(NAME, tab);
    write("canvas.tab", tab);
    this.isKept = kept !== null;
    if (kept || this.document.picture) this.later();
    return kept;
  }

  async firstFree(tabs, tries) {
    for (const tab of tabs) if (tab && (await hold(lockOf(tab), tries))) return tab;
    return null;
  }

  // Documents, newest first, of pages that never closed properly: they are still open, or they have crashed.
  async crashed() {
    const all = await answer(this.database.transaction("documents").objectStore("documents").getAll());
    return all
      .filter((one) => one.isOpen && one.picture)
      .sort((one, other) => other.at - one.at)
      .map((one) => one.tab);
  }

  async load(tab) {
    const transaction = this.database.transaction(["documents", "tiles"]);
    const [document, tiles] = await Promise.all([
      answer(transaction.objectStore("documents").get(tab)),
      answer(transaction.objectStore("tiles").getAll(rangeOf(tab))),
    ]);
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
    } else if (what === "history") {
      if (this.isOverdue) this.save(); // otherwise quick strokes in a row would never be saved
      return;
    }
    if (what === "picture")
      this.save(); // a new picture is saved at once: the page may be left the next moment
    else this.later();
  }

  later() {
    this.timer ||= setTimeout(() => this.save(), PAUSE);
  }

  // The page is closing: there is no later chance, so it waits for nothing. The browser keeps transactions in order.
  leave() {
    this.document.settle();
    this.isBusy = false;
    this.save(false);
  }

  // Saves what has changed in one transaction: completely or not at all. isOpen: whether the page stays open.
  async save(isOpen = true) {
    clearTimeout(this.timer);
    this.timer = 0;
    const { document, tab } = this;
    if (!tab || !(this.isKept || document.picture || !document.mask.isEmpty || !document.sketch.isEmpty)) return;
    this.isOverdue = Boolean(document.mask.saved || document.sketch.saved);
    if (this.isBusy || this.isOverdue) return this.later();
    this.isBusy = true;
    const { stale, isResized } = this;
    Object.assign(this, { stale: { mask: new Set(), sketch: new Set() }, isResized: false });
    try {
      const transaction = this.database.transaction(["documents", "tiles"], "readwrite");
      const { picture, mode, frame, width, height } = document;
      transaction.objectStore("documents").put({ tab, picture, mode, frame, width, height, isOpen, at: Date.now() });
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
      transaction.commit(); // now, not when the puts have been answered: the page may be gone by then
      await done(transaction);
      this.isKept = true;
      if (isResized) await this.forget();
    } catch (error) {
      this.isResized = true; // everything, next time
      this.complain(error);
    } finally {
      this.isBusy = false;
    }
  }

  // Deletes the documents of tabs closed long ago; those of open tabs stay, however old.
  async forget() {
    const all = (await answer(this.database.transaction("documents").objectStore("documents").getAll())).sort(
      (one, other) => other.at - one.at,
    );
    for (const { tab } of all.slice(DOCUMENTS)) {
      if (tab === this.tab || (await isHeld(lockOf(tab)))) continue;
      const transaction = this.database.transaction(["documents", "tiles"], "readwrite");
      transaction.objectStore("documents").delete(tab);
      transaction.objectStore("tiles").delete(rangeOf(tab));
      await done(transaction);
    }
  }
}
