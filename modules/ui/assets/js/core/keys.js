// Shortcuts of the whole page, as in A1111: Ctrl+Enter generates, Esc interrupts, Alt+Enter skips; Ctrl+V pastes a
// picture.

import { pictureIn } from "./pictures.js";

const typing = (target) =>
  target instanceof HTMLElement && (target.isContentEditable || ["TEXTAREA", "INPUT"].includes(target.tagName));

// page: {openedTab(), generate(tab), stop(tab, how), isRunning(tab), sourceOf(tab)}.
export function setUpKeys(page) {
  document.addEventListener(
    "keydown",
    (event) => {
      const tab = page.openedTab();
      if (
        event.defaultPrevented ||
        event.repeat ||
        document.querySelector("dialog[open]") ||
        !["txt2img", "img2img", "extras"].includes(tab)
      )
        return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        page.generate(tab);
      } else if (event.key === "Enter" && event.altKey && page.isRunning(tab)) {
        event.preventDefault();
        page.stop(tab, "skip");
      } else if (
        event.key === "Escape" &&
        page.isRunning(tab) &&
        /** @type {Element} */ (event.target).getAttribute?.("aria-expanded") !== "true"
      ) {
        event.preventDefault();
        page.stop(tab, "interrupt");
      }
    },
    true,
  );

  document.addEventListener("paste", async (event) => {
    const source = page.sourceOf(page.openedTab());
    const transfer = event.clipboardData;
    const hasPicture = [...(transfer?.files ?? [])].some((file) => file.type.startsWith("image/"));
    if (!source || !hasPicture || (typing(event.target) && transfer.getData("text/plain"))) return;
    event.preventDefault();
    source.bring(await pictureIn(transfer));
  });

  // A picture dropped in the wrong place must not replace the page.
  for (const name of ["dragover", "drop"]) {
    addEventListener(name, (/** @type {DragEvent} */ event) => {
      if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (name === "drop") page.sourceOf(page.openedTab())?.bringFrom(event.dataTransfer);
    });
  }
}
