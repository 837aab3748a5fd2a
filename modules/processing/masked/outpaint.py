"""Outpainting: a source with margins to paint, and the mask of what may change.

The source keeps its pixels and its size. The margins are added to the mask, so the rest is inpainting.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.images.geometry import Box, Margins, Size
from modules.images.outward import continued
from modules.processing.plan import Frame


@dataclass(frozen=True)
class Grown:
    """A source with its margins filled.

    picture: RGB.  outside: L, 255 in the margins, 0 in the source.  inner: the source's box.
    cut: the size to which the result is cropped, or None if `picture` has the requested size.
    """

    picture: Image.Image
    outside: Image.Image
    inner: Box
    cut: Size | None

    def framed(self, mask: Image.Image, beyond: int) -> Image.Image:
        """`mask` (L, at the source's size) surrounded by margins of the value `beyond`."""
        size = self.inner.size
        whole = Image.new("L", self.picture.size, beyond)
        whole.paste(mask if mask.size == size else mask.resize(size, Image.Resampling.LANCZOS), self.inner[:2])
        return whole


def grown(picture: Image.Image, frame: Frame, working: Size | None) -> Grown:
    """`picture` (RGB) with the margins of `frame`, extended on the right and bottom to the `working` size."""
    size = Size(*picture.size)
    left, top, right, bottom = frame.margins
    requested = frame.margins.around(size)
    more = Size(0, 0)
    if working is not None:
        more = Size(working.width - requested.width, working.height - requested.height)
    whole = continued(picture, Margins(left, top, right + more.width, bottom + more.height), frame.fill)
    outside = Image.new("L", whole.size, 255)
    inner = Box(left, top, left + size.width, top + size.height)
    outside.paste(0, inner)
    return Grown(whole, outside, inner, requested if max(more) > 0 else None)


def cells_outside(outside: Image.Image, cells: Size) -> Tensor:
    """(1, 1, h, w), 1 for each latent cell with any new pixel."""
    share = np.asarray(outside.resize(cells, Image.Resampling.BOX))
    return torch.from_numpy((share > 0).astype(np.float32))[None, None]
