// The row of buttons that make a ladder: siblings of one picture, to choose from.

import { button, byId, h, part } from "../core/dom.js";
import { LADDERS, rungs } from "./rungs.js";

export class Ladder {
  constructor(tab) {
    this.field = "";
    this.buttons = Object.entries(LADDERS).map(([field, { text, title }]) =>
      button({
        text,
        title,
        id: `${tab}_ladder_${field}`,
        className: "p-small",
        onclick: () => {
          this.field = field;
          byId(`${tab}_generate`).click();
        },
      }),
    );
    part("ladder", tab)?.replaceChildren(
      h(
        "div",
        { className: "ladder", role: "group", "aria-labelledby": `${tab}_ladder_label` },
        h("span", { className: "intents-label", id: `${tab}_ladder_label`, textContent: "Try several" }),
        ...this.buttons,
      ),
    );
  }

  // Without a picture there is nothing to make siblings of; the buttons then say so.
  enable(hasPicture) {
    Object.values(LADDERS).forEach(({ title }, index) => {
      this.buttons[index].disabled = !hasPicture;
      this.buttons[index].title = hasPicture ? title : "Drop a picture first.";
    });
  }

  // The field whose ladder the press of Generate is for; "" for an ordinary one.
  taken() {
    const { field } = this;
    this.field = "";
    return field;
  }

  // What to submit for one press of Generate: {request, label, ladder}.
  requests(request, field) {
    if (!field) return [{ request }];
    const ladder = crypto.randomUUID?.() ?? String(Math.random());
    return rungs(request, field, Math.random).map((rung) => ({ ...rung, ladder }));
  }
}
