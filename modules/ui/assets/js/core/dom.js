// Building blocks of the page's own elements: make an element, an icon, a button; find the element of a part.

const ICONS = {
  save: "M5 4h11l3 3v13H5zM8 4v5h7V4M8 20v-6h8v6",
  zip: "M5 8h14v12H5zM3.5 4h17v4h-17zM10 12h4",
  folder: "M3.5 6.5h6l2 2.5h9v10.5h-17z",
  download: "M12 4v11m-4.5-4.5L12 15l4.5-4.5M5 19.5h14",
  send: "M4 12h12m-4.5-4.5L16 12l-4.5 4.5M20 5v14",
  sendall: "M4 8h9M4 16h9m-3-11 3.5 3L10 11m0 2 3.5 3-3.5 3M20 4v16",
  undo: "M8.5 5 4.5 9l4 4M5 9h9a5.5 5.5 0 0 1 0 11h-4",
  dice: "M5 5h14v14H5zM9 9h.01M15 15h.01M15 9h.01M9 15h.01",
  reuse: "M4.5 12a7.5 7.5 0 0 1 13-5.1L20 9.5M20 4.5v5h-5M19.5 12a7.5 7.5 0 0 1-13 5.1L4 14.5M4 19.5v-5h5",
  swap: "M8 4v15m-3.5-3.5L8 19l3.5-3.5M16 20V5m-3.5 3.5L16 5l3.5 3.5",
  ruler: "M3.5 15.5l12-12 5 5-12 12zM7 12l2 2m1-5 2 2m1-5 2 2",
  sizes: "M4 4h16v16H4zM4 9.5h10.5V20",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  unlock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 6.8-1.2",
  trash: "M4.5 7h15M9.5 7V4.5h5V7M6.5 7l1 13h9l1-13M10.5 11v5m3-5v5",
  fill: "M17 6 7 16m0-6.5V16h6.5M5 20h14",
  reset: "M5 12a7 7 0 1 0 2.3-5.2L5 9m0-4.5V9h4.5",
  compare: "M12 3v18M4 6h5v12H4zM15 6h5v12h-5z",
  difference: "M4 4h11v11H4zM9 9h11v11H9zM9 15l6-6",
  eye:
    "M2.500 12C5 7.500 8.300 5.500 12 5.500s7 2 9.500 6.500C19 16.500 15.700 18.500 12 18.500S5 16.500 2.500 12z" +
    "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  pin: "M9 4h6l-1 6 3.500 3.500h-11L10 10zM12 13.500V20",
  expand: "M4 9V4h5m6 0h5v5m0 6v5h-5m-6 0H4v-5",
  close: "M6 6l12 12M18 6 6 18",
  left: "M14.5 5.5 8 12l6.5 6.5",
  right: "M9.5 5.5 16 12l-6.5 6.5",
  copy: "M9 9h11v11H9zM5.5 15H4V4h11v1.5",
  styles: "M4.5 5.5h10v5h-10zM4.5 14.500h6M4.5 18.500h9M18.500 4.5v15m-2.500-2.500 2.500 2.500 2.500-2.500",
  network:
    "M6 4.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z" +
    "M18 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM6 14.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM8.3 8l7.4 3M8.3 16l7.4-3",
  sun:
    "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2m0 15v2m-9.5-9.5h2m15 0h2" +
    "M5.3 5.3l1.4 1.4m10.6 10.6 1.4 1.4m0-13.4-1.4 1.4M6.7 17.3l-1.4 1.4",
  moon: "M19.5 14A8 8 0 0 1 10 4.5a8 8 0 1 0 9.5 9.5z",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 2.5-2.5L20 17M15.5 9.5h.01",
  info: "M12 11v6M12 7.5h.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  skip: "M6 5.5 14 12l-8 6.5zM18 5v14",
  stop: "M6.5 6.5h11v11h-11z",
  model: "M12 3.5 20 8v8l-8 4.5L4 16V8zM4.3 8.2 12 12.5l7.7-4.3M12 12.5V20",
  brush: "M20 4 10.5 13.5M9 13c-2 0-3.5 1.5-3.5 3.5S4.5 20 3.5 20c4 1.5 9-.5 9-3.5A3.5 3.5 0 0 0 9 13z",
  eraser: "M8.5 19 3.5 14 13.5 4l6.5 6.5L11.5 19zM8.5 9l6.5 6.5M8.5 19H20",
  line: "M5 19 19 5",
  lasso:
    "M12 4.5c5 0 8.5 2.300 8.5 5.5s-3.5 5.5-8.5 5.5S3.5 13.200 3.5 10 7 4.5 12 4.5z" +
    "M7 14.5c-2 1.5-1 4 1.5 4 .5 1-.5 2-2 2.5",
  rectangle: "M4 6h16v12H4z",
  ellipse: "M12 6c4.5 0 8 2.5 8 6s-3.5 6-8 6-8-2.5-8-6 3.5-6 8-6z",
  wand: "M4.5 19.5 14 10m2-6v3m-1.5-1.5h3M20 9v3m-1.5-1.5h3M9 5v2M8 6h2",
  picker: "M13 7l4 4m-2-6 1.5-1.5a2.5 2.5 0 0 1 4 4L19 9zM14.5 8.5 6 17l-1.5 2.5L7 18l8.5-8.5",
  hand:
    "M12 3v18M3 12h18M12 3 9.5 5.5M12 3l2.5 2.5" +
    "M12 21l-2.5-2.5M12 21l2.5-2.5M3 12l2.5-2.5M3 12l2.5 2.5M21 12l-2.5-2.5M21 12l-2.5 2.5",
  redo: "M15.5 5l4 4-4 4M19 9h-9a5.5 5.5 0 0 0 0 11h4",
  invert: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  fit: "M4 8V4h4m8 0h4v4m0 8v4h-4m-8 0H4v-4M8 9h8v6H8z",
  actual: "M5 8l2.5-2v12M17 8l2.5-2v12M12.5 9.5h.01M12.5 15h.01",
  frame: "M7 3v14h14M3 7h14v14",
  tick: "M5 12.5 10 17.500 19.500 7",
  minus: "M6 12h12",
  plus: "M6 12h12M12 6v12",
};

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [attributes] on… are listeners; null, undefined and false are left out
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "className" || name === "textContent" || name === "hidden") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** @param {string} name one of ICONS */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// A button with a text beside its icon, or with the icon alone: then its title is its name for screen readers.
/**
 * @param {object} options
 * @param {string} [options.icon] one of ICONS
 * @param {string} [options.text]
 * @param {string} [options.title]
 * @param {string} [options.id]
 * @param {string} [options.className]
 * @param {(event: MouseEvent) => void} [options.onclick]
 * @returns {HTMLButtonElement}
 */
export function button({ icon: name, text, title, id, className = "", onclick }) {
  return h(
    "button",
    {
      type: "button",
      id,
      className: `p-button ${text ? "" : "p-icon"} ${className}`,
      title,
      "aria-label": text ? null : title,
      onclick,
    },
    name ? icon(name) : null,
    text ? h("span", { textContent: text }) : null,
  );
}

/** @param {HTMLElement} element @param {string} name @param {string} title */
export function setIcon(element, name, title) {
  element.querySelector(".icon").replaceWith(icon(name));
  element.title = title;
  element.setAttribute("aria-label", title);
}

/** @type {(id: string) => any} */
export const byId = (id) => document.getElementById(id);

// An element's content: the first match of a selector, with one level of nesting.

/** @type {(root: ParentNode, selector: string) => HTMLElement[]} */
export const all = (root, selector) =>
  [...root.querySelectorAll(selector)].filter((each) => each instanceof HTMLElement);

/** @type {(root: ParentNode, selector: string) => any} */
export const first = (root, selector) => root.querySelector(selector);

/** @type {(element: Element) => any[]} */
export const childrenOf = (element) => [...element.children];

/** @type {(name: string, tab?: string) => HTMLElement} */
export const part = (name, tab) => document.querySelector(`[data-part="${name}"]${tab ? `[data-tab="${tab}"]` : ""}`);

export function onEnterOrClick(element, action) {
  element.addEventListener("click", action);
  element.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && event.target === element) {
      event.preventDefault();
      action(event);
    }
  });
}

// Replaces `start` to `end` of a text box by `text` so that the browser's own undo works.
/** @param {HTMLTextAreaElement} area @param {number} start @param {number} end @param {string} text */
export function insertText(area, start, end, text) {
  area.focus();
  area.setSelectionRange(start, end);
  if (document.execCommand(text ? "insertText" : "delete", false, text)) return;
  area.setRangeText(text, start, end, "end"); // a browser without it cannot undo this
  area.dispatchEvent(new Event("input", { bubbles: true }));
}

export function later(action, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
}

// Has the browser save what is at `address`; without `name`, under the server's name for it.
export function download(address, name = "") {
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}
