// Short messages that come up at the edge of the page and go by themselves; a mistake stays until it is closed.

import { button, h } from "./dom.js";

const SECONDS = 6;
let stack = null;

export function toast(sentence, { bad = false, action = null } = {}) {
  if (!stack) {
    stack = h("div", { className: "toasts", "aria-live": "polite" });
    document.body.append(stack);
  }
  for (const old of stack.children) if (old.dataset.sentence === sentence) old.remove();
  const close = () => note.remove();
  const note = h(
    "div",
    { className: `toast ${bad ? "bad" : ""}`, role: bad ? "alert" : "status", "data-sentence": sentence },
    h("span", { textContent: sentence }),
    action ? button({ text: action.text, className: "p-link", onclick: () => (close(), action.run()) }) : null,
    button({ icon: "close", title: "Close", className: "p-bare", onclick: close }),
  );
  stack.append(note);
  while (stack.children.length > 4) stack.firstChild.remove();
  if (!bad) setTimeout(close, SECONDS * 1000 * (action ? 2 : 1));
  return note;
}

export const complain = (error) => toast(error.message, { bad: true });
