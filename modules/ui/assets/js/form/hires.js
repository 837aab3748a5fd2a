// The size that Hires. fix comes to, told in its part of the form, as the server reckons it.

import { h, part } from "../core/dom.js";

export function setUpHires(estimate) {
  const { tab } = estimate;
  const line = h("p", { className: "p-soft", id: `${tab}_hr_finalres` });
  part("hires-text", tab).replaceChildren(line);
  estimate.onAnswer((told, error) => {
    if (told?.second)
      line.textContent = `from ${told.width} × ${told.height} to ${told.second.width} × ${told.second.height}`;
    else line.textContent = error?.status === 422 ? error.message : "";
  });
}
