import assert from "node:assert/strict";
import { test } from "node:test";

import { rungs } from "../../../modules/ui/assets/js/form/rungs.js";

const request = { seed: 7, denoising_strength: 0.65, cfg_scale: 5, n_iter: 3, batch_size: 2, prompt: "a fox" };
const never = () => assert.fail("a seed that is given is not drawn");

test("a ladder of strengths has one seed and one picture a rung, highest first", () => {
  const ladder = rungs(request, "denoising_strength", never);
  assert.deepEqual(
    ladder.map((rung) => rung.label),
    ["0.8", "0.7", "0.6", "0.5", "0.4", "0.3", "0.2"],
  );
  for (const rung of ladder)
    assert.deepEqual(rung.request, {
      ...request,
      n_iter: 1,
      batch_size: 1,
      denoising_strength: Number(rung.label),
    });
});

test("a random seed is drawn once, and fits", () => {
  const ladder = rungs({ ...request, seed: -1 }, "cfg_scale", () => 0.5);
  assert.deepEqual([...new Set(ladder.map((rung) => rung.request.seed))], [2 ** 31 - 2]);
  assert.deepEqual(
    ladder.map((rung) => rung.request.cfg_scale),
    [11, 9, 7, 5, 3],
  );
});

test("four seeds follow each other, also beyond what a number holds", () => {
  const seeds = (seed) => rungs({ ...request, seed }, "seed", never).map((rung) => rung.request.seed);
  assert.deepEqual(seeds(7), [10, 9, 8, 7]);
  assert.deepEqual(seeds("9007199254740993"), [
    "9007199254740996",
    "9007199254740995",
    "9007199254740994",
    "9007199254740993",
  ]);
});
