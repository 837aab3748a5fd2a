import assert from "node:assert/strict";
import { test } from "node:test";

import {
  about,
  blank,
  drawn,
  restored,
  summary,
  toWire,
  withModule,
  withType,
} from "../../../modules/ui/assets/js/control/units.js";

const DECLARED = [
  { name: "module", default: "none" },
  { name: "model", default: "None" },
  { name: "weight", default: 1 },
];
const unit = (values = {}) => ({ ...blank(DECLARED), ...values });
const picture = (id) => ({ id, width: 9, height: 9 });

test("a request has the enabled units, and each picture once", () => {
  const units = [
    unit({ module: "canny", model: "lines [0123abcd]", picture: picture("aa") }),
    unit({ enabled: false, picture: picture("bb") }),
    unit({ weight: 0.5 }),
    unit({ picture: picture("cc") }),
    unit({ picture: picture("aa") }),
  ];
  const { controlnet, control_images } = toWire(units);
  assert.deepEqual(control_images, ["aa", "cc"]);
  assert.deepEqual(
    controlnet.map((one) => one.image),
    [0, null, 1, 0],
  );
  assert.deepEqual(controlnet[1], {
    module: "none",
    model: "None",
    weight: 0.5,
    processor_res: -1,
    threshold_a: -1,
    threshold_b: -1,
    image: null,
  });
});

test("a request without enabled units says nothing about units, one without pictures nothing about pictures", () => {
  assert.deepEqual(toWire([]), {});
  assert.deepEqual(toWire([unit({ enabled: false })]), {});
  assert.deepEqual(Object.keys(toWire([unit()])), ["controlnet"]);
});

test("a text's units take the form's place; a text without any switches these off; prompts leave them", () => {
  const now = [unit({ weight: 0.3 })];
  const read = [{ module: "canny", enabled: true, picture: null }];
  assert.deepEqual(restored(now, read).controlnet, [
    { enabled: true, type: "All", preview: false, picture: null, sees: "Source", module: "canny" },
  ]);
  assert.deepEqual(restored(now, []).controlnet, [{ ...now[0], enabled: false }]);
  assert.deepEqual(restored(now, null), {});
  assert.deepEqual(restored(now, undefined), {});
});

test("another preprocessor starts with its own numbers; a control type sets its own pair, but takes no model away", () => {
  const canny = unit({ module: "canny", threshold_a: 50, processor_res: 768, model: "mine" });
  assert.deepEqual(withModule(canny, "blur"), { ...canny, module: "blur", threshold_a: -1, processor_res: -1 });
  const typed = withType(canny, "Depth", { default_option: "none", default_model: "None" });
  assert.deepEqual([typed.type, typed.module, typed.model], ["Depth", "none", "mine"]);
  const lines = drawn(canny);
  assert.deepEqual([lines.sees, lines.module, lines.threshold_a, lines.model], ["Painted lines", "none", -1, "mine"]);
  assert.equal(withType(canny, "Tile", { default_option: "tile", default_model: "t" }).model, "t");
});

test("a heading names what acts", () => {
  const canny = unit({ module: "canny", model: "lines [0123abcd]", weight: 0.5 });
  assert.equal(about(canny), "canny · lines · × 0.5");
  assert.equal(about(unit()), "no model");
  assert.deepEqual(summary([]), ["off"]);
  assert.deepEqual(summary([{ ...canny, enabled: false }]), ["off"]);
  assert.deepEqual(summary([canny]), ["canny · lines · × 0.5"]);
  assert.deepEqual(summary([canny, unit({ model: "depth" })]), ["2 units", "lines", "depth"]);
});
