import assert from "node:assert/strict";
import { test } from "node:test";

import { isHeld } from "../../../modules/ui/assets/js/form/toprow.js";

test("the row is held while it is small beside the window", () => {
  assert.equal(isHeld(110, 900, false), true);
  assert.equal(isHeld(110, 300, false), false);
});

test("what makes a held row taller does not let it go again", () => {
  for (let height = 250; height < 350; height++) {
    const held = isHeld(height, 900, false);
    assert.equal(isHeld(held ? height + 16 : height, 900, held), held, `${height} pixels`);
  }
});
