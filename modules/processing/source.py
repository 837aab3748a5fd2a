"""From a source picture to the starting latent of an img2img job."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.images.geometry import Size
from modules.images.resize import JUST_RESIZE, resized, resizes_latents
from modules.networks.cache import ByteCache
from modules.networks.model import Model
from modules.networks.posterior import Posterior
from modules.networks.vae import from_uint8
from modules.processing.clock import Stopwatch
from modules.processing.plan import ImagePlan, Plan, Source
from modules.schema.resize_modes import RESIZE_MODES
from modules.schema.sizes import SizeRule

# The posterior's noise comes from the image's seed like everything else, but not from the same stream as the initial
# noise: equal numbers in both would correlate the two.
POSTERIOR_STREAM = 0x5EED_0001
SOURCE_CACHE_BYTES = 128 * 2**20


class SourceKey(NamedTuple):
    """What the encoded source depends on. `sha256` is the file's, or the pixels' if they were changed."""

    checkpoint: str
    vae: str
    dtype: torch.dtype
    sha256: str
    resize_mode: int
    size: Size
    background: str
    upscaler: str = ""


class SourceEncoder:
    """Encodes source pictures, and caches the latest results: a second run skips the encoder."""

    def __init__(self, limit: int) -> None:
        self._cache: ByteCache[SourceKey, Posterior] = ByteCache(limit)

    def latents(
        self,
        model: Model,
        plan: Plan,
        source: Source,
        images: Sequence[ImagePlan],
        background: str,
        clock: Stopwatch,
        prepared: Image.Image | None = None,
    ) -> Tensor:
        """The source once for each of `images`, (B, C, h, w) fp32 in model units on the model's device.

        `prepared` is encoded in its place: the source as prepared for inpainting.
        """
        if prepared is None:
            posterior = self._posterior(model, plan, source, background, clock)
        else:
            posterior = self.encoded(model, from_uint8(np.array(prepared)[None]), clock)
        latents = torch.cat([posterior.sample(posterior_noise(image.seed, posterior.mean)) for image in images])
        cells = (plan.sizes.cells(plan.size.height), plan.sizes.cells(plan.size.width))
        how = RESIZE_MODES[source.resize_mode].interpolation
        if how is not None and latents.shape[-2:] != cells:
            latents = torch.nn.functional.interpolate(latents, size=cells, mode=how.mode, antialias=how.antialias)
        return latents

    def _posterior(self, model: Model, plan: Plan, source: Source, background: str, clock: Stopwatch) -> Posterior:
        key = SourceKey(
            model.hash,
            model.vae_hash,
            model.place.vae_dtype,
            source.picture.sha256,
            source.resize_mode,
            plan.requested,
            background,
            source.upscaler.name if source.upscaler else "",
        )

        def make() -> Posterior:
            image = source_pixels(source, plan.requested, background, plan.sizes)
            pixels = from_uint8(np.array(image)[None], model.place.device)
            with clock.stage("vae_encode"):
                return model.encode(pixels)

        return self._cache.get_or_make(key, make, lambda posterior: posterior.size)

    def encoded(self, model: Model, pixels: Tensor, clock: Stopwatch) -> Posterior:
        """The encoder's result for `pixels` (1, 3, H, W) in [-1, 1] on the CPU."""
        digest = hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
        size = Size(pixels.shape[3], pixels.shape[2])
        key = SourceKey(model.hash, model.vae_hash, model.place.vae_dtype, digest, -1, size, "")

        def make() -> Posterior:
            with clock.stage("vae_encode"):
                return model.encode(pixels.to(model.place.device))

        return self._cache.get_or_make(key, make, lambda posterior: posterior.size)

    def clear(self) -> None:
        self._cache.clear()


def source_pixels(source: Source, size: Size, background: str, rule: SizeRule) -> Image.Image:
    """The encoder's input: RGB, fitted to `size`; in the latent mode its own size in whole cells."""
    image = source.picture.rgb(background)
    if resizes_latents(source.resize_mode):
        return image.crop((0, 0, rule.floor(image.width), rule.floor(image.height)))
    return resized(image, source.resize_mode, size, source.upscaler)


def fitted_pixels(source: Source, size: Size, background: str) -> Image.Image:
    """The source (RGB) as the result shows it, `size` pixels; what the latent mode enlarges is resized."""
    mode = JUST_RESIZE if resizes_latents(source.resize_mode) else source.resize_mode
    return resized(source.picture.rgb(background), mode, size, source.upscaler)


def posterior_noise(seed: int, like: Tensor) -> Tensor:
    """Standard normal noise of the shape of `like`, for the VAE's posterior."""
    generator = torch.Generator().manual_seed((seed + POSTERIOR_STREAM) % 2**63)
    return torch.randn(like.shape, generator=generator).to(like.device)
