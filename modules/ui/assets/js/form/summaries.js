// What the heading of a folded group says.

import { summary as ofUnits } from "../control/units.js";

const pictures = (count, size) => (count * size === 1 ? "" : `${count * size} pictures`);

// `values` are the form's, by name.
const SUMMARIES = {
  sampling: ({ sampler_name, scheduler, steps }) => [
    scheduler === "Automatic" ? sampler_name : `${sampler_name} ${scheduler}`,
    `${steps} ${steps === 1 ? "step" : "steps"}`,
  ],
  size: ({ size_tab, resize_by, width, height, n_iter, batch_size }) => [
    size_tab === "by" ? `source × ${resize_by}` : `${width} × ${height}`,
    pictures(n_iter, batch_size),
  ],
  seed: ({ seed, extra, subseed_strength }) => [
    seed === null || seed < 0 ? "random" : String(seed),
    extra && subseed_strength > 0 ? `variation ${subseed_strength}` : "",
  ],
  control: ({ controlnet }) => ofUnits(controlnet),
};

export const summary = (name, values) => SUMMARIES[name](values).filter(Boolean).join(" · ");
