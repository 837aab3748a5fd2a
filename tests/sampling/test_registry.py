"""Names and functions match; a pass gets its levels."""

import pytest
import torch

from modules.sampling.discrete import DiscreteNoise
from modules.sampling.registry import (
    SAMPLER_FUNCTIONS,
    SCHEDULE_FUNCTIONS,
    levels,
    partial_range,
    resolve,
    whole_range,
)
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import SamplerOptions
from modules.schema.sampler_names import SAMPLERS, SCHEDULES

MODEL = DiscreteNoise.scaled_linear()


def test_every_name_has_a_function_and_every_function_a_name() -> None:
    assert list(SAMPLER_FUNCTIONS) == [row.name for row in SAMPLERS]
    assert list(SCHEDULE_FUNCTIONS) == [row.name for row in SCHEDULES]
    assert (len(SAMPLERS), len(SCHEDULES)) == (20, 12)


def test_sampler_options_named_in_the_table_exist() -> None:
    known = set(SamplerOptions.__dataclass_fields__)
    assert {option for row in SAMPLERS for option in row.options} <= known


@pytest.mark.parametrize(
    ("sampler", "schedule", "expected"),
    [
        ("DPM++ 2M", "Automatic", [14.6146, 3.1686, 0.4469, 0.0292, 0.0]),  # Karras
        ("DPM++ 2M SDE", "Automatic", [14.6146, 1.8400, 0.2317, 0.0292, 0.0]),  # Exponential
        ("Euler", "Automatic", [14.6146, 2.9183, 0.9324, 0.0292, 0.0]),  # Uniform
        ("DPM2", "Exponential", [14.6146, 3.0880, 0.6530, 0.1380, 0.0]),  # one more, and the one before 0 dropped
        ("LCM", "Automatic", [14.6146, 2.9911, 0.9728, 0.1345, 0.0]),
        ("DDIM", "Karras", [4.1167, 1.6237, 0.6984, 0.0413]),  # its own grid, whatever the schedule
    ],
)
def test_levels_of_4_steps(sampler: str, schedule: str, expected: list[float]) -> None:
    rows = resolve(sampler, schedule)
    assert levels(*rows, 4, MODEL, ScheduleOptions()).tolist() == pytest.approx(expected, abs=2e-3)


def test_the_option_drops_the_next_to_last_level_for_every_sampler() -> None:
    options = ScheduleOptions(always_discard_next_to_last_sigma=True)
    kept = levels(*resolve("Euler"), 4, MODEL, options)
    assert kept.tolist() == pytest.approx([14.6146, 4.0861, 1.6156, 0.6952, 0.0], abs=1e-3)


def test_img2img_walks_the_end_of_the_schedule() -> None:
    sampler, schedule = resolve("Euler")
    whole = levels(sampler, schedule, 20, MODEL, ScheduleOptions())
    walk = partial_range(sampler, whole, 20, 15, MODEL, SamplerOptions())
    assert torch.equal(walk.sigmas, whole[4:])
    assert walk.sigma == pytest.approx(4.8557, abs=1e-4)


def test_txt2img_of_dpm_fast_walks_the_models_range_whatever_the_schedule() -> None:
    sampler, schedule = resolve("DPM fast", "SGM Uniform")
    whole = levels(sampler, schedule, 5, MODEL, ScheduleOptions())
    options = whole_range(sampler, whole, 5, MODEL, SamplerOptions()).options
    assert (options.sigma_range, options.evaluations) == ((MODEL.sigma_min, MODEL.sigma_max), 5)
