"""A tiled BigTIFF: the tiles deflated a band at a time into a file of their own, and joined by tifffile at the end.

tifffile writes a file in one go and cannot take it up again; tiles that are deflated already it only copies.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import tifffile

from modules.base.color import SRGB_PROFILE
from modules.images.geometry import Size
from modules.images.large.rows import Pixels

TILE: Final = 256  # pixels
LEVEL: Final = 6
LENGTH: Final = struct.Struct("<I")  # before each tile in the file of tiles
PREDICTOR: Final = 2  # each pixel less the one to its left


def band(pixels: Pixels) -> bytes:
    """The tiles of rows, but for the last band a multiple of `TILE` of them, each behind its length in bytes."""
    pieces: list[bytes] = []
    for top in range(0, pixels.shape[0], TILE):
        for left in range(0, pixels.shape[1], TILE):
            tile = np.zeros((TILE, TILE, pixels.shape[2]), np.uint8)
            part = pixels[top : top + TILE, left : left + TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            tile[:, 1:] -= tile[:, :-1].copy()
            data = zlib.compress(tile.tobytes(), LEVEL)
            pieces += [LENGTH.pack(len(data)), data]
    return b"".join(pieces)


def write(path: Path, size: Size, channels: int, tiles: Path, infotext: str) -> None:
    """The file `path` of the tiles in the file `tiles`. Raises OSError."""
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(
            data=_tiles(tiles),
            shape=(size.height, size.width, channels),
            dtype=np.uint8,
            photometric="rgb",
            extrasamples=["unassalpha"] if channels == 4 else None,
            tile=(TILE, TILE),
            compression="adobe_deflate",
            predictor=PREDICTOR,
            description=infotext.encode("utf-8"),
            metadata=None,
            software=False,
            iccprofile=SRGB_PROFILE,
        )


def _tiles(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while head := file.read(LENGTH.size):
            yield file.read(LENGTH.unpack(head)[0])
