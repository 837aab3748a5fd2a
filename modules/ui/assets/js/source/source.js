// An area to drop, paste or choose a picture: img2img's source, and that of PNG Info.

import { button, h, onEnterOrClick } from "../core/dom.js";
import { isThere, pictureIn, pixelsOf, upload } from "../core/pictures.js";
import { read, write } from "../core/store.js";
import { remember, replace, toastWithUndo, useSource } from "../form/undo.js";

export class Source {
  // place: the element to fill; name: the key under which it is remembered; onChange(picture or null, who) is called
  // for each change; tools: more buttons for the row below the picture. word: the picture's label; isAlone: a refused
  // file replaces the picture, so that the information beside it is not mistaken for the file's. stage: the canvas that
  // shows the picture instead of the zone, {head, element, restore()}; it also remembers the picture.
  constructor(place, name, { hint, onChange, tools = null, stage = null, word = "Source picture", isAlone = false }) {
    this.name = name;
    this.onChange = onChange;
    this.stage = stage;
    this.word = word;
    this.isAlone = isAlone;
    this.picture = null;
    this.turn = 0;
    this.busy = null;
    this.known = {};
    this.chooser = h("input", {
      type: "file",
      accept: "image/*",
      className: "p-hidden",
      tabindex: "-1",
      "aria-hidden": "true",
      id: `${name}_file`,
      onchange: () => (this.bring(this.chooser.files[0]), (this.chooser.value = "")),
    });
    this.image = h("img", { alt: word, hidden: true, draggable: "false" });
    this.empty = h(
      "div",
      { className: "source-empty" },
      h("div", { className: "source-mark" }),
      h(
        "div",
        { className: "source-call" },
        h("strong", { textContent: "Drop a picture here" }),
        h("span", { textContent: hint }),
      ),
    );
    this.zone = h(
      "div",
      { className: "source-zone", tabindex: "0", role: "button", "aria-label": `${word}: drop, paste or choose one` },
      this.image,
      this.empty,
    );
    this.text = h("span", { className: "source-text" });
    this.ownTools = [
      button({ icon: "picture", text: "Replace", className: "p-small", onclick: () => this.chooser.click() }),
      button({
        icon: "trash",
        title: "Remove the picture",
        className: "p-small",
        id: `${name}_remove`,
        onclick: () => this.remove(),
      }),
    ];
    this.bar = h("div", { className: "source-bar" }, this.text, tools, ...this.ownTools);
    this.note = h("div", { className: "source-note", hidden: true });
    this.error = h("div", { className: "p-error", role: "alert", hidden: true });
    this.element = h(
      "div",
      { className: "source", id: `${name}_image` },
      stage?.head,
      this.zone,
      stage?.element,
      this.bar,
      this.note,
      this.error,
      this.chooser,
    );
    place.replaceChildren(this.element);
    for (const tool of this.ownTools) tool.hidden = true;
    onEnterOrClick(this.zone, () => this.chooser.click());
    this.acceptDrops();
    useSource(name, this, stage);
  }

  acceptDrops() {
    let depth = 0; // dragenter and dragleave also fire for the children
    const lit = (on) => this.element.classList.toggle("dragging", on);
    this.element.addEventListener("dragenter", (event) => (event.preventDefault(), (depth += 1), lit(true)));
    this.element.addEventListener("dragleave", () => ((depth -= 1), depth <= 0 && lit(false)));
    this.element.addEventListener("dragover", (event) => event.preventDefault());
    this.element.addEventListener("drop", async (event) => {
      event.preventDefault();
      depth = 0;
      lit(false);
      await this.bringFrom(event.dataTransfer);
    });
  }

  // Something dropped or pasted.
  async bringFrom(transfer) {
    try {
      const blob = await pictureIn(transfer);
      if (blob) await this.bring(blob);
      else this.complain("No picture was dropped. Use a PNG, JPEG or WebP file.");
    } catch (error) {
      this.complain(error.message);
    }
  }

  // A file or blob; if it is refused, the old picture stays. A newer one overtakes an older one that is still being
  // sent. isNoted: the caller has already noted an undo step.
  bring(blob, isNoted = false) {
    if (!blob) return Promise.resolve();
    const turn = ++this.turn;
    this.complain("");
    this.element.classList.add("busy");
    this.busy = upload(blob, this.known)
      .then((picture) => {
        this.known[picture.id] = picture;
        const put = () => this.set({ ...picture, name: blob.name ?? "" }, "person");
        if (turn !== this.turn) return;
        if (this.picture && !isNoted) replace(this.name, put);
        else put();
      })
      .catch((error) => turn === this.turn && this.refuse(error))
      .finally(() => {
        if (turn !== this.turn) return;
        this.busy = null;
        this.element.classList.remove("busy");
      });
    return this.busy;
  }

  refuse({ field, message }) {
    if (this.isAlone && field && this.picture) this.set(null, "person");
    this.complain(message);
  }

  remove() {
    const step = remember(this.name, "remove");
    this.set(null, "person");
    toastWithUndo(this.name, "Picture removed.", step);
  }

  set(picture, who = "script") {
    this.turn += who === "person" ? 0 : 1;
    this.picture = picture;
    this.complain("");
    this.zone.hidden = Boolean(picture && this.stage);
    this.image.hidden = !picture;
    if (picture && !this.stage) this.image.src = pixelsOf(picture.id);
    else this.image.removeAttribute("src");
    this.empty.hidden = Boolean(picture);
    for (const tool of this.ownTools) tool.hidden = !picture;
    this.element.classList.toggle("filled", Boolean(picture));
    this.text.textContent = picture ? `${picture.width} × ${picture.height} ${picture.format ?? ""}` : "";
    this.text.title = picture?.name ?? "";
    this.note.hidden = !picture?.notes?.length;
    this.note.textContent = picture?.notes?.join(" ") ?? "";
    if (!this.stage) write(`source.${this.name}`, picture);
    this.onChange?.(picture, who);
  }

  complain(sentence) {
    this.error.textContent = sentence.replace(/^(init_images|depth_map):/, `${this.word}:`);
    this.error.hidden = !sentence;
    if (sentence) this.error.scrollIntoView({ block: "nearest" });
  }

  // The picture of the last visit, if the server still has it.
  async restore() {
    const kept = this.stage ? await this.stage.restore() : read(`source.${this.name}`);
    if (!kept?.id || (this.picture && this.picture !== kept)) return;
    if (await isThere(kept.id)) {
      if (!this.picture && !this.busy) this.set(kept, "restore");
    } else if (!this.picture) {
      this.set(null, "restore");
      this.complain("The picture from your last visit is no longer stored. Load it again.");
    }
  }
}
