// Short messages at the edge of the page, away from Generate. They disappear after a while, or with the tab they belong
// to.

import { GONE } from "./api.js";
import { button, byId, h } from "./dom.js";
import { onSwitch, openedTab } from "./tabs.js";

const SECONDS = 6;
const MOST = 2; // shown at once
let stack = null;

// area: the subject of the message, such as "form". It replaces older messages of that area; begins(area) removes it.
export function toast(sentence, { bad = false, action = null, area = "" } = {}) {
  if (!stack) {
    stack = h("div", { className: "toasts", "aria-live": "polite" });
    document.body.append(stack);
  }
  takeBack(sentence);
  begins(area);
  const close = () => note.remove();
  const note = h(
    "div",
    {
      className: `toast ${bad ? "bad" : ""}`,
      role: bad ? "alert" : "status",
      "data-sentence": sentence,
      "data-shown-in": openedTab(),
      "data-area": area || null,
    },
    h("span", { textContent: sentence }),
    action ? button({ text: action.text, className: "p-link", onclick: () => (close(), action.run()) }) : null,
    button({ icon: "close", title: "Close", className: "p-bare", onclick: close }),
  );
  stack.append(note);
  while (stack.children.length > MOST || (stack.children.length > 1 && coversGenerate())) stack.firstChild.remove();
  const wait = SECONDS * 1000 * (action || bad ? 2 : 1); // an error takes longer to read
  const dismiss = () => (note.matches(":hover, :focus-within") ? setTimeout(dismiss, wait / 2) : close());
  setTimeout(dismiss, wait);
  return note;
}

// On a low screen, two messages reach up to the button.
function coversGenerate() {
  const generate = byId(`${openedTab()}_generate`)?.getBoundingClientRect();
  const box = stack.getBoundingClientRect();
  return (
    Boolean(generate?.width) &&
    box.top < generate.bottom &&
    box.bottom > generate.top &&
    box.left < generate.right &&
    box.right > generate.left
  );
}

onSwitch((name) =>
  stack?.querySelectorAll(`.toast[data-shown-in]:not([data-shown-in="${name}"])`).forEach((note) => note.remove()),
);

// The banner says that the server is gone, once it is shown.
export const complain = (error, area = "") =>
  error.message === GONE && document.querySelector(".banner:not([hidden])")
    ? null
    : toast(error.message, { bad: true, area });

// Something starts in `area`: older messages there are obsolete, unless they offer an undo.
export function begins(area) {
  if (area)
    for (const note of stack?.querySelectorAll(`.toast[data-area="${area}"]:not(:has(.p-link))`) ?? []) note.remove();
}

// Removes a message that is no longer true, wherever it is.
export function takeBackEverywhere(sentence) {
  takeBack(sentence);
  /** @type {NodeListOf<HTMLElement>} */
  const places = document.querySelectorAll(".p-error, .p-alert, [role=status]");
  for (const place of places) {
    if (place.textContent !== sentence) continue;
    place.textContent = "";
    if (!place.matches("[role=status]")) place.hidden = true;
  }
}

export function takeBack(sentence) {
  for (const note of [...(stack?.children ?? [])]) if (note.dataset.sentence === sentence) note.remove();
}
