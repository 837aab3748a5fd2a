"""What the samplers themselves cost, without a model, and what reading a prompt costs.

    python -m tests.bench.bench_samplers [--pixels 256] [--step-ms 120]

One JSON line a case, processor time on one thread: `sampler` with milliseconds a step (arithmetic and step noise), and
its share of a step when `--step-ms` tells what a forward pass takes; `prompts` with the slowest and the median of
10 000 prompts that hypothesis makes up, each read whole for 20 steps. One that takes over 50 ms ends the bench with its
text.
"""

import argparse
import json
import statistics
import time
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from modules.prompts.attention import parse_attention
from modules.prompts.schedule import composition, schedule, timing, without_comments
from modules.prompts.tags import take_tags
from modules.sampling.denoise import Split
from modules.sampling.discrete import DiscreteNoise
from modules.sampling.noise import BrownianNoise, ImageNoise
from modules.sampling.registry import levels, resolve, whole_range
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import Noise, SamplerOptions
from modules.schema.sampler_names import SAMPLERS

STEPS = 20
REPEATS = 5
PROMPTS, SLOWEST_MS = 10_000, 50.0
SYMBOLS = (
    *"()[]:|\\ \nab,<>", "0.5", "3", ":2]", "[a:b:3]", "[c|d]", " AND ", "1e9", "-1", "é", "#", "BREAK", "<lora:x:1>",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pixels", type=int, default=256, help="width and height (default: %(default)s)")
    parser.add_argument("--step-ms", type=float, help="milliseconds of a forward pass, for the share")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for row in SAMPLERS:
        step_ms = min(sampler_step_ms(row.name, options.pixels // 8) for _ in range(REPEATS))
        share = {"percent_of_step": round(100 * step_ms / options.step_ms, 2)} if options.step_ms else {}
        report("sampler", sampler=row.name, step_ms=round(step_ms, 3), **share)
    costs = prompt_ms()
    report("prompts", count=len(costs), median_ms=round(statistics.median(costs), 3), slowest_ms=round(max(costs), 3))


def sampler_step_ms(name: str, size: int) -> float:
    """Processor milliseconds per step of txt2img, including noise, with a denoiser that costs nothing."""
    sampler, default = resolve(name)
    model = DiscreteNoise.scaled_linear()
    whole = levels(sampler, default, STEPS, model, ScheduleOptions())
    walk = whole_range(sampler, whole, STEPS, model, SamplerOptions(split=lambda x, sigma: Split(answer, answer)))
    image_noise = ImageNoise("CPU", (4, size, size), [1])
    x = image_noise.first() * (1.0 if sampler.row.timesteps else walk.sigma)
    answer = torch.zeros_like(x)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return answer

    begun = time.process_time()
    noise: Noise = image_noise
    if sampler.row.brownian:
        noise = BrownianNoise("CPU", (4, size, size), [1], float(whole[whole > 0].min()), float(whole.max()))
    steps = sum(1 for _ in sampler.function(denoise, x, walk.sigmas, noise, walk.options))
    return 1e3 * (time.process_time() - begun) / steps


def prompt_ms() -> list[float]:
    """Processor milliseconds for each prompt."""
    costs: list[float] = []

    checks: list[Any] = list(HealthCheck)

    @settings(max_examples=PROMPTS, database=None, deadline=None, suppress_health_check=checks)
    @given(st.lists(st.sampled_from(SYMBOLS), max_size=400).map("".join) | st.text(max_size=1000))
    def read(prompt: str) -> None:
        cost = took_ms(prompt)
        if cost > SLOWEST_MS:  # sometimes garbage collection or the system takes a tenth of a second: read it again
            cost = min(took_ms(prompt) for _ in range(3))
        costs.append(cost)
        assert costs[-1] <= SLOWEST_MS, f"{costs[-1]:.1f} ms for {prompt!r}"

    parsed("(a:1.2) [b|c] AND [d:0.5]")
    read()
    return costs


def took_ms(prompt: str) -> float:
    begun = time.process_time()
    parsed(prompt)
    return 1e3 * (time.process_time() - begun)


def parsed(prompt: str) -> None:
    text, _ = take_tags(without_comments(prompt))
    for part in composition(text):
        for stage in schedule(part.text, timing(STEPS)):
            parse_attention(stage.text)


def report(case: str, **values: Any) -> None:
    print(json.dumps({"case": case, **values}))


if __name__ == "__main__":
    main()
