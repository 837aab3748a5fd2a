// What a click on a card does to a prompt, as edits: the card's text is inserted at the cursor, or removed if it is
// there. An edit is {start, end, text}; edits are in text order and do not touch.

/** @typedef {{start: number, end: number, text: string}} Edit */

const KINDS = { lyco: "lora" };

const plain = (name) => name.trim().toLowerCase();
const nameOf = (args) => args.split(":")[0];
const kindOf = (name) => KINDS[plain(name)] ?? plain(name);

// Everything that a card stands for in a prompt: its tag or word, and the trigger words after it.
export const written = (card) => [card.text, card.words].filter(Boolean).join(" ");

// The positions of a card in `value`; none if it is not there. `tag` is the server's grammar of tags: kind and
// arguments, as the source of a regular expression.
/** @returns {Edit[]} */
export function removal(value, card, tag) {
  const places = card.text.startsWith("<") ? tags(value, card, new RegExp(tag, "g")) : words(value, card.text);
  return places.map(([start, end]) => tidied(value, start, end));
}

// The positions of a text such as a LoRA's negative one.
/** @returns {Edit[]} */
export const removalOf = (value, text) => words(value, text).map(([start, end]) => tidied(value, start, end));

// `text` at the selection, separated by spaces from the text before and after it.
/** @returns {Edit} */
export function insertion(value, start, end, text) {
  const [before, after] = [value.slice(0, start), value.slice(end)];
  const gap = before && !/\s$/.test(before) ? " " : "";
  return { start, end, text: gap + text + (after && !/^[\s,.)]/.test(after) ? " " : "") };
}

/** @param {string} value @param {Edit[]} edits */
export const edited = (value, edits) =>
  edits.reduceRight((text, { start, end, text: put }) => text.slice(0, start) + put + text.slice(end), value);

function tags(value, card, tag) {
  const [, kind, own] = [...card.text.matchAll(tag)][0] ?? [];
  const name = own && nameOf(own);
  if (!name) return [];
  const names = [name, card.name, card.alias ?? ""].filter(Boolean).map(plain);
  const found = [];
  for (const match of value.matchAll(tag)) {
    if (kindOf(match[1]) !== kindOf(kind) || !names.includes(plain(nameOf(match[2])))) continue;
    const end = match.index + match[0].length;
    found.push([match.index, end + following(value.slice(end), card.words)]);
  }
  return found;
}

// How many letters of `rest` are the trigger words, and what separates them from the tag.
function following(rest, text) {
  if (!text) return 0;
  const gap = rest.match(/^[\s,]*/)[0].length;
  const end = gap + text.length;
  return rest.slice(gap, end) === text && !/^\w/.test(rest.slice(end)) ? end : 0;
}

// A text that is not part of a longer word, with its own brackets and weight.
function words(value, text) {
  const found = [];
  const low = value.toLowerCase();
  for (let at = 0; text && (at = low.indexOf(text.toLowerCase(), at)) >= 0; ) {
    let [start, end] = [at, at + text.length];
    at = end;
    if (/[\w\\]$/.test(value.slice(0, start)) || /^\w/.test(value.slice(end))) continue;
    const [open] = value.slice(0, start).match(/[([]*$/);
    const [close] = value.slice(end).match(/^(?::[\d.]+)?[)\]]*/);
    const count = Math.min(open.length, close.replace(/^:[\d.]+/, "").length);
    if (count) [start, end] = [start - count, end + close.length - close.replace(/^:[\d.]+/, "").length + count];
    found.push([start, end]);
  }
  return found;
}

// The edit that removes `start` to `end` without leaving a double space or comma.
function tidied(value, start, end) {
  while (start > 0 && /[ \t]/.test(value[start - 1])) start--;
  const before = value.slice(0, start).trimEnd();
  const [gap] = value.slice(end).match(/^[ \t]*,?/);
  if (gap.endsWith(",") && (!before || /[,([]$/.test(before))) end += gap.length;
  if (!value.slice(end).trim() && before.endsWith(",")) start = before.length - 1; // leave no comma at the end
  if (!before || /[([]$/.test(before)) end += value.slice(end).match(/^[ \t]*/)[0].length;
  return { start, end, text: "" };
}
