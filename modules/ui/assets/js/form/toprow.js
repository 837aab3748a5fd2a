// The row with prompt and Generate stays at the top of the window while the form scrolls, unless the prompts have grown
// so tall that little would be left for the rest.

import { byId } from "../core/dom.js";

const MOST = 0.34; // of the window's height
const PADDING = 16; // pixels that a held row is taller; without them it would be held and let go in turns

export const isHeld = (height, windowHeight, wasHeld) => height - (wasHeld ? PADDING : 0) <= windowHeight * MOST;

// Tells the style sheet how much room the row takes: the panels that stay beside the form begin below it.
export function setUpTopRow(tab) {
  const row = byId(`${tab}_toprow`);
  const measure = () => {
    const { height } = row.getBoundingClientRect();
    const held = isHeld(height, innerHeight, row.classList.contains("held"));
    row.classList.toggle("held", held);
    byId(`tab_${tab}`).style.setProperty("--toprow", held ? `${height}px` : "0px");
  };
  new ResizeObserver(measure).observe(row);
  addEventListener("resize", measure);
  measure();
}
