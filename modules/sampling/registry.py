"""From a row of `schema.sampler_names` to its function, and the noise levels of a pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import cast

from torch import Tensor

from modules.sampling import samplers, schedules, timesteps
from modules.sampling.noise_model import NoiseModel
from modules.sampling.schedules import Schedule, ScheduleOptions
from modules.sampling.step import Sampler, SamplerOptions
from modules.schema import sampler_names
from modules.schema.sampler_names import SamplerName, ScheduleName


@dataclass(frozen=True)
class SamplerRow:
    """A sampler's name with its flags, and its function."""

    row: SamplerName
    function: Sampler

    @property
    def name(self) -> str:
        return self.row.name


@dataclass(frozen=True)
class ScheduleRow:
    """A schedule's name and function; None for Automatic, which uses the sampler's default."""

    row: ScheduleName
    function: Schedule | None

    @property
    def name(self) -> str:
        return self.row.name


MODULES = MappingProxyType({"samplers": samplers, "timesteps": timesteps})


def _sampler(row: SamplerName) -> Sampler:
    module, _, function = row.function.partition(".")
    return cast(Sampler, getattr(MODULES[module], function))


def _schedule(row: ScheduleName) -> Schedule | None:
    return cast(Schedule, getattr(schedules, row.function)) if row.function else None


SAMPLER_FUNCTIONS = MappingProxyType({row.name: _sampler(row) for row in sampler_names.SAMPLERS})
SCHEDULE_FUNCTIONS = MappingProxyType({row.name: _schedule(row) for row in sampler_names.SCHEDULES})


def resolve(sampler: str, schedule: str = "Automatic") -> tuple[SamplerRow, ScheduleRow]:
    """The rows for a sampler's and a schedule's name, by the rules and errors of `sampler_names.resolve_names`."""
    sampler_name, schedule_name = sampler_names.resolve_names(sampler, schedule)
    return (
        SamplerRow(sampler_name, SAMPLER_FUNCTIONS[sampler_name.name]),
        ScheduleRow(schedule_name, SCHEDULE_FUNCTIONS[schedule_name.name]),
    )


def levels(
    sampler: SamplerRow,
    schedule: ScheduleRow,
    steps: int,
    model: NoiseModel,
    options: ScheduleOptions,
    first: int = 0,
) -> Tensor:
    """The noise levels of a whole pass, (n + 1,) fp32 on the CPU; img2img takes their end, from the level `first` on.

    `model` is the checkpoint's own schedule (a sampler with the flag `lcm` gets its `lcm()`). Of the DDIM family the
    list is `timesteps.grid`, whatever the schedule, and always whole: it has no more entries than the model levels.
    """
    if sampler.row.timesteps:
        return timesteps.grid(steps, model, options)
    is_discarding = sampler.row.discard_next_to_last_sigma or options.always_discard_next_to_last_sigma
    function, model = _function(sampler, schedule), _own(sampler, model)
    sigmas = function(steps + is_discarding, model, options, slice(first, None))
    return schedules.without_next_to_last(sigmas) if is_discarding else sigmas


def highest(
    sampler: SamplerRow, schedule: ScheduleRow, steps: int, model: NoiseModel, options: ScheduleOptions
) -> float:
    """Only the first of the `levels`."""
    if sampler.row.timesteps:
        return float(timesteps.grid(steps, model, options)[0])
    is_discarding = sampler.row.discard_next_to_last_sigma or options.always_discard_next_to_last_sigma
    function, model = _function(sampler, schedule), _own(sampler, model)
    return float(function(steps + is_discarding, model, options, slice(0, 1))[0])


def _function(sampler: SamplerRow, schedule: ScheduleRow) -> Schedule:
    if schedule.function is not None:
        return schedule.function
    return SCHEDULE_FUNCTIONS[sampler.row.default_schedule or "Uniform"] or schedules.uniform


def _own(sampler: SamplerRow, model: NoiseModel) -> NoiseModel:
    return model.lcm() if sampler.row.lcm else model


@dataclass(frozen=True)
class SigmaRange:
    """A sampler's input: the level its picture is noised to, the levels of its steps, and its options."""

    sigma: float
    sigmas: Tensor
    options: SamplerOptions


def whole_range(
    sampler: SamplerRow, whole: Tensor, steps: int, model: NoiseModel, options: SamplerOptions
) -> SigmaRange:
    """The range of txt2img: all of `whole`, the levels of `steps` steps.

    DPM fast and DPM adaptive cover the model's whole range and count its steps, whatever the schedule.
    """
    if sampler.row.has_own_levels:
        whole = timesteps.unipc_levels(None, len(whole), model, options.uni_pc_skip_type)
    options = replace(options, sigma_range=(model.sigma_min, model.sigma_max), evaluations=steps)
    return SigmaRange(float(whole[0]), whole, options)


def partial_range(
    sampler: SamplerRow, whole: Tensor, steps: int, t_enc: int, model: NoiseModel, options: SamplerOptions
) -> SigmaRange:
    """The range of img2img, the end of `whole`, from A1111's step index `t_enc` (0 … steps - 1)."""
    if not sampler.row.timesteps:
        sigmas = whole[steps - t_enc - 1 :]
        if sampler.row.divides_by_step:
            sigmas = sigmas.unique_consecutive()
        return SigmaRange(float(sigmas[0]), sigmas, options)
    sigma, sigmas = timesteps.cut(whole, t_enc)
    if sampler.row.has_own_levels and len(sigmas):
        sigmas = timesteps.unipc_levels(float(sigmas[0]), len(sigmas), model, options.uni_pc_skip_type)
    return SigmaRange(sigma, sigmas, options)
