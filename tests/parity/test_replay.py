"""Every sampler against runs of A1111 v1.10: its recorded denoiser answers, played back without a model.

`data/replay.json` names the requests; `data/replay.npz` holds for each pass the denoiser's inputs (`x`), noise levels
(`sigma`; timesteps for the DDIM family) and answers (`out`; eps for the DDIM family), and, if there are any,
the picture's latent (`start`), the latent mask (1 where it may change) and the final latents. Our noise, levels and
samplers must produce the same inputs, call by call.
"""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modules.sampling import timesteps
from modules.sampling.denoise import Split, SplitDenoise, joined, masked_input, split
from modules.sampling.discrete import DiscreteNoise
from modules.sampling.noise import BrownianNoise, ImageNoise
from modules.sampling.registry import SamplerRow, SigmaRange, levels, partial_range, resolve, whole_range
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import Noise, SamplerOptions

DATA = Path(__file__).parent / "data"
CASES: list[dict[str, Any]] = json.loads((DATA / "replay.json").read_text())
SLACK = {"Restart": 5e-3}  # relative to the latent's standard deviation; SDE samplers too
NEAR = 0.05  # timesteps: UniPC's log-alpha interpolation against our log-sigma one, between two timesteps


@dataclass
class Played:
    """How far one pass is from its recording: largest differences, relative to the recording's standard deviation."""

    calls: int = 0
    level: float = 0.0
    x: float = 0.0
    final: float = 0.0


class Recording:
    """A denoiser that answers as A1111's did, and records how far its input is from the recorded one."""

    def __init__(self, arrays: dict[str, Tensor], sampler: SamplerRow, model: DiscreteNoise) -> None:
        self.arrays = arrays
        self.is_preserving = sampler.row.timesteps
        self.model = model
        self.played = Played()

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        i = self.played.calls
        assert i < len(self.arrays["x"]), f"asks the model more than {i} times"
        level = self.arrays["sigma"][i]
        if self.is_preserving:
            self.played.level = max(self.played.level, float((self.model.sigma_to_t(sigma[0]) - level).abs()) / 1000)
            x = x / (1 + sigma[0] ** 2).sqrt()
        else:
            self.played.level = max(self.played.level, float((sigma[0] / level - 1).abs()))
        self.played.x = max(self.played.x, apart(x, self.arrays["x"][i]))
        self.played.calls += 1
        return self.denoised(i, float(sigma[0]))

    def denoised(self, i: int, sigma: float) -> Tensor:
        out = self.arrays["out"][i]
        return self.arrays["x"][i] * math.sqrt(1 + sigma**2) - sigma * out if self.is_preserving else out

    def uncond(self, walk: SigmaRange) -> Tensor:
        """CFG++'s unconditional prediction is not recorded: this is the one that leads from this recorded x to the
        next.
        """
        i = self.played.calls - 1
        sigma, sigma_next = (float(s) for s in walk.sigmas[i : i + 2])
        x_next = self.arrays["x"][i + 1] if i + 1 < len(self.arrays["x"]) else self.arrays["final"]
        exploding = x_next * math.sqrt(1 + sigma_next**2)
        eps = (exploding - self.denoised(i, sigma)) / sigma_next
        return self.arrays["x"][i] * math.sqrt(1 + sigma**2) - sigma * eps


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.std())


def play(case: dict[str, Any], arrays: dict[str, Tensor]) -> Played:
    sampler, schedule = resolve(case["sampler"], case["scheduler"])
    model = DiscreteNoise.scaled_linear()
    model = getattr(model, case["model"])() if "model" in case else model
    whole = levels(sampler, schedule, case["steps"], model, ScheduleOptions(**case.get("schedule_options", {})))
    walk = walk_of(case, sampler, whole, model, SamplerOptions(**case.get("sampler_options", {})))
    x, noise = begin(case, sampler, walk, whole, arrays)
    recording = Recording(arrays, sampler, model)
    denoise: SplitDenoise = split(recording)
    if "mask" in arrays and sampler.row.timesteps:  # the other samplers' answers were recorded with the mask applied
        denoise = masked_input(denoise, arrays["start"], arrays["mask"])

    def both(x: Tensor, sigma: Tensor) -> Split:
        return Split(denoise(x, sigma).x0, recording.uncond(walk))

    options = replace(walk.options, split=both)
    for step in sampler.function(joined(denoise), x, walk.sigmas, noise, options):
        x = step.x
    if "final" in arrays:
        blended = torch.lerp(arrays["start"], x, arrays["mask"]) if "mask" in arrays else x
        recording.played.final = apart(blended, arrays["final"])
    return recording.played


def walk_of(
    case: dict[str, Any], sampler: SamplerRow, whole: Tensor, model: DiscreteNoise, options: SamplerOptions
) -> SigmaRange:
    if case["t_enc"] is None:
        return whole_range(sampler, whole, case["steps"], model, options)
    return partial_range(sampler, whole, case["steps"], case["t_enc"], model, options)


def begin(
    case: dict[str, Any], sampler: SamplerRow, walk: SigmaRange, whole: Tensor, arrays: dict[str, Tensor]
) -> tuple[Tensor, Noise]:
    """(the latent that a pass starts from, its step noise)."""
    channels, height, width = arrays["x"].shape[2:]
    names = ("subseeds", "subseed_strength", "eta_noise_seed_delta")
    rest = {name: case[name] for name in names if name in case}
    if "seed_resize_from" in case:  # recorded in pixels
        rest["resized_from"] = tuple(pixels // 8 for pixels in case["seed_resize_from"])
    step_noise = ImageNoise(case["source"], (channels, height, width), case["seeds"], **rest)
    noise = step_noise.first()
    if case["t_enc"] is None:
        x = noise if sampler.row.timesteps else noise * walk.sigma
    elif sampler.row.timesteps:
        x = timesteps.noised(arrays["start"], noise, walk.sigma)
    else:
        x = arrays["start"] + noise * walk.sigma + noise * case.get("extra_noise", 0.0)
    if not sampler.row.brownian:
        return x, step_noise
    ends = float(whole[whole > 0].min()), float(whole.max())
    return x, BrownianNoise(case["source"], (channels, height, width), case["seeds"], *ends)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    with np.load(DATA / "replay.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """One line for each pass, printed when all have run (`pytest -m parity -s`)."""
    lines: list[str] = []
    yield lines
    head = f"{'case':36} {'sampler':18} {'calls':>5} {'level':>8} {'inputs':>8} {'final':>8}"
    sys.stdout.write("\n".join(["", head, *lines, ""]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['case']}.{case['image_pass']}")
def test_a_recorded_run_of_a1111_is_repeated_call_by_call(
    case: dict[str, Any], recorded: dict[str, Tensor], table: list[str]
) -> None:
    prefix = f"{case['case']}.{case['image_pass']}."
    arrays = {name.removeprefix(prefix): value for name, value in recorded.items() if name.startswith(prefix)}
    played = play(case, arrays)
    sampler, _ = resolve(case["sampler"])
    differences = f"{played.level:8.0e} {played.x:8.0e} {played.final:8.0e}"
    table.append(f"{prefix[:-1]:36} {case['sampler']:18} {played.calls:5} {differences}")
    tolerance = 5e-3 if sampler.row.brownian else SLACK.get(sampler.name, 1e-3)
    assert played.calls == len(arrays["x"])
    assert played.level <= (NEAR / 1000 if sampler.row.timesteps else 1e-5)
    assert played.x <= tolerance
    assert played.final <= tolerance
