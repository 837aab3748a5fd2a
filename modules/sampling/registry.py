"""Names to functions: a row for each sampler and schedule of `schema.sampler_names`, and the levels a pass walks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from modules.sampling import samplers, schedules, timesteps
from modules.sampling.discrete import ModelSchedule
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
    """A schedule's name, and its function; None for Automatic, which asks the sampler."""

    row: ScheduleName
    function: Schedule | None

    @property
    def name(self) -> str:
        return self.row.name


SAMPLER_FUNCTIONS: dict[str, Sampler] = {
    "DPM++ 2M": samplers.dpmpp_2m,
    "DPM++ SDE": samplers.dpmpp_sde,
    "DPM++ 2M SDE": samplers.dpmpp_2m_sde,
    "DPM++ 2M SDE Heun": samplers.dpmpp_2m_sde_heun,
    "DPM++ 2S a": samplers.dpmpp_2s_ancestral,
    "DPM++ 3M SDE": samplers.dpmpp_3m_sde,
    "Euler a": samplers.euler_ancestral,
    "Euler": samplers.euler,
    "LMS": samplers.lms,
    "Heun": samplers.heun,
    "DPM2": samplers.dpm2,
    "DPM2 a": samplers.dpm2_ancestral,
    "DPM fast": samplers.dpm_fast,
    "DPM adaptive": samplers.dpm_adaptive,
    "Restart": samplers.restart,
    "DDIM": timesteps.ddim,
    "DDIM CFG++": timesteps.ddim_cfgpp,
    "PLMS": timesteps.plms,
    "UniPC": timesteps.unipc,
    "LCM": samplers.lcm,
}

# A schedule that is longer than the model's table may repeat a level; these samplers divide by the distance of two.
DIVIDE_BY_THE_STEP = frozenset({"DPM++ 2M", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE", "LMS"})

SCHEDULE_FUNCTIONS: dict[str, Schedule | None] = {
    "Automatic": None,
    "Uniform": schedules.uniform,
    "Karras": schedules.karras,
    "Exponential": schedules.exponential,
    "Polyexponential": schedules.polyexponential,
    "SGM Uniform": schedules.sgm_uniform,
    "KL Optimal": schedules.kl_optimal,
    "Align Your Steps": schedules.align_your_steps,
    "Simple": schedules.simple,
    "Normal": schedules.normal,
    "DDIM": schedules.ddim,
    "Beta": schedules.beta,
}


def resolve(sampler: str, schedule: str = "Automatic") -> tuple[SamplerRow, ScheduleRow]:
    """The rows that two texts name; rules and errors are those of `sampler_names.resolve_names`."""
    sampler_name, schedule_name = sampler_names.resolve_names(sampler, schedule)
    return (
        SamplerRow(sampler_name, SAMPLER_FUNCTIONS[sampler_name.name]),
        ScheduleRow(schedule_name, SCHEDULE_FUNCTIONS[schedule_name.name]),
    )


def levels(
    sampler: SamplerRow,
    schedule: ScheduleRow,
    steps: int,
    model: ModelSchedule,
    options: ScheduleOptions,
    first: int = 0,
) -> Tensor:
    """The noise levels of a whole pass, (n + 1,) fp32 on the CPU; img2img walks their end, from the level `first` on.

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
    sampler: SamplerRow, schedule: ScheduleRow, steps: int, model: ModelSchedule, options: ScheduleOptions
) -> float:
    """The first of the `levels`, without the others."""
    if sampler.row.timesteps:
        return float(timesteps.grid(steps, model, options)[0])
    is_discarding = sampler.row.discard_next_to_last_sigma or options.always_discard_next_to_last_sigma
    function, model = _function(sampler, schedule), _own(sampler, model)
    return float(function(steps + is_discarding, model, options, slice(0, 1))[0])


def _function(sampler: SamplerRow, schedule: ScheduleRow) -> Schedule:
    if schedule.function is not None:
        return schedule.function
    return SCHEDULE_FUNCTIONS[sampler.row.default_schedule or "Uniform"] or schedules.uniform


def _own(sampler: SamplerRow, model: ModelSchedule) -> ModelSchedule:
    return model.lcm() if sampler.row.lcm else model


@dataclass(frozen=True)
class Walk:
    """What a sampler is to be given: the level its picture is noised to, the levels to walk, and the options."""

    sigma: float
    sigmas: Tensor
    options: SamplerOptions


def whole_walk(sampler: SamplerRow, whole: Tensor, steps: int, model: ModelSchedule, options: SamplerOptions) -> Walk:
    """The walk of txt2img over `whole`, the `levels` of so many steps.

    DPM fast and DPM adaptive walk the model's whole range and count its steps, whatever the schedule.
    """
    if sampler.name == "UniPC":
        whole = timesteps.unipc_levels(None, len(whole), model, options.uni_pc_skip_type)
    options = replace(options, sigma_range=(model.sigma_min, model.sigma_max), evaluations=steps)
    return Walk(float(whole[0]), whole, options)


def partial_walk(
    sampler: SamplerRow, whole: Tensor, steps: int, t_enc: int, model: ModelSchedule, options: SamplerOptions
) -> Walk:
    """The walk of img2img over the end of `whole`, from A1111's step index `t_enc` (0 … steps - 1)."""
    if not sampler.row.timesteps:
        sigmas = whole[steps - t_enc - 1 :]
        if sampler.name in DIVIDE_BY_THE_STEP:
            sigmas = sigmas.unique_consecutive()
        return Walk(float(sigmas[0]), sigmas, options)
    sigma, sigmas = timesteps.cut(whole, t_enc)
    if sampler.name == "UniPC" and len(sigmas):
        sigmas = timesteps.unipc_levels(float(sigmas[0]), len(sigmas), model, options.uni_pc_skip_type)
    return Walk(sigma, sigmas, options)
