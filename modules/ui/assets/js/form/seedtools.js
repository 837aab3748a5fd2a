// The buttons beside a seed: a random one each time, or that of the selected picture.

import { button, h, part } from "../core/dom.js";
import { toast } from "../core/toast.js";
import * as form from "./form.js";

// selected(): the selected picture, or nothing.
export function seedTools(tab, place, field, selected) {
  const elem = field === "seed" ? "" : "sub";
  const reuse = () => {
    const seed = selected()?.seed;
    if (seed === undefined) toast("There is no picture yet to take a seed from.", { area: "form" });
    else form.set(tab, { [field]: seed });
  };
  part(place, tab).replaceChildren(
    h(
      "div",
      { className: "seed-tools" },
      button({
        icon: "dice",
        title: "Random seed each time (−1)",
        id: `${tab}_random_${elem}seed`,
        onclick: () => form.set(tab, { [field]: -1 }),
      }),
      button({
        icon: "reuse",
        title: "Reuse the seed of the selected picture",
        id: `${tab}_reuse_${elem}seed`,
        onclick: reuse,
      }),
    ),
  );
}
