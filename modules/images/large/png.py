"""A PNG, deflated a band at a time: each band by itself, joined to the one stream that the format asks for.

Format: PNG specification (W3C, third edition) 7 to 11; zlib streams: RFC 1950; the joining of checksums: zlib's
`adler32_combine`.
"""

import os
import struct
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modules.base.png_side import SIGNATURE
from modules.images.geometry import Size
from modules.images.large.rows import Pixels

LEVEL: Final = 6
STRATEGY: Final = zlib.Z_RLE  # as small pictures are written, and as quick
ZLIB_HEADER: Final = b"\x78\x01"
EMPTY_LAST_BLOCK: Final = b"\x03\x00"  # of a deflate stream, with the fixed Huffman codes
ADLER_BASE: Final = 65521
MAX_KEY: Final = 79  # letters of a text's key
SUB, UP = 1, 2  # filters
PART: Final = 4 << 20  # bytes that one thread deflates at a time
COLOR_TYPES: Final = {3: 2, 4: 6}  # by channels: truecolor, with alpha


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def head(size: Size, channels: int, side: bytes) -> bytes:
    """Everything before the pixels. `side` are whole chunks: color space, texts."""
    header = struct.pack(">IIBBBBB", *size, 8, COLOR_TYPES[channels], 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + side


def tail(adler: int) -> bytes:
    """What follows the last band; `adler` is the checksum of all bands."""
    return chunk(b"IDAT", EMPTY_LAST_BLOCK + struct.pack(">I", adler)) + chunk(b"IEND", b"")


def band(pixels: Pixels, adler: int, is_first: bool) -> tuple[bytes, int]:
    """(the chunks of these rows, the checksum with theirs). `adler` is that of the rows above, 1 for none."""
    rows = filtered(pixels)
    each = max(PART // rows.shape[1], 1)
    parts = [rows[top : top + each].tobytes() for top in range(0, len(rows), each)]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        deflated = list(pool.map(_deflated, parts))
    for part in parts:
        adler = joined_adler(adler, zlib.adler32(part), len(part))
    if is_first:
        deflated[0] = ZLIB_HEADER + deflated[0]
    return b"".join(chunk(b"IDAT", part) for part in deflated), adler


def filtered(pixels: Pixels) -> NDArray[np.uint8]:
    """Rows (height, 1 + width * channels) with the filter in front, Sub or Up, whichever leaves smaller numbers.

    The first row does without the one above it: that lies in another band. Average and Paeth are left out, because
    only a loop over pixels takes them back; on photographs they save 3 to 8 %.
    """
    height, width, channels = pixels.shape
    flat = pixels.reshape(height, width * channels)
    sub, up = flat.copy(), flat.copy()
    sub[:, channels:] -= flat[:, :-channels]
    up[1:] -= flat[:-1]
    is_up = _cost(up) < _cost(sub)
    is_up[0] = False
    rows = np.empty((height, 1 + flat.shape[1]), np.uint8)
    rows[:, 0] = np.where(is_up, UP, SUB)
    rows[:, 1:] = np.where(is_up[:, None], up, sub)
    return rows


def joined_adler(one: int, other: int, length: int) -> int:
    """The Adler-32 of two texts behind each other, from that of each; `length` is the second's, in bytes."""
    rest = length % ADLER_BASE
    low = ((one & 0xFFFF) + (other & 0xFFFF) + ADLER_BASE - 1) % ADLER_BASE
    high = (rest * (one & 0xFFFF) + (one >> 16) + (other >> 16) + ADLER_BASE - rest) % ADLER_BASE
    return low | high << 16


def text_chunk(key: str, text: str) -> bytes:
    """tEXt where Latin-1 holds the text and nobody takes it for UTF-8; else iTXt."""
    if text.isascii():
        return chunk(b"tEXt", key.encode("latin-1") + b"\0" + text.encode("ascii"))
    return chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8"))


def side_chunks(texts: Mapping[str, str]) -> bytes:
    """sRGB, and the texts by their keys, without those that no PNG can hold."""
    storable = {
        key: text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
        for key, text in texts.items()
        if 0 < len(key) <= MAX_KEY and key.isprintable() and max(key) <= "\xff"
    }
    return chunk(b"sRGB", b"\0") + b"".join(text_chunk(key, text) for key, text in storable.items() if text)


def _cost(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How far each row's numbers are from 0, as signed bytes."""
    return np.minimum(rows, 0 - rows).sum(axis=1, dtype=np.int64)


def _deflated(part: bytes) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15, 9, STRATEGY)
    return packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)
