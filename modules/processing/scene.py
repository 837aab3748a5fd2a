"""What a script sees of a pass that is about to begin, where it wants to lay noise of its own over the source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from modules.extension.hooks import Scene
from modules.networks.checkpoint import StableDiffusion
from modules.processing.clock import Stopwatch
from modules.processing.conditioning import PromptEncoder
from modules.processing.passes import Route
from modules.processing.plan import ImagePlan, Pass
from modules.processing.unet import Guidance, GuidedUNet
from modules.sampling.discrete import ModelSchedule
from modules.schema.settings import Settings

NoiseOf = Callable[[Scene], Any]


@dataclass(frozen=True)
class SourceScene:
    """`hooks.Scene` for one batch. `hear` is called before each evaluation of the network."""

    model: StableDiffusion
    leg: Pass
    route: Route
    latent: Tensor
    images: Sequence[ImagePlan]
    prompts: PromptEncoder
    settings: Settings
    clock: Stopwatch
    hear: Callable[[], None]
    noise: Tensor

    @property
    def highest(self) -> float:
        return self.route.ends[1]

    def levels(self, steps: int) -> Tensor:
        return self.route.model_schedule.uniform_sigmas(steps).to(self.latent.device)

    def denoiser(self, prompt: str, negative_prompt: str, cfg_scale: float) -> Callable[[Tensor, Tensor], Tensor]:
        leg = replace(self.leg, prompt=prompt, negative_prompt=negative_prompt)
        conditioning = self.prompts.conditioning(self.model, leg, self.settings, self.clock).of(self.images)
        schedule: ModelSchedule = self.route.model_schedule
        guidance = Guidance(cfg_scale, max(1, leg.walk.count), token_merging=leg.token_merging)
        unet = GuidedUNet(self.model, schedule, conditioning, guidance, self.settings, self.clock)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            self.hear()  # a script may call it as often as a walk has steps
            return unet(x, sigma)

        return denoise


def shaped_noise(noise_of: NoiseOf, scene: Callable[[Tensor], Scene], drawn: Tensor) -> Tensor:
    """What `noise_of` makes of the noise that was drawn, when it is shown the scene with it."""
    return noise_of(scene(drawn))
