import assert from "node:assert/strict";
import { test } from "node:test";

import { summary } from "../../../modules/ui/assets/js/form/summaries.js";

const values = {
  sampler_name: "DPM++ 2M",
  scheduler: "Karras",
  steps: 20,
  size_tab: "to",
  resize_by: 1.5,
  width: 512,
  height: 768,
  n_iter: 1,
  batch_size: 1,
  seed: -1,
  extra: false,
  subseed_strength: 0.3,
};

test("a folded group says its values", () => {
  assert.equal(summary("sampling", values), "DPM++ 2M Karras · 20 steps");
  assert.equal(summary("sampling", { ...values, scheduler: "Automatic", steps: 1 }), "DPM++ 2M · 1 step");
  assert.equal(summary("size", values), "512 × 768");
  assert.equal(summary("size", { ...values, size_tab: "by", n_iter: 2, batch_size: 4 }), "source × 1.5 · 8 pictures");
  assert.equal(summary("seed", values), "random");
  assert.equal(summary("seed", { ...values, seed: null }), "random");
  assert.equal(summary("seed", { ...values, seed: 0, extra: true }), "0 · variation 0.3");
  assert.equal(summary("seed", { ...values, seed: 7, extra: true, subseed_strength: 0 }), "7");
});
