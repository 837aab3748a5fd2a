"""One walk of a sampler: from noise, or from a picture's latent with noise on it, to a finished latent."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modules.networks.checkpoint import StableDiffusion
from modules.processing.inpaint import MaskedUNet
from modules.processing.plan import ImagePlan, Pass, Plan
from modules.processing.unet import GuidedUNet
from modules.sampling import timesteps
from modules.sampling.discrete import ModelSchedule
from modules.sampling.noise import BrownianNoise, ImageNoise
from modules.sampling.registry import SamplerRow, Walk, highest, levels, partial_walk, resolve, whole_walk
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import Noise, SamplerOptions, Step
from modules.schema.settings import Settings


@dataclass(frozen=True)
class Route:
    """What the batches of a job share in one pass.

    `ends` are the lowest level above 0 and the highest one of the whole schedule, `walk` the part that is walked;
    `is_partial` where that begins with a picture and not with plain noise.
    """

    sampler: SamplerRow
    model_schedule: ModelSchedule
    ends: tuple[float, float]
    walk: Walk
    is_partial: bool


def make_route(leg: Pass, model: StableDiffusion, settings: Settings) -> Route:
    """Look the pass's sampler and schedule up and compute its noise levels."""
    sampler, schedule = resolve(leg.sampler.name, leg.schedule.name)
    base = _model_schedule(model, settings)
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
    )
    steps = leg.walk.steps
    walked = base.lcm() if sampler.row.lcm else base
    if steps == 0:  # nothing to walk: the picture stays as it is
        nothing = torch.zeros(1)
        return Route(sampler, walked, (0.0, 0.0), Walk(0.0, nothing, options), leg.is_partial)
    # With a low strength the schedule is thousands of levels long, of which only the end is computed.
    count = leg.walk.count
    last = levels(sampler, schedule, steps, base, schedule_options, first=leg.walk.first)
    walk = (
        partial_walk(sampler, last, count, count - 1, base, options)
        if leg.is_partial
        else whole_walk(sampler, last, steps, base, options)
    )
    positive = [*last[last > 0].tolist(), highest(sampler, schedule, steps, base, schedule_options)]
    return Route(sampler, walked, (min(positive), max(positive)), walk, leg.is_partial)


def model_schedule(sampler: SamplerRow, model: StableDiffusion) -> ModelSchedule:
    """The noise levels of a checkpoint that takes over on the way; A1111 alters the first one's alone."""
    base = ModelSchedule(model.alphas_cumprod)
    if model.zero_terminal_snr:
        base = base.zero_terminal_snr()
    return base.lcm() if sampler.row.lcm else base


def _model_schedule(model: StableDiffusion, settings: Settings) -> ModelSchedule:
    schedule = ModelSchedule(model.alphas_cumprod)
    if settings.use_downcasted_alpha_bar:
        schedule = schedule.downcast()
    is_rescaled = model.zero_terminal_snr or settings.sd_noise_schedule == "Zero Terminal SNR"
    return schedule.zero_terminal_snr() if is_rescaled else schedule


@dataclass(frozen=True)
class Start:
    """Where a batch begins: `x` (B, C, h, w) fp32, the levels to walk (on the CPU), and the noise for the steps."""

    x: Tensor
    levels: Tensor
    noise: Noise

    @property
    def steps(self) -> int:
        return max(0, len(self.levels) - 1)


def begin(
    route: Route,
    plan: Plan,
    images: Sequence[ImagePlan],
    source: Tensor | None,
    shape: tuple[int, int, int],
    settings: Settings,
    device: torch.device,
    noise_multiplier: float = 1.0,
    shaped: Callable[[Tensor], Tensor] | None = None,
) -> Start:
    """Draw a batch's noise and lay it over `source` (B, C, h, w), a picture's latent in model units.

    `source` is None in txt2img: the batch begins with plain noise. `shape` is one latent's (C, h, w). `shaped` makes
    other noise of what was drawn.
    """
    noise = ImageNoise(
        settings.randn_source,
        shape,
        [image.seed for image in images],
        device,
        subseeds=[image.subseed for image in images],
        subseed_strength=plan.subseed_strength,
        seed_resize_from=(plan.seed_resize.height, plan.seed_resize.width) if plan.seed_resize else (0, 0),
        eta_noise_seed_delta=settings.eta_noise_seed_delta,
    )
    walked = route.walk.sigmas
    drawn = noise.first() * noise_multiplier
    x = _noised(route, source, drawn if shaped is None else shaped(drawn), settings)
    if not route.sampler.row.brownian or len(walked) < 2:
        return Start(x, walked, noise)
    # The tree spans the whole schedule even where img2img walks its end, so that more strength refines the same path.
    low, high = route.ends
    seeds = [image.seed for image in images]
    tree = BrownianNoise(
        settings.randn_source, shape, seeds, low, high, device, is_shared=settings.no_dpmpp_sde_batch_determinism
    )
    return Start(x, walked, tree)


def walk(route: Route, start: Start, denoise: GuidedUNet | MaskedUNet) -> Iterator[Step]:
    """Take the steps of one batch; the last one's `x` is the result. None are taken where there is nothing to walk."""
    if start.steps:
        options = replace(route.walk.options, uncond=denoise.latest_uncond)
        yield from route.sampler.function(denoise, start.x, start.levels, start.noise, options)


def _noised(route: Route, source: Tensor | None, noise: Tensor, settings: Settings) -> Tensor:
    """What the sampler begins with."""
    is_preserving = route.sampler.row.timesteps
    sigma = route.walk.sigma
    if source is None:
        if is_preserving:
            return noise
        return noise * ((1 + sigma**2) ** 0.5 if settings.sgm_noise_multiplier else sigma)
    extra = settings.img2img_extra_noise
    if is_preserving:
        x = timesteps.noised(source, noise, sigma)
        # In such a latent everything is smaller by sqrt(ᾱ), so A1111 lays the extra noise on as much smaller.
        return x + noise * (extra / (1 + sigma**2) ** 0.5) if extra else x
    x = source + noise * sigma
    return x + noise * extra if extra else x
