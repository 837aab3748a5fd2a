"""The positions and masks of the tiles, and of the repairs of their seams."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.images.geometry import Box, Size

ALIGN = 16  # pixels: a multiple of every family's latent cell, so that a tile's noise can be cut at whole cells
MULTIPLE = 64  # pixels: the sides of a redrawn region are multiples of this if the picture is large enough

Shape = Literal["flat", "ridge across", "ridge down", "peak"]


@dataclass(frozen=True)
class Tile:
    """A part of the picture to redraw: `core` changes, `region` is `core` with the surroundings that the model sees.

    `shape` says where `core` changes most: everywhere alike ("flat"), in the middle of its width ("ridge across"), in
    the middle of its height ("ridge down"), or at its center ("peak").
    """

    core: Box
    region: Box
    shape: Shape = "flat"

    def mask(self) -> Image.Image:
        """Mode L, of the region's size: 255 is redrawn."""
        whole = Image.new("L", self.region.size)
        whole.paste(
            _profile(self.core.size, self.shape), (self.core.left - self.region.left, self.core.top - self.region.top)
        )
        return whole


def grid(picture: Size, tile: Size, padding: int, order: Literal["linear", "chess"]) -> list[Tile]:
    """Tiles side by side that cover `picture`; the last of a row or column may be narrower.

    "chess" starts with the squares of one color, so that the others have finished neighbors on all sides.
    """
    rows, columns = _cuts(picture.height, tile.height), _cuts(picture.width, tile.width)
    places = [
        ((y + x) % 2, Tile(Box(left, top, right, bottom), _region(Box(left, top, right, bottom), picture, padding)))
        for (y, (top, bottom)), (x, (left, right)) in product(enumerate(pairwise(rows)), enumerate(pairwise(columns)))
    ]
    if order == "chess":
        places.sort(key=lambda place: place[0])
    return [each for _, each in places]


def bands(picture: Size, tile: Size, width: int, padding: int) -> Iterator[Tile]:
    """Strips of `width` pixels along each seam, each as long as a tile."""
    rows, columns = _cuts(picture.height, tile.height), _cuts(picture.width, tile.width)
    before, after = width // 2, width - width // 2
    for x in columns[1:-1]:
        for top, bottom in pairwise(rows):
            yield _repair(Box(x - before, top, x + after, bottom), picture, padding, "ridge across")
    for y in rows[1:-1]:
        for left, right in pairwise(columns):
            yield _repair(Box(left, y - before, right, y + after), picture, padding, "ridge down")


def half_tiles(picture: Size, tile: Size, padding: int, with_crossings: bool) -> Iterator[Tile]:
    """Tiles over the middle of each seam; `with_crossings` adds tiles over the corners where four tiles meet."""
    rows, columns = _cuts(picture.height, tile.height), _cuts(picture.width, tile.width)
    across, down = tile.width // 2, tile.height // 2
    for top, bottom in pairwise(rows):
        for x in columns[1:-1]:
            yield _repair(Box(x - across, top, x + across, bottom), picture, padding, "ridge across")
    for y in rows[1:-1]:
        for left, right in pairwise(columns):
            yield _repair(Box(left, y - down, right, y + down), picture, padding, "ridge down")
    for y, x in product(rows[1:-1], columns[1:-1]) if with_crossings else ():
        yield _repair(Box(x - across, y - down, x + across, y + down), picture, padding, "peak")


def _repair(core: Box, picture: Size, padding: int, shape: Shape) -> Tile:
    core = Box(max(core.left, 0), max(core.top, 0), min(core.right, picture.width), min(core.bottom, picture.height))
    return Tile(core, _region(core, picture, padding), shape)


def _cuts(length: int, tile: int) -> list[int]:
    """
    >>> _cuts(1100, 512)
    [0, 512, 1024, 1100]
    """
    return [*range(0, length, tile), length]


def _region(core: Box, picture: Size, padding: int) -> Box:
    """`core` with `padding` pixels around it, enlarged to a multiple of MULTIPLE and moved into `picture`."""
    left, right = _span(core.left, core.right, picture.width, padding)
    top, bottom = _span(core.top, core.bottom, picture.height, padding)
    return Box(left, top, right, bottom)


def _span(start: int, end: int, limit: int, padding: int) -> tuple[int, int]:
    """
    >>> _span(512, 1024, 2048, 32), _span(0, 512, 2048, 32), _span(1536, 2048, 2048, 32), _span(0, 256, 256, 32)
    ((480, 1120), (0, 576), (1472, 2048), (0, 256))
    """
    start, end = max(start - padding, 0) // ALIGN * ALIGN, min(end + padding, limit)
    length = min(-(-(end - start) // MULTIPLE) * MULTIPLE, limit)
    start = min(start, limit - length)
    return start, start + length


def _profile(size: Size, shape: Shape) -> Image.Image:
    across, down = _ridge(size.width)[None, :], _ridge(size.height)[:, None]
    full = np.ones((size.height, size.width))
    strength = {
        "flat": lambda: full,
        "ridge across": lambda: full * across,
        "ridge down": lambda: full * down,
        "peak": lambda: np.minimum(across, down),
    }[shape]()
    return Image.fromarray((strength * 255).round().astype(np.uint8), "L")


def _ridge(length: int) -> NDArray[np.float64]:
    """(length,): rises from near 0 at both ends to 1 in the middle."""
    return 1 - np.abs((np.arange(length) + 0.5) * 2 / length - 1)
