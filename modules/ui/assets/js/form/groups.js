// Groups of controls that fold under a heading, which then shows their values. The browser keeps which are folded.

import { byId, h, part } from "../core/dom.js";
import { read, write } from "../core/store.js";
import * as form from "./form.js";
import { summary } from "./summaries.js";

const TITLES = { sampling: "Sampling", size: "Size and batch", seed: "Seed", control: "ControlNet" };
const FOLDED = ["control"]; // until somebody opens them

export function setUpGroups(tab) {
  for (const name of Object.keys(TITLES)) setUp(tab, name);
}

function setUp(tab, name) {
  const body = byId(`${tab}_group_${name}`);
  const value = h("span", { className: "group-values" });
  const heading = h(
    "button",
    { type: "button", className: "group-heading", id: `${tab}_fold_${name}`, "aria-controls": body.id },
    h("span", { className: "group-title", textContent: TITLES[name] }),
    value,
  );
  part(`group-${name}`, tab).append(heading);
  const key = `folded.${tab}.${name}`;
  const usual = FOLDED.includes(name);
  const tell = () => (value.textContent = summary(name, form.all(tab)));
  const fold = (folded) => {
    heading.setAttribute("aria-expanded", String(!folded));
    body.classList.toggle("folded", folded);
    write(key, folded === usual ? null : folded);
  };
  heading.addEventListener("click", () => fold(!body.classList.contains("folded")));
  form.onChange((changed) => changed === tab && tell());
  body.addEventListener("reveal", () => fold(false));
  tell();
  fold(read(key, usual));
}
