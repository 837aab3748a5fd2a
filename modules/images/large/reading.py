"""Large pictures from the disk, reduced, without ever having them whole in memory."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import tifffile
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from modules.base.errors import WebuiError
from modules.base.picture import DAMAGED
from modules.base.png_side import SIGNATURE
from modules.images.geometry import Size
from modules.images.large.png import SUB, UP
from modules.images.large.rows import Pixels

SIDE: Final = 512  # pixels of the longer side of a reduced picture, about
PIECE: Final = 1 << 22  # bytes of a file that are read at a time
CHANNELS: Final = {2: 3, 6: 4}  # by a PNG's color type
NONE: Final = 0  # filter


def reduced(path: Path) -> bytes:
    """The picture in a file that was written band by band, small, as WebP. Raises WebuiError for other files."""
    try:
        if path.suffix == ".tiff":
            pixels = _of_tiff(path)
        elif path.suffix == ".png":
            pixels = _of_png(path)
        else:
            pixels = _of_jpeg(path)
    except (*DAMAGED, tifffile.TiffFileError) as error:
        raise WebuiError(f"{path.name} is damaged: {error}.", "Make it again.", "path") from error
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=85)
    return file.getvalue()


def factor_of(size: Size) -> int:
    """How many times smaller the reduced picture is: a power of two."""
    factor = 1
    while max(size) > SIDE * factor:
        factor *= 2
    return factor


def _of_jpeg(path: Path) -> Pixels:
    image = JpegImageFile(path)  # not `Image.open`, which counts pixels: the decoder reduces while it decodes
    image.draft("RGB", (SIDE, SIDE))
    image.thumbnail((SIDE, SIDE))
    return np.asarray(image)


def _of_tiff(path: Path) -> Pixels:
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        height, width, channels = page.shape
        factor = factor_of(Size(width, height))
        result = np.zeros((-(-height // factor), -(-width // factor), channels), np.uint8)
        for tile, place, shape in page.segments():
            if tile is None:
                continue
            part = np.ascontiguousarray(tile.reshape(tile.shape[-3:])[: shape[-3], : shape[-2]])
            small = np.asarray(Image.fromarray(part).reduce(factor))
            top, left = place[-3] // factor, place[-2] // factor
            target = result[top : top + small.shape[0], left : left + small.shape[1]]
            target[:] = small[: target.shape[0], : target.shape[1]]
        return result


def _of_png(path: Path) -> Pixels:
    parts: list[Pixels] = []
    with path.open("rb") as file:
        size, channels = _header(file, path.name)
        factor, rows = factor_of(size), list[Pixels]()
        above = np.zeros(size.width * channels, np.uint8)
        for number, line in enumerate(_lines(file, 1 + size.width * channels)):
            above = _unfiltered(line, above, channels, path.name)
            rows.append(above.reshape(1, size.width, channels))
            if len(rows) == factor or number + 1 == size.height:
                parts.append(np.asarray(Image.fromarray(np.concatenate(rows)).reduce(factor)))
                rows = []
    return np.concatenate(parts)


def _header(file: io.BufferedReader, name: str) -> tuple[Size, int]:
    if file.read(len(SIGNATURE)) != SIGNATURE:
        raise ValueError("it is no PNG")
    _, kind, width, height, bits, color, _, _, interlace = struct.unpack(">I4sIIBBBBB", file.read(21))
    if kind != b"IHDR" or bits != 8 or color not in CHANNELS or interlace:
        raise _foreign(name)
    file.seek(4, io.SEEK_CUR)
    return Size(width, height), CHANNELS[color]


def _lines(file: io.BufferedReader, length: int) -> Iterator[Pixels]:
    """The rows of a PNG, each with its filter in front."""
    unpacker, held = zlib.decompressobj(), bytearray()
    while head := file.read(8):
        size, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return
        if kind != b"IDAT":
            file.seek(size + 4, io.SEEK_CUR)
            continue
        while size:
            piece = file.read(min(size, PIECE))
            if not piece:
                raise ValueError("it is cut off")
            size -= len(piece)
            while piece:
                held += unpacker.decompress(piece, PIECE)
                piece = unpacker.unconsumed_tail
                whole = len(held) // length * length
                for begin in range(0, whole, length):
                    yield np.frombuffer(bytes(held[begin : begin + length]), np.uint8)
                del held[:whole]
        file.seek(4, io.SEEK_CUR)


def _unfiltered(line: Pixels, above: Pixels, channels: int, name: str) -> Pixels:
    if line[0] == UP:
        return line[1:] + above
    if line[0] == SUB:
        return np.cumsum(line[1:].reshape(-1, channels), axis=0, dtype=np.uint8).reshape(-1)
    if line[0] == NONE:
        return line[1:]
    raise _foreign(name)


def _foreign(name: str) -> WebuiError:
    return WebuiError(
        f"{name} is too large to be shown: only Palimpsest's own files of that size are.", "Scale it down.", "path"
    )
