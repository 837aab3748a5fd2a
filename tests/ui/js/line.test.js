import assert from "node:assert/strict";
import { test } from "node:test";

import { badge, endedText, goesOn } from "../../../modules/ui/assets/js/run/line.js";

test("Generate shows how many jobs there are, and that they go on", () => {
  assert.deepEqual(
    [badge(0, false), badge(1, false), badge(3, false), badge(1, true), badge(3, true)],
    ["", "", "3", "∞", "3 ∞"],
  );
});

test("what was ended is said with its number", () => {
  assert.equal(endedText(0, false), "The running job is interrupted.");
  assert.equal(endedText(1, false), "The running job is interrupted and 1 waiting job is cancelled.");
  assert.equal(
    endedText(2, true),
    "The running job is interrupted, 2 waiting jobs are cancelled and Generate forever is off.",
  );
});

test("forever goes on after a finished job, and neither repeats a failure nor overtakes a waiting job", () => {
  assert.equal(goesOn(true, 0, "finished"), true);
  assert.equal(goesOn(true, 0, "failed"), false);
  assert.equal(goesOn(true, 1, "finished"), false);
  assert.equal(goesOn(false, 0, "finished"), false);
  assert.equal(goesOn(true, 0, ""), false);
});
