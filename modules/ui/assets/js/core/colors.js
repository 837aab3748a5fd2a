// Light and dark: the browser's preference, the start-up flag's, or the person's choice.

import { button, h, part, setIcon } from "./dom.js";
import { config, read, write } from "./store.js";

const wish = matchMedia("(prefers-color-scheme: dark)");
const fromAddress = new URLSearchParams(location.search).get("__theme");

const isDark = () => {
  const mode = fromAddress ?? read("theme") ?? config.theme;
  return mode === "dark" || (mode !== "light" && wish.matches);
};

export function applyColors() {
  document.body.classList.toggle("dark", isDark());
  document.documentElement.style.colorScheme = isDark() ? "dark" : "light";
}

export function setUpBrand() {
  const title = () => (document.body.classList.contains("dark") ? "Light colors" : "Dark colors");
  const toggle = button({
    icon: "sun",
    title: "Colors",
    id: "colors",
    onclick: () => {
      write("theme", document.body.classList.contains("dark") ? "light" : "dark");
      applyColors();
      refresh();
    },
  });
  const refresh = () => setIcon(toggle, document.body.classList.contains("dark") ? "sun" : "moon", title());
  part("brand").replaceChildren(
    h(
      "div",
      { className: "brand" },
      h("span", { className: "brand-mark" }),
      h("span", { className: "brand-name", textContent: "Palimpsest" }),
    ),
  );
  part("engine").querySelector(".engine").append(toggle);
  wish.addEventListener("change", () => (applyColors(), refresh()));
  refresh();
}
