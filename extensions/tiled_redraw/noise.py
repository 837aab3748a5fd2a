"""An infinite noise map from which every tile takes the noise at its position."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 64  # latent cells per side of the squares that are drawn at once


def noise_at(seed: int, channels: int, left: int, top: int, width: int, height: int) -> NDArray[np.float32]:
    """Standard normal (channels, height, width): the map of `seed` from the latent cell (`left`, `top`), both >= 0.

    A cell's noise depends only on the seed and its position, so overlapping tiles agree, whatever their size and order,
    and only the part of the map under a tile is in memory.
    """
    cut = np.empty((channels, height, width), np.float32)
    for row in range(top // BLOCK, -(-(top + height) // BLOCK)):
        for column in range(left // BLOCK, -(-(left + width) // BLOCK)):
            block = _block((seed, row, column), channels)
            y, x = row * BLOCK, column * BLOCK
            upper, lower = max(y, top), min(y + BLOCK, top + height)
            first, last = max(x, left), min(x + BLOCK, left + width)
            cut[:, upper - top : lower - top, first - left : last - left] = block[
                :, upper - y : lower - y, first - x : last - x
            ]
    return cut


def _block(key: Sequence[int], channels: int) -> NDArray[np.float32]:
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
    return draw.standard_normal((channels, BLOCK, BLOCK), dtype=np.float32)
