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
    """`mask` at the latent's size (bicubic), (1, 1, h, w) in [0, 1]; if rounded, halves go to even."""
    small = np.asarray(mask.resize(cells, Image.Resampling.BICUBIC), np.float32) / 255
    return torch.from_numpy(np.around(small) if rounded else small)[None, None]


def cells_of(mask: Image.Image, cells: Size, canvas: Canvas) -> Tensor:
    """`mask` at the latent's size. Grays that are strengths are averaged per cell; bicubic would mix neighbors."""
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
    """The extra input channels of an inpainting checkpoint, (1, 1 + C, h, w): the mask and the masked picture.

    `cell` is the pixels per side of a latent cell. The picture is `encoded` from `image` (RGB), gray under the mask by
    `weight` (`inpainting_mask_weight`). Without a mask everything is redrawn; without an image (txt2img) the picture
    is empty. A1111 samples the posterior without a seed; here its mean is used.
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
