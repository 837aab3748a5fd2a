"""Samplers against closed forms: order of convergence, spread of the result, batches, interruption."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from modules.sampling.denoise import Denoise, Split, SplitDenoise
from modules.sampling.discrete import DiscreteNoise
from modules.sampling.noise import BrownianNoise, ImageNoise
from modules.sampling.registry import levels, resolve, whole_range
from modules.sampling.samplers import ancestral_step, multistep_coefficients, restart_steps
from modules.sampling.schedules import ScheduleOptions, karras_levels
from modules.sampling.step import Noise, SamplerOptions, Step
from modules.schema.sampler_names import SAMPLERS

MEAN, STD = 0.3, 0.5  # of the normal distribution from which all latents of this test are drawn
HIGH, LOW = 10.0, 0.1
NAMES = [row.name for row in SAMPLERS]


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    """The exact prediction: the mean of the possible values of x."""
    variance = sigma.square().view(-1, 1, 1, 1)
    return (STD**2 * x + variance * MEAN) / (STD**2 + variance)


def flow(x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """The exact solution of the probability flow from one level to another."""
    return MEAN + (x - MEAN) * math.sqrt((STD**2 + sigma_next**2) / (STD**2 + sigma**2))


def no_noise(sigma: float, sigma_next: float) -> Tensor:
    raise AssertionError("a deterministic run asked for noise")


def unguided(denoise: Denoise) -> SplitDenoise:
    """The unconditional prediction equals the guided one."""

    def both(x: Tensor, sigma: Tensor) -> Split:
        denoised = denoise(x, sigma)
        return Split(denoised, denoised)

    return both


def error(name: str, n: int) -> float:
    """Largest error of n deterministic steps, even in log sigma, in fp64; without a final 0, where the order cannot
    show.
    """
    sampler, _ = resolve(name)
    sigmas = torch.logspace(math.log10(HIGH), math.log10(LOW), n + 1, dtype=torch.float64)
    x = torch.linspace(-20, 20, 16, dtype=torch.float64).view(1, 1, 4, 4)
    # With this data, CFG++ without guidance is DDIM.
    options = SamplerOptions(eta=0.0, sigma_range=(LOW, HIGH), split=unguided(denoise))
    scale_in, scale_out = (math.sqrt(1 + s**2) if sampler.row.timesteps else 1.0 for s in (HIGH, LOW))
    *_, step = sampler.function(denoise, x / scale_in, sigmas, no_noise, options)
    return float((step.x * scale_out - flow(x, HIGH, LOW)).abs().max())


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("DPM++ 2M", 2),
        ("DPM++ SDE", 2),
        ("DPM++ 2M SDE", 2),
        ("DPM++ 2M SDE Heun", 2),
        ("DPM++ 2S a", 2),
        ("DPM++ 3M SDE", 2),  # of order 3 except in its first steps
        ("Euler a", 1),
        ("Euler", 1),
        ("LMS", 3.5),  # of order 4 except in its first steps
        ("Heun", 2),
        ("DPM2", 2),
        ("DPM2 a", 2),
        ("DPM fast", 3),
        ("DDIM", 1),
        ("DDIM CFG++", 1),
        ("PLMS", 2),
        ("UniPC", 2),  # of order 3 except in its first step
    ],
)
def test_error_falls_with_the_order_of_the_method(name: str, order: float) -> None:
    assert math.log2(error(name, 32) / error(name, 128)) / 2 == pytest.approx(order, abs=0.25)


def test_dpm_adaptive_keeps_to_its_tolerance() -> None:
    assert error("DPM adaptive", 1) < 0.05 * 20


def test_restart_without_intervals_is_heun() -> None:
    assert error("Restart", 16) == error("Heun", 16)


def run(name: str, seeds: list[int], steps: int = 30, size: int = 8) -> list[Step]:
    """A txt2img run on this data with A1111's schedule, one image per seed."""
    sampler, schedule = resolve(name)
    model = DiscreteNoise.scaled_linear()
    whole = levels(sampler, schedule, steps, model, ScheduleOptions())
    walk = whole_range(sampler, whole, steps, model, SamplerOptions(split=unguided(denoise)))

    def predicted(x: Tensor, sigma: Tensor) -> Tensor:
        # A latent consistency model returns the end of the flow, not the mean of the possible values.
        return flow(x, float(sigma[0]), 0.0) if sampler.row.lcm else denoise(x, sigma)

    image_noise = ImageNoise("CPU", (4, size, size), seeds)
    x = image_noise.first() * (1.0 if sampler.row.timesteps else walk.sigma)
    ends = (float(whole[whole > 0].min()), float(whole.max()))
    noise: Noise = BrownianNoise("CPU", (4, size, size), seeds, *ends) if sampler.row.brownian else image_noise
    return list(sampler.function(predicted, x, walk.sigmas, noise, walk.options))


@pytest.mark.parametrize("name", NAMES)
def test_the_result_has_the_spread_of_the_data(name: str) -> None:
    x = run(name, [1], steps=40, size=32)[-1].x
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.05)
    assert float(x.std()) == pytest.approx(STD, abs=0.05)


# DPM adaptive measures its error over the whole batch, as k-diffusion does.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "DPM adaptive"])
def test_a_batch_equals_its_singles(name: str) -> None:
    batch = run(name, [5, 6], steps=6)[-1].x
    singles = torch.cat([run(name, [seed], steps=6)[-1].x for seed in (5, 6)])
    assert torch.equal(batch, singles)


@pytest.mark.parametrize("name", NAMES)
def test_latents_stay_fp32_and_steps_are_numbered(name: str) -> None:
    steps = run(name, [1], steps=5)
    assert [step.i for step in steps] == list(range(len(steps)))
    assert {(step.x.dtype, step.denoised.dtype) for step in steps} == {(torch.float32, torch.float32)}
    assert {step.x.shape for step in steps} == {(1, 4, 8, 8)}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_walk_yields_no_step(name: str) -> None:
    sampler, _ = resolve(name)
    x = torch.zeros(1, 4, 8, 8)
    options = SamplerOptions(split=lambda x, sigma: Split(x, x))
    assert list(sampler.function(denoise, x, torch.tensor([1.0]), no_noise, options)) == []


def test_whoever_stops_iterating_has_interrupted_the_sampler() -> None:
    sampler, _ = resolve("Heun")
    calls: list[float] = []

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(float(sigma[0]))
        return denoise(x, sigma)

    steps = sampler.function(
        counted, torch.ones(1, 1, 2, 2), torch.tensor([4.0, 2.0, 1.0, 0.0]), no_noise, SamplerOptions()
    )
    step = next(iter(steps))
    assert calls == [4.0, 2.0]
    assert step.sigma == 4.0


@pytest.mark.parametrize(
    ("steps", "calls"),
    [
        ("DPM++ 2M", 20),
        ("DPM++ SDE", 39),
        ("Heun", 39),
        ("DPM2", 39),
        ("DDIM", 19),
        ("PLMS", 20),
        ("UniPC", 20),
        ("LCM", 20),
    ],
)
def test_calls_of_the_model_in_20_steps(steps: str, calls: int) -> None:
    sampler, schedule = resolve(steps)
    model = DiscreteNoise.scaled_linear()
    walk = whole_range(sampler, levels(sampler, schedule, 20, model, ScheduleOptions()), 20, model, SamplerOptions())
    count = 0

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return denoise(x, sigma)

    list(
        sampler.function(
            counted, torch.ones(1, 1, 2, 2), walk.sigmas, lambda a, b: torch.zeros(1, 1, 2, 2), walk.options
        )
    )
    assert count == calls


def test_churn_raises_levels_only_inside_its_window() -> None:
    requested: list[float] = []

    def noted(x: Tensor, sigma: Tensor) -> Tensor:
        requested.append(round(float(sigma[0]), 4))
        return denoise(x, sigma)

    sampler, _ = resolve("Euler")
    options = SamplerOptions(s_churn=1.0, s_tmin=0.5, s_tmax=3.0)
    sigmas = torch.tensor([4.0, 2.0, 1.0, 0.25, 0.0])
    list(sampler.function(noted, torch.ones(1, 1, 2, 2), sigmas, lambda a, b: torch.zeros(1, 1, 2, 2), options))
    assert requested == [4.0, 2.5, 1.25, 0.25]


@pytest.mark.parametrize(
    ("sigma", "sigma_next", "eta", "down", "up"),
    [(2.0, 1.0, 0.0, 1.0, 0.0), (2.0, 1.0, 1.0, 0.5, 0.75**0.5), (2.0, 0.0, 1.0, 0.0, 0.0), (2.0, 1.0, 9.0, 0.0, 1.0)],
)
def test_ancestral_step_splits_the_next_level(
    sigma: float, sigma_next: float, eta: float, down: float, up: float
) -> None:
    assert ancestral_step(sigma, sigma_next, eta) == pytest.approx((down, up))


def test_multistep_coefficients_integrate_cubics_exactly() -> None:
    s = [5.0, 4.0, 2.5, 2.0, 0.5]
    for power in range(4):
        exact = (s[4] ** (power + 1) - s[3] ** (power + 1)) / (power + 1)
        found = sum(c * s[3 - j] ** power for j, c in enumerate(multistep_coefficients(s, 3, 4)))
        assert found == pytest.approx(exact)


@pytest.mark.parametrize(
    ("steps", "walked", "ways_up"), [(19, 19, 0), (20, 20, 1), (35, 35, 1), (36, 36, 2), (50, 50, 2)]
)
def test_restart_goes_back_up_from_20_and_36_steps_on(steps: int, walked: int, ways_up: int) -> None:
    pairs = restart_steps(karras_levels(steps, 0.03, 14.6))
    assert len(pairs) == walked
    assert sum(b[0] > a[1] for a, b in itertools.pairwise(pairs)) == ways_up
