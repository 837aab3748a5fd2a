"""What the samplers themselves cost, without a model, and what reading a prompt costs.

    python -m tests.bench.bench_samplers [--pixels 256] [--step-ms 120]

One JSON line a case, processor time on one thread: `sampler` with milliseconds a step (arithmetic and step noise), and
its share of a step when `--step-ms` tells what a forward pass takes; `prompts` with the slowest and the median of
10 000 random prompts of up to 400 symbols, each read whole for 20 steps.
"""

import argparse
import json
import random
import statistics
import time
from typing import Any

import torch
from torch import Tensor

from modules.prompts.attention import parse_attention
from modules.prompts.schedule import composition, schedule, timing, without_comments
from modules.prompts.tags import take_tags
from modules.sampler_names import SAMPLERS
from modules.sampling.discrete import ModelSchedule
from modules.sampling.noise import BrownianNoise, ImageNoise
from modules.sampling.registry import levels, resolve, whole_walk
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import Noise, SamplerOptions

STEPS = 20
REPEATS = 5
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
    costs = prompt_ms(random.Random(5), 10_000)
    report("prompts", median_ms=round(statistics.median(costs), 3), slowest_ms=round(max(costs), 3))


def sampler_step_ms(name: str, size: int) -> float:
    """Processor milliseconds a step of txt2img, noise included, with a denoiser that costs nothing."""
    sampler, default = resolve(name)
    model = ModelSchedule.scaled_linear()
    whole = levels(sampler, default, STEPS, model, ScheduleOptions())
    walk = whole_walk(sampler, whole, STEPS, model, SamplerOptions(uncond=lambda: answer))
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


def prompt_ms(random_source: random.Random, count: int) -> list[float]:
    costs: list[float] = []
    for _ in range(count):
        prompt = "".join(random_source.choice(SYMBOLS) for _ in range(random_source.randint(0, 400)))
        begun = time.process_time()
        text, _ = take_tags(without_comments(prompt))
        for part in composition(text):
            for stage in schedule(part.text, timing(STEPS)):
                parse_attention(stage.text)
        costs.append(1e3 * (time.process_time() - begun))
    return costs


def report(case: str, **values: Any) -> None:
    print(json.dumps({"case": case, **values}))


if __name__ == "__main__":
    main()
