// The thumbnail of a model in its dialog; the selected result or a person's own file can replace it.

import { request } from "../core/api.js";
import { ask } from "../core/ask.js";
import { button, h } from "../core/dom.js";
import { toast } from "../core/toast.js";

export class Preview {
  // resultOf() is the selected picture of the open tab, if any; onSaved(card) is called with the updated card,
  // onFail(sentence) if it is refused.
  constructor({ resultOf, onSaved, onFail }) {
    this.resultOf = resultOf;
    this.onSaved = onSaved;
    this.onFail = onFail;
    this.picture = h("div", { className: "card-preview-picture" });
    this.file = h("input", {
      type: "file",
      accept: "image/*",
      hidden: true,
      onchange: () => this.send(this.file.files[0]),
    });
    this.useResult = button({
      text: "Use the selected result",
      id: "card_preview_result",
      className: "p-small",
      onclick: () => this.sendResult(),
    });
    this.element = h(
      "div",
      { className: "card-preview" },
      this.picture,
      this.useResult,
      button({
        text: "Use a file…",
        id: "card_preview_file",
        className: "p-small",
        title: "A picture from your disk as the thumbnail",
        onclick: () => this.file.click(),
      }),
      this.file,
    );
  }

  // card: the server's description.  address: the URL of its thumbnail.
  put(card, address) {
    this.card = card;
    this.address = address;
    const none = h("span", { className: "p-soft", textContent: "No thumbnail" });
    this.picture.replaceChildren(card.thumbnail ? h("img", { src: card.thumbnail, alt: "Thumbnail" }) : none);
    const hasResult = Boolean(this.resultOf());
    this.useResult.disabled = !hasResult;
    this.useResult.title = hasResult
      ? "Save the result that is selected behind this dialog as the thumbnail"
      : "Generate or select a picture first";
  }

  async sendResult() {
    try {
      await this.send(await (await request("GET", this.resultOf().url)).blob());
    } catch (error) {
      this.onFail(error.message);
    }
  }

  async send(blob, isReplacing = false) {
    this.file.value = "";
    if (!blob) return;
    this.onFail("");
    try {
      const address = `${this.address}${isReplacing ? "&replace=true" : ""}`;
      const card = await (await request("PUT", address, { body: blob })).json();
      this.put(card, this.address);
      this.onSaved(card);
      toast(`The thumbnail of ${card.label} is saved.`, { area: "cards" });
    } catch (error) {
      if (error.field !== "replace") this.onFail(error.message);
      else if (await ask(error.message, "Replace the thumbnail?", "Replace")) await this.send(blob, true);
    }
  }
}
