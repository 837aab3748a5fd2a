"""One pass of a sampler: from noise, or from a picture's noised latent, to a finished latent."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modules.networks.model import Model
from modules.processing.plan import ImagePlan, Pass, Plan
from modules.sampling import timesteps
from modules.sampling.denoise import SplitDenoise, joined
from modules.sampling.flow import from_pure_noise
from modules.sampling.noise import BrownianNoise, ImageNoise
from modules.sampling.noise_model import NoiseModel, NoiseOptions
from modules.sampling.registry import SamplerRow, SigmaRange, highest, levels, partial_range, resolve, whole_range
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import Noise, SamplerOptions, Step
from modules.schema.families import SDXL_TRAITS
from modules.schema.settings import Settings


@dataclass(frozen=True)
class PassSchedule:
    """What the batches of a job share in one pass.

    noise: the model's noise model, as changed by settings and sampler.  ends: the lowest level above 0 and the highest
    finite one of the whole schedule.  range: the steps that are taken; `is_partial` if it starts from a picture instead
    of plain noise.
    """

    sampler: SamplerRow
    noise: NoiseModel
    ends: tuple[float, float]
    range: SigmaRange
    is_partial: bool


def pass_schedule(request: Pass, model: Model, settings: Settings) -> PassSchedule:
    """Look the pass's sampler and schedule up and compute its noise levels."""
    sampler, schedule = resolve(request.sampler.name, request.schedule.name)
    side = model.latent.cell * model.latent.patch
    base = model.noise.varied(
        NoiseOptions(
            settings.use_downcasted_alpha_bar,
            settings.sd_noise_schedule == "Zero Terminal SNR",
            tokens=(request.size.width // side) * (request.size.height // side),
            steps=request.steps.steps,
        )
    )
    options = SamplerOptions(
        eta=settings.eta_ancestral,
        eta_ddim=settings.eta_ddim,
        s_churn=settings.s_churn,
        s_tmin=settings.s_tmin,
        s_tmax=settings.s_tmax,
        s_noise=settings.s_noise,
        uni_pc_variant=settings.uni_pc_variant,
        uni_pc_skip_type=settings.uni_pc_skip_type,
        uni_pc_order=settings.uni_pc_order,
        uni_pc_lower_order_final=settings.uni_pc_lower_order_final,
    )
    schedule_options = ScheduleOptions(
        sigma_min=settings.sigma_min,
        sigma_max=settings.sigma_max,
        rho=settings.rho,
        use_old_karras_scheduler_sigmas=settings.use_old_karras_scheduler_sigmas,
        always_discard_next_to_last_sigma=settings.always_discard_next_to_last_sigma,
        beta_dist_alpha=settings.beta_dist_alpha,
        beta_dist_beta=settings.beta_dist_beta,
        is_sdxl=model.family.name == SDXL_TRAITS.name,
    )
    steps, count = request.steps.steps, request.steps.count
    noise = base.lcm() if sampler.row.lcm else base
    if steps == 0:  # no step is taken: the picture stays as it is
        nothing = SigmaRange(0.0, torch.zeros(1), options)
        return PassSchedule(sampler, noise, (0.0, 0.0), nothing, request.is_partial)
    # At a low strength the schedule has thousands of levels; only its end is computed.
    last = levels(sampler, schedule, steps, base, schedule_options, first=request.steps.first)
    taken = (
        partial_range(sampler, last, count, count - 1, base, options)
        if request.is_partial
        else whole_range(sampler, last, steps, base, options)
    )
    all_levels = [*last[last > 0].tolist(), highest(sampler, schedule, steps, base, schedule_options)]
    finite = [level if math.isfinite(level) else base.sigma_max for level in all_levels]
    return PassSchedule(sampler, noise, (min(finite), max(finite)), taken, request.is_partial)


def noise_of_refiner(sampler: SamplerRow, model: Model) -> NoiseModel:
    """The noise levels of a refiner; A1111 changes only the first checkpoint's."""
    return model.noise.lcm() if sampler.row.lcm else model.noise


@dataclass(frozen=True)
class Start:
    """The start of a batch: `x` (B, C, h, w) fp32, the levels of its steps (on the CPU), and the steps' noise."""

    x: Tensor
    levels: Tensor
    noise: Noise

    @property
    def steps(self) -> int:
        return max(0, len(self.levels) - 1)


def begin(
    schedule: PassSchedule,
    plan: Plan,
    images: Sequence[ImagePlan],
    source: Tensor | None,
    shape: tuple[int, int, int],
    settings: Settings,
    device: torch.device,
    noise_multiplier: float = 1.0,
    shaped: Callable[[Tensor], Tensor] | None = None,
) -> Start:
    """Draw a batch's noise and add it to `source` (B, C, h, w), a picture's latent in model units.

    `source` is None in txt2img: the batch starts from plain noise. `shape` is one latent's (C, h, w). `shaped` may
    replace the drawn noise.
    """
    resized = plan.seed_resize
    noise = ImageNoise(
        settings.randn_source,
        shape,
        [image.seed for image in images],
        device,
        subseeds=[image.subseed for image in images],
        subseed_strength=plan.subseed_strength,
        resized_from=(plan.sizes.cells(resized.height), plan.sizes.cells(resized.width)) if resized else (0, 0),
        eta_noise_seed_delta=settings.eta_noise_seed_delta,
    )
    sigmas = schedule.range.sigmas
    drawn = noise.first() * noise_multiplier
    x = _noised(schedule, source, drawn if shaped is None else shaped(drawn), settings)
    if not schedule.sampler.row.brownian or len(sigmas) < 2:
        return Start(x, sigmas, noise)
    # The tree spans the whole schedule even if img2img takes only its end, so more strength refines the same path.
    low, high = schedule.ends
    seeds = [image.seed for image in images]
    tree = BrownianNoise(
        settings.randn_source, shape, seeds, low, high, device, is_shared=settings.no_dpmpp_sde_batch_determinism
    )
    return Start(x, sigmas, tree)


def sample(schedule: PassSchedule, start: Start, denoise: SplitDenoise) -> Iterator[Step]:
    """Take the steps of one batch; the last one's `x` is the result. There are none if the range is empty."""
    if start.steps:
        row, options = schedule.sampler, schedule.range.options
        if row.row.needs_uncond:
            options = replace(options, split=denoise)
        yield from from_pure_noise(row.function, joined(denoise), start.x, start.levels, start.noise, options)


def _noised(schedule: PassSchedule, source: Tensor | None, noise: Tensor, settings: Settings) -> Tensor:
    """The sampler's initial latent."""
    is_preserving = schedule.sampler.row.timesteps
    sigma = schedule.range.sigma
    if source is None:
        if is_preserving or math.isinf(sigma):
            return noise
        return noise * ((1 + sigma**2) ** 0.5 if settings.sgm_noise_multiplier else sigma)
    extra = settings.img2img_extra_noise
    if is_preserving:
        x = timesteps.noised(source, noise, sigma)
        # Such a latent is scaled by sqrt(ᾱ), so A1111 scales the extra noise as well.
        return x + noise * (extra / (1 + sigma**2) ** 0.5) if extra else x
    x = schedule.noise.noised(source, noise, sigma)
    return x + noise * extra if extra and math.isfinite(sigma) else x
