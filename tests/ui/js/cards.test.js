// Cards: which are shown, their positions, and what a click does to a prompt.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { chosen, familiesOf, foldersBelow, haystack, NO_FAMILY } from "../../../modules/ui/assets/js/cards/find.js";
import { measured, nextOf, scrolledTo, shownOf } from "../../../modules/ui/assets/js/cards/grid.js";
import { edited, insertion, removal, removalOf, written } from "../../../modules/ui/assets/js/cards/prompt.js";

const tags = readFileSync(new URL("../../../modules/prompts/tags.py", import.meta.url), "utf8");
const [, TAG] = tags.match(/^TAG = re\.compile\(r"(.+)"\)$/m); // what the server sends to the page

const ink = { name: "ink", alias: "India", text: "<lora:ink:0.8>", words: "ink wash" };
const plain = { name: "wash-v2", alias: "", text: "<lora:wash-v2:1>", words: "" };
const word = { name: "style (v1)", text: String.raw`style \(v1\)`, words: "" };

const without = (value, card) => edited(value, removal(value, card, TAG));

test("a click writes the tag and its trigger words, with a space to what is around", () => {
  const put = (value, at = value.length) => edited(value, [insertion(value, at, at, written(ink))]);
  assert.equal(put(""), "<lora:ink:0.8> ink wash");
  assert.equal(put("a fox"), "a fox <lora:ink:0.8> ink wash");
  assert.equal(put("a fox, "), "a fox, <lora:ink:0.8> ink wash");
  assert.equal(put("a  fox", 2), "a <lora:ink:0.8> ink wash fox");
  assert.equal(put("a, fox", 1), "a <lora:ink:0.8> ink wash, fox");
});

for (const [before, after] of [
  ["<lora:ink:0.8> ink wash", ""],
  ["a fox <lora:ink:0.8> ink wash", "a fox"],
  ["a fox <lora:ink:0.3>, ink wash, night", "a fox, night"],
  ["a fox, <lora:ink:0.8> ink wash, night", "a fox, night"],
  ["<lora:ink:0.8> ink wash, night", "night"],
  ["night, <lora:ink>", "night"],
  ["a <LORA:India:0.5:1> b <lyco:ink:1> c", "a b c"],
  ["a <lora:ink:1:lbw=OUTALL> ink washing", "a ink washing"],
  ["a <lora:inky:1> b", "a <lora:inky:1> b"],
  ["ink wash", "ink wash"],
  ["line one\n<lora:ink:1>\nline two", "line one\n\nline two"],
])
  test(`a second click takes a LoRA out of ${JSON.stringify(before)}`, () => assert.equal(without(before, ink), after));

test("what a click wrote, a second one takes out", () => {
  for (const card of [ink, plain, word])
    for (const value of ["", "a fox", "a fox, ", "a fox,\nnight", "(a fox:1.2) "]) {
      const put = edited(value, [insertion(value, value.length, value.length, written(card))]);
      assert.equal(without(put, card).trimEnd(), value.trimEnd().replace(/,$/, ""), JSON.stringify([value, put]));
    }
});

for (const [before, after] of [
  [String.raw`photo, style \(v1\), fog`, "photo, fog"],
  [String.raw`photo, (style \(v1\):1.2), fog`, "photo, fog"],
  [String.raw`((style \(v1\))) fog`, "fog"],
  [String.raw`(style \(v1\), fog)`, "(fog)"],
  [String.raw`my-style \(v1\)s`, String.raw`my-style \(v1\)s`],
  ["style (v1)", "style (v1)"],
])
  test(`an embedding is taken out of ${before}`, () => assert.equal(without(before, word), after));

test("a negative text is found as it was written", () => {
  const value = "photo, blurry sky";
  assert.equal(edited(value, removalOf(value, "photo")), "blurry sky");
  assert.deepEqual(removalOf(value, "blur"), []);
});

const cards = [
  { label: "ink10", folder: "styles/wash", base: "Illustrious", family: "SDXL", words: "ink wash", changed: 3 },
  { label: "ink9", folder: "styles", base: "SD 1", family: "SD 1", title: "Café noir", changed: 1 },
  { label: "Zebra", folder: "animals", base: "", family: "", tags: ["stripes"], changed: 2 },
  { label: "alone", folder: "", base: "Pony", family: "SDXL", about: "for skies", changed: 4 },
].map((card) => {
  const whole = { name: card.label, tags: [], ...card };
  return { ...whole, hay: haystack(whole) };
});
const labels = (wanted) => chosen(cards, wanted).map(({ label }) => label);

test("a search looks at all that is known, whatever the letter case and accents", () => {
  assert.deepEqual(labels({ search: "  CAFE " }), ["ink9"]);
  assert.deepEqual(labels({ search: "wash ink" }), ["ink10"]);
  assert.deepEqual(labels({ search: "stripes" }), ["Zebra"]);
  assert.deepEqual(labels({ search: "skies" }), ["alone"]);
  assert.deepEqual(labels({ search: "ink nothing" }), []);
});

test("cards are sorted by name, date and folder", () => {
  assert.deepEqual(labels({}), ["alone", "ink9", "ink10", "Zebra"]);
  assert.deepEqual(labels({ sort: "name-down" }), ["Zebra", "ink10", "ink9", "alone"]);
  assert.deepEqual(labels({ sort: "newest" }), ["alone", "ink10", "Zebra", "ink9"]);
  assert.deepEqual(labels({ sort: "oldest" }), ["ink9", "Zebra", "ink10", "alone"]);
  assert.deepEqual(labels({ sort: "path" }), ["alone", "Zebra", "ink9", "ink10"]);
});

test("folders and lines of models narrow the list", () => {
  assert.deepEqual(labels({ folder: "styles" }), ["ink9", "ink10"]);
  assert.deepEqual(labels({ folder: "styles/wash" }), ["ink10"]);
  assert.deepEqual(labels({ folder: "style" }), []);
  assert.deepEqual(labels({ family: "SDXL" }), ["alone", "ink10"]);
  assert.deepEqual(labels({ family: NO_FAMILY }), ["Zebra"]);
  assert.deepEqual(foldersBelow(cards), [
    ["animals", "animals", 1],
    ["styles", "styles", 2],
  ]);
  assert.deepEqual(foldersBelow(cards, "styles"), [["styles/wash", "wash", 1]]);
  assert.deepEqual(familiesOf(cards), [
    ["SD 1", 1],
    ["SDXL", 2],
    [NO_FAMILY, 1],
  ]);
});

test("of thousands of cards those in the window are there", () => {
  const sizes = measured(560, 130, 8);
  assert.deepEqual(sizes, { columns: 4, row: 185 });
  assert.deepEqual(shownOf(5000, sizes, 0, 600), { first: 0, end: 24, at: 0, total: 1250 * 185 });
  const middle = shownOf(5000, sizes, 100_000, 600);
  assert.equal(middle.first, (Math.floor(100_000 / 185) - 2) * 4);
  assert.ok(middle.end - middle.first <= 4 * 9);
  assert.equal(shownOf(5000, sizes, 1250 * 185 - 600, 600).end, 5000);
  assert.deepEqual(shownOf(0, sizes, 0, 600), { first: 0, end: 0, at: 0, total: 0 });
  assert.deepEqual(shownOf(3, sizes, 9999, 600), { first: 0, end: 3, at: 0, total: 185 }, "the list has become short");
  assert.deepEqual(measured(90, 130, 8), { columns: 1, row: 127 });
});

test("keys walk over the cards", () => {
  const to = (key, index) => nextOf(key, index, 10, 4, 2);
  assert.deepEqual(
    ["ArrowRight", "ArrowDown", "End", "PageDown"].map((key) => to(key, 1)),
    [2, 5, 9, 9],
  );
  assert.deepEqual(
    ["ArrowLeft", "ArrowUp", "Home", "PageUp"].map((key) => to(key, 8)),
    [7, 4, 0, 0],
  );
  assert.deepEqual([to("ArrowUp", 2), to("ArrowDown", 8), to("ArrowLeft", 0), to("a", 3)], [-1, 8, 0, null]);
  const sizes = { columns: 4, row: 100 };
  assert.deepEqual(
    [0, 9, 40].map((index) => scrolledTo(index, sizes, 100, 300)),
    [0, 100, 800],
  );
});
