"""What a script sees of a pass about to start, if it adds its own noise to the source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from modules.extension.hooks import Scene
from modules.networks.conditioning import Extra
from modules.networks.model import Model
from modules.processing.clock import Stopwatch
from modules.processing.denoise.guidance import GuidanceOptions, Guided, guidance_options
from modules.processing.denoise.prompts import PromptEncoder
from modules.processing.plan import ImagePlan, Pass
from modules.processing.schedule import PassSchedule
from modules.sampling.denoise import joined
from modules.schema.settings import Settings

NoiseOf = Callable[[Scene], Any]


@dataclass(frozen=True)
class SourceScene:
    """`hooks.Scene` for one batch. `hear` is called before each evaluation of the network; `seen` are extra input
    channels of some checkpoints."""

    model: Model
    request: Pass
    schedule: PassSchedule
    latent: Tensor
    images: Sequence[ImagePlan]
    prompts: PromptEncoder
    settings: Settings
    clock: Stopwatch
    hear: Callable[[], None]
    seen: Tensor | None
    noise: Tensor

    @property
    def highest(self) -> float:
        return self.schedule.ends[1]

    def levels(self, steps: int) -> Tensor:
        noise = self.schedule.noise
        sigmas = noise.uniform_sigmas(steps)
        return torch.where(sigmas.isinf(), noise.sigma_max, sigmas).to(self.latent.device)

    def denoiser(self, prompt: str, negative_prompt: str, cfg_scale: float) -> Callable[[Tensor, Tensor], Tensor]:
        request = replace(self.request, prompt=prompt, negative_prompt=negative_prompt)
        prompts = self.prompts.prompts(self.model, request, self.settings, self.clock).of(self.images)
        guided = joined(
            Guided(
                self.model.with_noise(self.schedule.noise),
                prompts,
                self._guidance(cfg_scale),
                self.clock,
                Extra(concat=self.seen, token_merging=request.token_merging),
            )
        )

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            self.hear()  # a script may call it as often as a pass has steps
            return guided(x, sigma)

        return denoise

    def _guidance(self, cfg_scale: float) -> GuidanceOptions:
        """The settings' guidance, whatever the pass's sampler: the script counts its own evaluations."""
        options = guidance_options(cfg_scale, self.request.steps.count, self.request.sampler, self.settings)
        return replace(
            options,
            scale=cfg_scale,
            calls=max(1, self.request.steps.count),
            levels_are_timesteps=False,
            needs_uncond=False,
        )


def shaped_noise(noise_of: NoiseOf, scene: Callable[[Tensor], Scene], drawn: Tensor) -> Tensor:
    """The noise that `noise_of` returns for the drawn noise and its scene."""
    return noise_of(scene(drawn))
