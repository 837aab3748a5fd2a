// Short messages that come up at the top of the page and go by themselves, or with the tab they were said in.

import { GONE } from "./api.js";
import { button, h } from "./dom.js";
import { onSwitch, openedTab } from "./tabs.js";

const SECONDS = 6;
const MOST = 2; // at once: a third would lie on Generate
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
    { className: `toast ${bad ? "bad" : ""}`, role: bad ? "alert" : "status", "data-sentence": sentence, "data-said-in": openedTab() },
    h("span", { textContent: sentence }),
    action ? button({ text: action.text, className: "p-link", onclick: () => (close(), action.run()) }) : null,
    button({ icon: "close", title: "Close", className: "p-bare", onclick: close }),
  );
  stack.append(note);
  while (stack.children.length > MOST) stack.firstChild.remove();
  const wait = SECONDS * 1000 * (action || bad ? 2 : 1); // there is more to read of a mistake
  const leave = () => (note.matches(":hover, :focus-within") ? setTimeout(leave, wait / 2) : close());
  setTimeout(leave, wait);
  return note;
}

onSwitch((name) => stack?.querySelectorAll(`.toast[data-said-in]:not([data-said-in="${name}"])`).forEach((note) => note.remove()));

// That the server is gone is told by the banner, once it is there.
export const complain = (error) => (error.message === GONE && document.querySelector(".banner:not([hidden])") ? null : toast(error.message, { bad: true }));

export function takeBack(sentence) {
  for (const note of [...(stack?.children ?? [])]) if (note.dataset.sentence === sentence) note.remove();
}
