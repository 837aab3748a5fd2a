"""The size of a network's tiles, from free memory, and their overlap, from the network's receptive field."""

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from modules.networks.device import available_bytes
from modules.networks.upscalers.bands import Tiling

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

LARGEST_TILE: Final = 512
SMALLEST_TILE: Final = 32
STEP: Final = 32  # pixels: tile sizes are multiples of it
SHARE: Final = 0.5  # fraction of the free memory that a tile may use
MOST_ON_CPU: Final = 900_000_000  # bytes of main memory that a tile may use, however much is free

# Bytes per source pixel while a 4x network runs, by spandrel's name of the architecture. Measured on a CPU in fp32:
# SRVGGNetCompact 1 300, RRDBNet with 64 features 12 500.
BYTES_A_PIXEL: Final = {"Compact": 1_500, "ESRGAN": 12_500}
BYTES_OF_OTHERS: Final = 24_000

MARGIN: Final = 32  # pixels of the neighbors that a network sees around a tile
RAMP: Final = 8


def tiling_of(network: "ImageModelDescriptor[Any]", tile: int) -> Tiling:
    """Tiles that overlap by the receptive radius if that is known and small; otherwise tiles with ramps."""
    reach = receptive_radius(network)
    return Tiling(tile, MARGIN, RAMP) if reach is None or reach > MARGIN else Tiling(tile, reach, 0)


def receptive_radius(network: "ImageModelDescriptor[Any]") -> int | None:
    """The distance, in pixels, at which the source still affects a pixel of the result; None if unknown.

    SRVGGNetCompact is a chain of convolutions with stride 1, so it is the sum of their radii.
    """
    if network.architecture.id != "Compact":
        return None
    kernels = [part.kernel_size for part in network.model.modules() if isinstance(part, nn.Conv2d)]
    return sum(int(kernel[0]) // 2 for kernel in kernels)


def largest_tile(network: "ImageModelDescriptor[Any]", device: torch.device) -> int:
    """The largest side, in pixels, of a tile that fits in memory; a multiple of `STEP`."""
    room = available_bytes(device) * SHARE
    if device.type == "cpu":
        room = min(room, MOST_ON_CPU)
    pixels = room / (BYTES_A_PIXEL.get(network.architecture.id, BYTES_OF_OTHERS) * max(network.scale, 2) ** 2 / 16)
    tile = LARGEST_TILE
    while tile > SMALLEST_TILE and (tile + 2 * tiling_of(network, tile).margin) ** 2 > pixels:
        tile -= STEP
    return tile
