// Numbers as people write them, and integers that JavaScript would round.

import assert from "node:assert/strict";
import { test } from "node:test";
import { parsed, whole } from "../../../modules/ui/assets/js/core/json.js";
import { plainNumber } from "../../../modules/ui/assets/js/core/numbers.js";

test("a comma is the fraction's, or between thousands", () => {
  const cases = [
    ["7,5", false, "7.5"],
    ["7.5", false, "7.5"],
    ["1.234,5", false, "1234.5"],
    ["1,234.5", false, "1234.5"],
    ["1,234,567", false, "1234567"],
    ["1 234,5", false, "1234.5"],
    ["1’024", true, "1024"],
    ["1,024", true, "1024"],
    ["1,024", false, "1.024"],
    ["7,5", true, "7.5"],
    ["-3,25", false, "-3.25"],
    ["12", false, "12"],
    ["1\u202f000", true, "1000"],
  ]; // prettier-ignore
  assert.deepEqual(
    cases.map(([text, isWhole]) => plainNumber(text, isWhole)),
    cases.map(([, , expected]) => expected),
  );
});

test("whole numbers keep their digits", () => {
  assert.deepEqual(["12", "-7", "9007199254740991", "9007199254740993", "0018446744073709551615"].map(whole), [
    12,
    -7,
    9007199254740991,
    "9007199254740993",
    "18446744073709551615",
  ]);
  assert.deepEqual(["", "1.5", "1e3", "x", null, 5].map(whole), [null, null, null, null, null, null]);
});

test("JSON with a seed of 64 bits is read as it is written", () => {
  const text =
    '{"seed": 18446744073709551615, "text": "seed: 18446744073709551615 \\" 12345678901234567890", ' +
    '"n": -9223372036854775808, "f": 0.1234567890123456789, "small": 5}';
  assert.deepEqual(parsed(text), {
    seed: "18446744073709551615",
    text: 'seed: 18446744073709551615 " 12345678901234567890',
    n: "-9223372036854775808",
    f: 0.12345678901234568,
    small: 5,
  });
  assert.deepEqual(parsed('{"a": [1, 2.5, true]}'), { a: [1, 2.5, true] });
});
