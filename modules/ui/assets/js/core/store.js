// What the page remembers in this browser, and what the server told it about the form. Keys contain the port: two
// Palimpsests on one machine have separate memories.

import { parsed } from "./json.js";

const PREFIX = `palimpsest:${location.port || "80"}:`;

export const config = parsed(document.getElementById("palimpsest-config").textContent);

export function read(name, otherwise = null) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise; // not ours, or from another version
  }
}

export function write(name, value) {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch (error) {
    console.warn("This browser cannot store anything for your next visit:", error.message); // full or forbidden
  }
}
