"""Extra input channels of some networks beside the latent: the source picture, or its depth map.

`masked/latents.py` has those of inpainting models.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.images.geometry import Size
from modules.images.resize import RESIZE_AND_FILL, resized, resizes_latents
from modules.networks.model import LatentFormat
from modules.networks.posterior import Posterior
from modules.networks.vae import from_uint8
from modules.processing.masked.prepare import Prepared
from modules.processing.plan import Source
from modules.schema.families import Shown

# Input channels of the network, by channels of the latent.
CHANNELS: Final[Mapping[Shown, Callable[[int], int]]] = {
    "mask": lambda own: 1 + own,
    "source": lambda own: own,
    "depth": lambda own: 1,
}
KINDS: Final[Mapping[Shown, str]] = {
    "mask": "an inpainting checkpoint",
    "source": "an InstructPix2Pix checkpoint",
    "depth": "a depth checkpoint",
}


def source_input(
    encoded: Callable[[Tensor], Posterior], image: Image.Image, latent: LatentFormat, cells: Size
) -> Tensor:
    """The latent of the source as InstructPix2Pix sees it, (1, C, h, w): the posterior's mode, without the model's
    scale (Brooks et al. 2023, arXiv 2211.09800, section 3.2)."""
    own = latent.restored(encoded(from_uint8(np.array(image)[None])).mean)
    shape = (cells.height, cells.width)
    return own if own.shape[-2:] == shape else torch.nn.functional.interpolate(own, size=shape, mode="bilinear")


def depth_input(source: Source, prepared: Prepared | None, size: Size, cells: Size) -> Tensor:
    """The source's depth map as the network sees it, (1, 1, h, w): -1 is the farthest, 1 the nearest.

    It is fitted like the source, and stretched to the whole range as in A1111. A constant depth becomes 0.
    """
    assert source.depth is not None
    size_of_source = (source.picture.width, source.picture.height)
    image = source.depth.rgb().convert("L").resize(size_of_source, Image.Resampling.BICUBIC)
    if prepared is not None and prepared.box is not None:
        image = resized(image.crop(prepared.box), RESIZE_AND_FILL, size)
    elif not resizes_latents(source.resize_mode):
        image = resized(image, source.resize_mode, size)
    values = torch.from_numpy(np.array(image, np.float32))[None, None]
    shape = (cells.height, cells.width)
    values = torch.nn.functional.interpolate(values, size=shape, mode="bicubic", align_corners=False)
    low, high = values.aminmax()
    return torch.zeros_like(values) if low == high else 2 * (values - low) / (high - low) - 1
