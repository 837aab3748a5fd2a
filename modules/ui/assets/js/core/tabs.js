// The row of tabs. All their contents are on the page; <html> names the open one for the style sheet.

import { childrenOf, h, part } from "./dom.js";
import { read, write } from "./store.js";

const TABS = {
  txt2img: "txt2img",
  img2img: "img2img",
  extras: "Extras",
  pnginfo: "PNG Info",
  history: "History",
  merge: "Checkpoint Merger",
  fetch: "Get models",
  settings: "Settings",
};
const root = document.documentElement;
const buttons = {};

export const openedTab = () => root.dataset.tab;

const openers = {};

// action() is called each time the tab is opened.
export const onOpen = (name, action) => (openers[name] = action);

const switches = [];

// action(name) is called each time another tab is opened.
export const onSwitch = (action) => switches.push(action);

export function openTab(name) {
  const was = root.dataset.tab;
  root.dataset.tab = name;
  write("tab", name);
  for (const [tab, button] of Object.entries(buttons)) {
    button.setAttribute("aria-selected", String(tab === name));
    button.tabIndex = tab === name ? 0 : -1;
  }
  if (was === name) return;
  openers[name]?.();
  switches.forEach((action) => action(name));
}

// A row of tabs for any place: names -> labels, and what to do when one is pressed.
export function tabRow(labels, label, idOf, onOpen) {
  const row = h("div", { className: "tab-row", role: "tablist", "aria-label": label });
  for (const [name, text] of Object.entries(labels)) {
    row.append(
      h("button", {
        type: "button",
        role: "tab",
        id: idOf(name),
        textContent: text,
        "data-tab-id": name,
        onclick: () => onOpen(name),
      }),
    );
  }
  row.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const buttons = childrenOf(row);
    const next = buttons[buttons.indexOf(document.activeElement) + (by ?? NaN)];
    if (!next) return;
    event.preventDefault();
    next.click();
    next.focus();
  });
  return row;
}

export function setUpTabs() {
  const row = tabRow(TABS, "Pages", (name) => `tab_${name}_button`, openTab);
  for (const button of childrenOf(row)) {
    const name = button.dataset.tabId;
    const panel = document.getElementById(`tab_${name}`);
    buttons[name] = button;
    button.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labeledby", button.id);
  }
  part("tab-row").replaceChildren(row);
  const last = read("tab");
  openTab(last in TABS ? last : "img2img");
}
