// The size that Hires. fix results in, as computed by the server and shown in its part of the form.

import { h, part } from "../core/dom.js";

export function setUpHires(estimate) {
  const { tab } = estimate;
  const line = h("p", { className: "p-soft", id: `${tab}_hr_finalres` });
  part("hires-text", tab).replaceChildren(line);
  estimate.onAnswer((answer, error) => {
    if (answer?.second)
      line.textContent = `from ${answer.width} × ${answer.height} to ${answer.second.width} × ${answer.second.height}`;
    else line.textContent = error?.status === 422 ? error.message : "";
  });
}
