"""A JPEG, encoded a band at a time: rows of blocks between restart markers do not depend on each other.

Each band is encoded by Pillow as a picture of its own with the same tables, and the entropy-coded parts are joined.
Format: ITU-T T.81, B.2.1 and E.1.4.
"""

import io
import struct
from typing import Final

import numpy as np
from PIL import Image

from modules.base.color import SRGB_PROFILE
from modules.images.geometry import Size
from modules.images.large.rows import Pixels

BLOCK: Final = 16  # rows between two markers: a block of 8 x 8, whose colors have half the resolution
UNIT: Final = 8 * BLOCK  # rows of a band, but for the last: the markers' numbers go from 0 to 7
START_OF_FRAME, START_OF_SCAN = 0xC0, 0xDA
MOST_EXIF: Final = 65_533  # bytes of a segment
SEVENTH_MARKER, END = b"\xff\xd7", b"\xff\xd9"


def head(size: Size, quality: int, exif: bytes) -> bytes:
    """Everything before the first entropy-coded byte."""
    data = _encoded(np.zeros((1, size.width, 3), np.uint8), quality, exif)
    height, begin = _places(data)
    return data[:height] + struct.pack(">H", size.height) + data[height + 2 : begin]


def band(pixels: Pixels, quality: int, is_first: bool) -> bytes:
    """The entropy-coded part of rows (RGB, or RGBA, whose alpha is dropped); but for the last band `UNIT` of them."""
    data = _encoded(pixels[..., :3], quality, b"")
    _, begin = _places(data)
    return (b"" if is_first else SEVENTH_MARKER) + data[begin:].removesuffix(END)


def tail() -> bytes:
    return END


def _encoded(pixels: Pixels, quality: int, exif: bytes) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    # The default tables of Huffman codes: those made to measure would differ from band to band.
    image.save(
        file, "JPEG", quality=quality, exif=exif, icc_profile=SRGB_PROFILE, optimize=False, restart_marker_rows=1
    )
    return file.getvalue()


def _places(data: bytes) -> tuple[int, int]:
    """(where the height stands, where the entropy-coded part begins) in a JPEG of Pillow's."""
    at, height = 2, 0
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == START_OF_FRAME:
            height = at + 5
        if marker == START_OF_SCAN:
            return height, at + 2 + length
        at += 2 + length
