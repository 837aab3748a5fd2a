// A person's next action: changing a field, bringing or painting a picture, opening another tab.

import { onSwitch } from "./tabs.js";

const EDITS = ["input", "change", "drop", "paste"];

const lies = (target, within) => target instanceof Element && target.closest(within) !== null;

// action() is called at each such action, except within `own`, where the person only looks at things.
export function onNextAct(own, action) {
  for (const name of EDITS) document.addEventListener(name, ({ target }) => own.contains(target) || action(), true);
  document.addEventListener("pointerdown", ({ target }) => lies(target, ".canvas-stage") && action(), true);
  document.addEventListener("click", ({ target }) => lies(target, "#tab_img2img [role=tab]") && action(), true);
  onSwitch(action);
}
