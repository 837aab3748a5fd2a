"""A1111's grid for the DDIM family, and where its img2img starts."""

import pytest
import torch

from modules.sampling.discrete import DiscreteNoise
from modules.sampling.noise import ImageNoise
from modules.sampling.registry import levels, partial_range, resolve
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import SamplerOptions
from modules.sampling.timesteps import cut, grid, noised, unipc_levels

MODEL = DiscreteNoise.scaled_linear()


def numbers(sigmas: torch.Tensor) -> list[int]:
    return [round(t) for t in MODEL.sigma_to_t(sigmas).tolist()]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (5, [801, 601, 401, 201, 1]),
        (6, [997, 831, 665, 499, 333, 167, 1]),
        (1, [1]),
        (1000, [999, 999, 998, 997]),
        (2000, [999, 999, 998, 997]),
    ],
)
def test_the_grid_counts_up_from_1_by_1000_over_steps(steps: int, expected: list[int]) -> None:
    assert numbers(grid(steps, MODEL, ScheduleOptions()))[: len(expected)] == expected


def test_20_steps_at_075_noise_at_751_and_call_the_model_first_at_701() -> None:
    sigma, sigmas = cut(grid(20, MODEL, ScheduleOptions()), 15)
    assert numbers(torch.tensor([sigma])) == [751]
    assert (numbers(sigmas)[0], len(sigmas) - 1) == (701, 14)


@pytest.mark.parametrize(("t_enc", "calls"), [(0, 0), (1, 0), (2, 1), (19, 18)])
def test_low_strengths_make_no_call_at_all(t_enc: int, calls: int) -> None:
    sampler, schedule = resolve("DDIM")
    whole = levels(sampler, schedule, 20, MODEL, ScheduleOptions())
    walk = partial_range(sampler, whole, 20, t_enc, MODEL, SamplerOptions())
    assert max(0, len(walk.sigmas) - 1) == calls


def test_a_noised_picture_is_variance_preserving() -> None:
    original, noise = torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), 2.0)
    alpha = 1 / (1 + 1.5**2)
    assert float(noised(original, noise, 1.5)) == pytest.approx(alpha**0.5 * 3 + (1 - alpha) ** 0.5 * 2)


@pytest.mark.parametrize(
    ("start", "skip_type", "expected"),
    [
        (None, "time_uniform", [999, 666, 333, 0]),
        (None, "time_quadratic", [999, 458, 125, 0]),
        (None, "logSNR", [999, 538, 52, 0]),
        (301, "time_uniform", [301, 201, 100, 0]),
    ],
)
def test_unipc_has_levels_of_its_own(start: int | None, skip_type: str, expected: list[int]) -> None:
    level = None if start is None else float(MODEL.t_to_sigma(torch.tensor(float(start))))
    assert numbers(unipc_levels(level, 3, MODEL, skip_type)) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("t_enc", [0, 1, 2, 3])
def test_unipc_works_where_a1111_stops_with_an_error(t_enc: int) -> None:
    sampler, schedule = resolve("UniPC")
    whole = levels(sampler, schedule, 20, MODEL, ScheduleOptions())
    walk = partial_range(sampler, whole, 20, t_enc, MODEL, SamplerOptions())
    noise = ImageNoise("CPU", (4, 8, 8), [1])
    steps = list(sampler.function(lambda x, sigma: x / 2, noise.first(), walk.sigmas, noise, walk.options))
    assert len(steps) == t_enc


def test_eta_1_of_ddim_draws_noise() -> None:
    sampler, _ = resolve("DDIM")
    noise = ImageNoise("CPU", (4, 8, 8), [1])
    x, sigmas = noise.first(), torch.tensor([2.0, 1.0])
    quiet, noisy = (
        next(iter(sampler.function(lambda x, sigma: x / 2, x, sigmas, noise, SamplerOptions(eta_ddim=eta)))).x
        for eta in (0.0, 1.0)
    )
    assert not torch.equal(quiet, noisy)
