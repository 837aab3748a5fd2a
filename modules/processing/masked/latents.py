"""Masks and masked pictures at the size of the latent."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.images.geometry import Size
from modules.images.resize import RESIZE_AND_FILL, resized
from modules.networks.posterior import Posterior
from modules.networks.vae import from_uint8
from modules.processing.plan import Canvas


def latent_mask(mask: Image.Image, cells: Size, rounded: bool) -> Tensor:
    """`mask` at the latent's size (bicubic), (1, 1, h, w) in [0, 1]; halves round to even where it is rounded."""
    small = np.asarray(mask.resize(cells, Image.Resampling.BICUBIC), np.float32) / 255
    return torch.from_numpy(np.around(small) if rounded else small)[None, None]


def cells_of(mask: Image.Image, cells: Size, canvas: Canvas) -> Tensor:
    """`mask` at the latent's size; a gray that is a strength is its cell's mean, as bicubic would lend it to others."""
    if canvas.by_gray:
        mask = mask.resize(cells, Image.Resampling.BOX)
    return latent_mask(mask, cells, canvas.is_rounded)


def inpainting_input(
    encoded: Callable[[Tensor], Posterior],
    image: Image.Image | None,
    mask: Image.Image | None,
    rounded: bool,
    weight: float,
    cells: Size,
    cell: int,
) -> Tensor:
    """What an inpainting checkpoint is shown beside the latent, (1, 1 + C, h, w): where to draw, and what is there.

    `cell` is the pixels a side of a latent cell.

    The latter is `encoded` from `image` (RGB), gray under the mask as far as `weight` (`inpainting_mask_weight`) says.
    Without a mask all of it is drawn, without an image (txt2img) from nothing. A1111 draws from the posterior without
    a seed; here its mean is taken.
    """
    size = Size(cells.width * cell, cells.height * cell) if image is None else Size(*image.size)
    hidden = torch.ones(1, 1, size.height, size.width)
    if mask is not None:
        values = np.asarray(resized(mask, RESIZE_AND_FILL, size), np.float32) / 255
        hidden = torch.from_numpy(np.around(values) if rounded else values)[None, None]
    pixels = torch.zeros(1, 3, size.height, size.width) if image is None else from_uint8(np.array(image)[None])
    latent = encoded(torch.lerp(pixels, pixels * (1 - hidden), weight)).mean
    shape = (cells.height, cells.width)
    if latent.shape[-2:] != shape:
        latent = torch.nn.functional.interpolate(latent, size=shape, mode="bilinear")
    return torch.cat([torch.nn.functional.interpolate(hidden, size=shape).to(latent.device), latent], dim=1)
