"""How large the tiles of a network are, and how far they overlap: by free memory and by what the network sees."""

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from modules.networks.device import available_bytes
from modules.networks.upscalers.bands import Tiling

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

LARGEST_TILE: Final = 512
SMALLEST_TILE: Final = 32
STEP: Final = 32  # pixels between one size of tiles and the next
SHARE: Final = 0.5  # of the free memory that a tile may take
MOST_ON_CPU: Final = 900_000_000  # bytes of main memory that a tile may take, whatever is free

# Bytes for a pixel of the source while a 4x network works on it, by spandrel's name of the architecture. Measured on a
# CPU in fp32: SRVGGNetCompact 1 300, RRDBNet with 64 features 12 500.
BYTES_A_PIXEL: Final = {"Compact": 1_500, "ESRGAN": 12_500}
BYTES_OF_OTHERS: Final = 24_000

MARGIN: Final = 32  # pixels of its neighbours that a network sees around a tile
RAMP: Final = 8


def tiling_of(network: "ImageModelDescriptor[Any]", tile: int) -> Tiling:
    """Tiles that overlap as far as the network sees, where that is known and near; else with ramps."""
    reach = receptive_radius(network)
    return Tiling(tile, MARGIN, RAMP) if reach is None or reach > MARGIN else Tiling(tile, reach, 0)


def receptive_radius(network: "ImageModelDescriptor[Any]") -> int | None:
    """How many pixels away the source still changes a pixel of the result; None where that is not known.

    SRVGGNetCompact is a chain of convolutions of step 1: the sum of their radii.
    """
    if network.architecture.id != "Compact":
        return None
    kernels = [part.kernel_size for part in network.model.modules() if isinstance(part, nn.Conv2d)]
    return sum(int(kernel[0]) // 2 for kernel in kernels)


def largest_tile(network: "ImageModelDescriptor[Any]", device: torch.device) -> int:
    """The largest side that memory suffices for, a multiple of `STEP`."""
    room = available_bytes(device) * SHARE
    if device.type == "cpu":
        room = min(room, MOST_ON_CPU)
    pixels = room / (BYTES_A_PIXEL.get(network.architecture.id, BYTES_OF_OTHERS) * max(network.scale, 2) ** 2 / 16)
    tile = LARGEST_TILE
    while tile > SMALLEST_TILE and (tile + 2 * tiling_of(network, tile).margin) ** 2 > pixels:
        tile -= STEP
    return tile
