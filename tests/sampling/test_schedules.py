"""Schedules against A1111's values, and the effect of their options."""

from pathlib import Path

import numpy as np
import pytest
import torch

from modules.sampling import schedules
from modules.sampling.discrete import DiscreteNoise
from modules.sampling.schedules import Schedule, ScheduleOptions, beta_quantile

RECORDED = Path(__file__).parents[1] / "parity" / "data" / "sampling.npz"
MODEL = DiscreteNoise.scaled_linear()
SCHEDULES = {
    function.__name__: function
    for function in (
        schedules.uniform,
        schedules.karras,
        schedules.exponential,
        schedules.polyexponential,
        schedules.sgm_uniform,
        schedules.kl_optimal,
        schedules.align_your_steps,
        schedules.simple,
        schedules.normal,
        schedules.ddim,
        schedules.beta,
    )
}


@pytest.mark.parity
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_a1111s_for_every_recorded_step_count(name: str) -> None:
    with np.load(RECORDED) as recorded:
        counts = [int(key.rpartition("_")[2]) for key in recorded.files if key.startswith(f"sched_{name}_")]
        assert counts == [1, 2, 3, 5, 8, 10, 11, 20, 30, 50]
        for n in counts:
            sigmas = SCHEDULES[name](n, MODEL, ScheduleOptions())
            assert sigmas.dtype == torch.float32
            np.testing.assert_allclose(sigmas.numpy(), recorded[f"sched_{name}_{n}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "options", "expected"),
    [
        (schedules.karras, ScheduleOptions(sigma_min=0.5, sigma_max=8.0), [8.0, 2.2922, 0.5, 0.0]),
        (schedules.karras, ScheduleOptions(use_old_karras_scheduler_sigmas=True), [10.0, 1.4507, 0.1, 0.0]),
        (schedules.karras, ScheduleOptions(sigma_min=1.0, sigma_max=9.0, rho=1.0), [9.0, 5.0, 1.0, 0.0]),
        (schedules.exponential, ScheduleOptions(sigma_min=1.0, sigma_max=9.0), [9.0, 3.0, 1.0, 0.0]),
        (schedules.polyexponential, ScheduleOptions(sigma_min=1.0, sigma_max=16.0, rho=2.0), [16.0, 2.0, 1.0, 0.0]),
        (schedules.beta, ScheduleOptions(sigma_min=1.0, sigma_max=9.0), [9.0, 5.0, 1.0, 0.0]),
        (schedules.align_your_steps, ScheduleOptions(is_sdxl=True), [14.615, 0.862, 0.029, 0.0]),
        (schedules.uniform, ScheduleOptions(sigma_min=1.0), [14.6146, 1.6156, 0.0292, 0.0]),
    ],
)
def test_range_and_rho_of_three_steps(schedule: Schedule, options: ScheduleOptions, expected: list[float]) -> None:
    assert schedule(3, MODEL, options).tolist() == pytest.approx(expected, abs=2e-3)


def test_kl_optimal_ends_at_sigma_min_and_all_others_at_zero() -> None:
    ends = {name: float(function(7, MODEL, ScheduleOptions())[-1]) for name, function in SCHEDULES.items()}
    assert {name for name, end in ends.items() if end} == {"kl_optimal"}


def test_ddim_has_more_entries_where_the_steps_do_not_divide_1000() -> None:
    assert len(schedules.ddim(11, MODEL, ScheduleOptions())) == 13


def test_the_next_to_last_entry_is_dropped() -> None:
    assert schedules.without_next_to_last(torch.tensor([3.0, 2.0, 1.0, 0.0])).tolist() == [3.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("p", "a", "b", "x"),
    [
        (0.0, 0.6, 0.6, 0.0),
        (1.0, 0.6, 0.6, 1.0),
        (0.5, 0.6, 0.6, 0.5),
        (0.3, 1.0, 1.0, 0.3),
        (0.36, 2.0, 1.0, 0.6),  # I_x(2, 1) = x²
        (0.875, 1.0, 3.0, 0.5),  # I_x(1, 3) = 1 - (1 - x)³
        (1 / 3, 0.5, 0.5, 0.25),  # arcsine: 2/π · asin √x
        (0.9, 200.0, 300.0, 0.428153),
    ],
)
def test_beta_quantiles(p: float, a: float, b: float, x: float) -> None:
    assert beta_quantile(p, a, b) == pytest.approx(x, abs=1e-6)
