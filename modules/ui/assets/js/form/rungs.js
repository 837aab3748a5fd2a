// A ladder is one request at several values of one field, with one seed.

const STRENGTHS = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
const SCALES = [3, 5, 7, 9, 11];
const SEEDS = 4;
const LARGEST = 2 ** 32 - SEEDS;

export const LADDERS = {
  denoising_strength: { text: "Strength", title: "Make the picture at strengths 0.2 to 0.8, with one seed" },
  cfg_scale: { text: "CFG", title: "Make the picture at CFG scales 3 to 11, with one seed" },
  seed: { text: "4 seeds", title: "Make the picture with four seeds in a row" },
};

// The requests, highest value first: the newest picture is the first of the strip, which then rises to the right.
// chance: () => [0, 1), for the seed if it is random.
export function rungs(request, field, chance) {
  const isRandom = Number(request.seed) < 0;
  const seed = isRandom ? Math.floor(chance() * LARGEST) : request.seed;
  const one = { ...request, seed, n_iter: 1, batch_size: 1 };
  const values = {
    denoising_strength: STRENGTHS,
    cfg_scale: SCALES,
    seed: Array.from({ length: SEEDS }, (_, index) => after(seed, index)),
  };
  return values[field].toReversed().map((value) => ({
    request: { ...one, [field]: value },
    label: field === "seed" ? "" : String(value),
  }));
}

// Seeds above 2^53 are strings of digits.
const after = (seed, by) => (typeof seed === "string" ? String(BigInt(seed) + BigInt(by)) : seed + by);
