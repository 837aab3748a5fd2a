import assert from "node:assert/strict";
import { test } from "node:test";

import { around, candidates, placeText } from "../../../modules/ui/assets/js/staging/candidates.js";

const made = (url, job, more = {}) => ({ url, job, source: "s", ...more });

test("the candidates are the pictures of the newest job, without its grid", () => {
  const pictures = [made("grid", 2, { sheet: true }), made("a", 2), made("b", 2), made("old", 1), made("older", 1)];
  assert.deepEqual(
    candidates(pictures, "s").map(({ url }) => url),
    ["a", "b"],
  );
});

test("the siblings of a ladder are candidates though each has a job of its own", () => {
  const pictures = [made("a", 3, { ladder: "x" }), made("b", 2, { ladder: "x" }), made("old", 1, { ladder: "y" })];
  assert.deepEqual(
    candidates(pictures, "s").map(({ url }) => url),
    ["a", "b"],
  );
});

test("one result is no choice, and results of another source are none either", () => {
  assert.deepEqual(candidates([], "s"), []);
  assert.deepEqual(candidates([made("a", 1), made("b", 2)], "s"), []);
  assert.deepEqual(candidates([made("a", 1), made("b", 1)], "another"), []);
  assert.deepEqual(
    candidates(
      [
        { url: "a", source: null },
        { url: "b", source: null },
      ],
      null,
    ),
    [],
  );
  assert.deepEqual(candidates([made("a", 1), made("b", 1)], undefined), []);
});

test("steps go round and round", () => {
  assert.deepEqual([around(0, -1, 4), around(3, 1, 4), around(1, 1, 4)], [3, 0, 2]);
});

test("the bar says which one it is, and its value", () => {
  const list = [{ label: "0.4" }, {}];
  assert.deepEqual([placeText(0, list), placeText(1, list)], ["1 of 2 · 0.4", "2 of 2"]);
});
