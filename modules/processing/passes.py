"""One walk of a sampler: from noise, or from a picture's latent with noise on it, to a finished latent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modules.networks.checkpoint import StableDiffusion
from modules.processing.plan import ImagePlan, Plan
from modules.processing.unet import GuidedUNet
from modules.sampling import timesteps
from modules.sampling.discrete import ModelSchedule
from modules.sampling.noise import BrownianNoise, ImageNoise
from modules.sampling.registry import SamplerRow, ScheduleRow, levels, resolve
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import Noise, SamplerOptions, Step
from modules.settings import Settings


@dataclass(frozen=True)
class Route:
    """What the batches of a job share: the functions, the levels of the whole schedule, and the settings behind them."""

    sampler: SamplerRow
    schedule: ScheduleRow
    model_schedule: ModelSchedule
    levels: Tensor
    options: SamplerOptions


def make_route(plan: Plan, model: StableDiffusion, settings: Settings) -> Route:
    """Look the plan's sampler and schedule up and compute the noise levels of the whole schedule."""
    sampler, schedule = resolve(plan.sampler.name, plan.schedule.name)
    base = ModelSchedule(model.alphas_cumprod)
    options = SamplerOptions(eta=settings.eta_ancestral, eta_ddim=settings.eta_ddim)
    whole = levels(sampler, schedule, plan.walk.steps, base, ScheduleOptions()) if plan.walk.steps else torch.zeros(1)
    return Route(sampler, schedule, base.lcm() if sampler.row.lcm else base, whole, options)


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
) -> Start:
    """Draw a batch's noise and lay it over `source` (B, C, h, w), the encoded picture of an img2img job in model units.

    `source` is None in txt2img: the batch begins with plain noise. `shape` is one latent's (C, h, w).
    """
    noise = ImageNoise(
        settings.randn_source,
        shape,
        [image.seed for image in images],
        device,
        subseeds=[image.subseed for image in images],
        subseed_strength=plan.subseed_strength,
        seed_resize_from=(plan.seed_resize.height, plan.seed_resize.width) if plan.seed_resize else (0, 0),
    )
    x, walked = _noised(route, plan, source, noise.first(), settings)
    if not route.sampler.row.brownian or len(walked) < 2:
        return Start(x, walked, noise)
    # The tree spans the whole schedule even where img2img walks its end, so that more strength refines the same path.
    positive = route.levels[route.levels > 0]
    low, high = float(positive.min()), float(positive.max())
    seeds = [image.seed for image in images]
    return Start(x, walked, BrownianNoise(settings.randn_source, shape, seeds, low, high, device))


def walk(route: Route, start: Start, denoise: GuidedUNet) -> Iterator[Step]:
    """Take the steps of one batch; the last one's `x` is the result. None are taken where there is nothing to walk."""
    if start.steps:
        options = replace(route.options, uncond=denoise.latest_uncond)
        yield from route.sampler.function(denoise, start.x, start.levels, start.noise, options)


def _noised(
    route: Route, plan: Plan, source: Tensor | None, noise: Tensor, settings: Settings
) -> tuple[Tensor, Tensor]:
    """(what the sampler begins with, the levels it walks)."""
    is_preserving = route.sampler.row.timesteps
    if source is None:
        return (noise, route.levels) if is_preserving else (noise * float(route.levels[0]), route.levels)
    noise = noise * settings.initial_noise_multiplier
    if is_preserving:
        # A1111 counts from the low end here: as many steps as are left of the schedule, and starts one level lower.
        sigma, walked = timesteps.cut(route.levels, plan.walk.count - 1)
        return timesteps.noised(source, noise, sigma), walked
    walked = route.levels[plan.walk.first :]
    return source + noise * float(walked[0]), walked
