// The sizes that the selected checkpoint was trained on: an icon that opens the browser's own list.

import { h, icon } from "../core/dom.js";

const TITLE = "Sizes this checkpoint was trained on";

export class TrainedSizes {
  // take({width, height}): the person has chosen a size.
  constructor(tab, take) {
    this.sizes = [];
    this.select = h("select", { id: `${tab}_trained_sizes`, title: TITLE, "aria-label": TITLE });
    this.select.addEventListener("change", () => {
      const chosen = this.sizes[Number(this.select.value)];
      this.select.value = "";
      take(chosen);
    });
    this.element = h("span", { className: "p-button p-icon size-list" }, icon("sizes"), this.select);
    this.show([]);
  }

  // sizes: [{width, height}], the checkpoint's own first; if it is empty, there is nothing to choose.
  show(sizes) {
    this.sizes = sizes;
    this.element.hidden = !sizes.length;
    const options = sizes.map(({ width, height }, index) =>
      h("option", { value: String(index), textContent: `${width} × ${height}` }),
    );
    this.select.replaceChildren(
      h("option", { value: "", textContent: TITLE, hidden: true, disabled: true }),
      ...options,
    );
    this.select.value = "";
  }
}
