// Text typed while a script's values are on their way: kept, and restored when they have arrived.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Typing } from "../../../modules/ui/assets/js/form/typing.js";

test("what is typed into a field on its way is given back once, and the script's value is outdated meanwhile", () => {
  const typing = new Typing();
  typing.handed(["width", "height"]);
  typing.typed("width", 76);
  typing.typed("width", 768);
  assert.equal(typing.isOutdated("width", 1024), true);
  assert.equal(typing.isOutdated("width", 768), false);
  assert.equal(typing.isOutdated("height", 1024), false);
  assert.deepEqual(typing.settled(), { width: 768 });
  assert.equal(typing.isOutdated("width", 1024), false);
  assert.deepEqual(typing.settled(), {});
});

test("what is typed into other fields, or when nothing is on its way, is nobody's concern", () => {
  const typing = new Typing();
  typing.typed("steps", 3);
  typing.handed(["width"]);
  typing.typed("steps", 33);
  assert.equal(typing.isOutdated("steps", 20), false);
  assert.deepEqual(typing.settled(), {});
});

test("each lot gives back its own fields, and a script's later value counts", () => {
  const typing = new Typing();
  typing.handed(["width"]);
  typing.handed(["height"]);
  typing.typed("width", 1);
  typing.typed("height", 2);
  assert.deepEqual(typing.settled(), { width: 1 });
  typing.put("height");
  assert.deepEqual(typing.settled(), {});
});
