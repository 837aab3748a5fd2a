// Gradio's dropdowns keep their lists open when the focus moves elsewhere, and react to Esc only while they have it.
// Here they are closed, by the key that Gradio itself closes them with.

const LEAVING = ["Tab", "Shift", "Control", "Alt", "Meta"];
const open = () => [...document.querySelectorAll('[role="combobox"][aria-expanded="true"]')];
const close = (input) => input.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
const closeAll = (but = null) =>
  open()
    .filter((input) => input !== but)
    .forEach(close);

// In Chrome, Tab stops at scrollable elements, even at a list that is about to close: the focus would be lost with it.
const unstop = () =>
  document.querySelectorAll(".options, .options > [role=listbox]").forEach((/** @type {HTMLElement} */ list) => {
    list.tabIndex = -1;
  });

// A dropdown's list is beside its input, in the same block.
const ofBlock = (target) => open().find((input) => input.closest(".block")?.contains(target)) ?? null;

export function setUpDropdowns() {
  document.addEventListener(
    "keydown",
    (event) => {
      if (!event.isTrusted) return;
      // Gradio opens the list on every key but Esc, even on the key that leaves it.
      if (LEAVING.includes(event.key) && /** @type {Element} */ (event.target).getAttribute?.("role") === "combobox")
        event.stopPropagation();
      if (event.key === "Tab") unstop(), closeAll();
      if (event.key !== "Escape" || !open().length) return;
      event.preventDefault();
      event.stopImmediatePropagation(); // it was meant for the list, not for the running job
      closeAll();
    },
    true,
  );
  document.addEventListener("focusin", ({ target }) => closeAll(ofBlock(target)));
  document.addEventListener("pointerdown", ({ target }) => closeAll(ofBlock(target)), true);
}
