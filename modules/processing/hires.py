"""Between the passes of hires. fix: from the latents of the first pass to the start of the second."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.images.enlarge import enlarged_by_steps, exactly
from modules.images.geometry import Size
from modules.networks.model import Model
from modules.networks.vae import from_uint8, to_uint8
from modules.processing.clock import Stopwatch
from modules.processing.plan import Hires, ImagePlan
from modules.processing.source import posterior_noise
from modules.schema.sizes import SizeRule
from modules.schema.upscalers import Upscaler


def second_start(
    first: Model,
    second: Model,
    latents: Tensor,
    hires: Hires,
    upscaler: Upscaler,
    images: Sequence[ImagePlan],
    clock: Stopwatch,
    is_exact: bool,
    hear: Callable[[], None],
) -> Tensor:
    """Latents (B, C, h, w) of the first pass, enlarged and cropped to the second pass's size, fp32.

    Latent upscalers interpolate. The others work on pixels: each picture is decoded, enlarged and encoded alone, with
    the VAEs of the `first` and the `second` pass's checkpoint; `is_exact` truncates that picture to bytes as A1111
    does. `hear` is called before each.
    """

    def by_way_of_pixels(latent: Tensor, seed: int) -> Tensor:
        hear()
        return _by_way_of_pixels(first, second, latent, upscaler, size, seed, clock, is_exact)

    size, rule = hires.enlargement.size, first.sizes
    how = upscaler.interpolation
    if how is not None:
        cells = (rule.cells(size.height), rule.cells(size.width))
        larger = torch.nn.functional.interpolate(latents, size=cells, mode=how.mode, antialias=how.antialias)
    else:
        larger = torch.cat(
            [by_way_of_pixels(latent, image.seed) for latent, image in zip(latents, images, strict=True)]
        )
    return _cut(larger, Size(*map(rule.cells, hires.second.size)))


def _by_way_of_pixels(
    first: Model,
    second: Model,
    latent: Tensor,
    upscaler: Upscaler,
    size: Size,
    seed: int,
    clock: Stopwatch,
    is_exact: bool,
) -> Tensor:
    with clock.stage("vae_decode"):
        picture = Image.fromarray(to_uint8(first.decode(latent[None]), is_exact)[0])
    larger = np.array(enlarged(picture, upscaler, size, first.sizes))[None]
    with clock.stage("vae_encode"):
        posterior = second.encode(from_uint8(larger, second.place.device))
    return posterior.sample(posterior_noise(seed, posterior.mean))


def enlarged(picture: Image.Image, upscaler: Upscaler, size: Size, rule: SizeRule) -> Image.Image:
    """`picture` at exactly `size`; Nearest scales to whole cells and Lanczos does the rest, as in A1111."""
    scale = max(size.width / picture.width, size.height / picture.height)
    if scale > 1:
        whole = Size(int(picture.width * scale), int(picture.height * scale))
        picture = enlarged_by_steps(picture, upscaler, whole, Size(*map(rule.floor, whole)))
    return exactly(picture, size)


def _cut(latents: Tensor, cells: Size) -> Tensor:
    """The center of `latents`; of an odd excess of rows or columns the larger half is removed at the end."""
    top = (latents.shape[2] - cells.height) // 2
    left = (latents.shape[3] - cells.width) // 2
    return latents[:, :, top : top + cells.height, left : left + cells.width]
