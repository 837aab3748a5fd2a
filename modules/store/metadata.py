"""Pictures as files that carry their parameters: encode them, and read them back from anybody's files.

PNG holds them in the text chunk `parameters`, JPEG and WebP in the EXIF user comment, as A1111 writes them.
"""

import io
import json
import zlib
from typing import Any, Literal, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules import exif
from modules.codec import Picture
from modules.infotext import compose

Format = Literal["png", "jpg", "webp"]

PARAMETERS = "parameters"
MAX_SIDE = {"png": 2**31 - 1, "jpg": 65535, "webp": 16383}  # pixels
MAX_EXIF = {"png": 2**31, "jpg": 65533, "webp": 2**31}  # bytes; a JPEG segment has a length of two bytes

# Run-length matches only: for filtered rows of photos and paintings deflate's longer search costs much and finds
# little. Measured with Pillow 12.3 on a photo of 512x512: level 6 132 ms, 261 kB; level 1 30 ms, 300 kB;
# level 6 with Z_RLE 26 ms, 246 kB. At 256x256: 35, 5 and 6 ms.
PNG_LEVEL, PNG_STRATEGY = 6, zlib.Z_RLE

# Where nothing is lost, WebP's "quality" is effort. The same photo of 512x512: quality 90 with Pillow's default
# method 537 ms, 182 kB; 20 with method 2 126 ms, 186 kB; 0 with method 0 24 ms, 223 kB.
WEBP_LOSSLESS = {"quality": 0, "method": 0}


class Encoded(NamedTuple):
    data: bytes
    format: Format


class Metadata(NamedTuple):
    """What a file tells: its infotext ("" if it has none), and its other texts by their keys."""

    infotext: str
    items: dict[str, str]


def encoded(image: Image.Image, format: Format, infotext: str, quality: int = 90, lossless: bool = False) -> Encoded:
    """`image` (RGB or RGBA; JPEG knows no alpha and leaves it out) as a file with its infotext in it.

    A picture or a text too large for `format` becomes a PNG: nothing is cut. `quality` (1 to 100) acts on JPEG and
    lossy WebP.
    """
    infotext = _storable(infotext)
    comment = exif.with_comment(infotext) if infotext else b""
    if max(image.size) > MAX_SIDE[format] or len(comment) > MAX_EXIF[format]:
        format = "png"
    file = io.BytesIO()
    if format == "png":
        chunks = PngInfo()
        if infotext:
            chunks.add_text(PARAMETERS, infotext)  # tEXt, or iTXt when Latin-1 does not hold it
        image.save(file, "PNG", pnginfo=chunks, compress_level=PNG_LEVEL, compress_type=PNG_STRATEGY)
    elif format == "jpg":
        image.convert("RGB").save(file, "JPEG", quality=quality, exif=comment)
    else:
        effort = WEBP_LOSSLESS if lossless else {"quality": quality}
        image.save(file, "WEBP", lossless=lossless, exif=comment, **effort)
    return Encoded(file.getvalue(), format)


def read(picture: Picture) -> Metadata:
    """What is written in a picture's file, whoever made it. Never raises: damaged entries are as if not there.

    Where a file has both, the EXIF comment counts and not the text chunk, as in A1111.
    """
    info = picture.text()
    items = {key: value for key, value in info.items() if isinstance(key, str) and isinstance(value, str)}
    infotext = items.pop(PARAMETERS, "")
    comment = info.get("comment")
    if not infotext and isinstance(comment, bytes):  # GIF and JPEG
        infotext = comment.decode("utf-8", "replace").rstrip("\0")
    block = info.get("exif")
    if isinstance(block, bytes):
        infotext = exif.user_comment(block) or infotext
    if items.get("Software") == "NovelAI":
        infotext = _novelai(items, picture) or infotext
    return Metadata(infotext, {key: str(value) for key, value in items.items()})


def _novelai(items: dict[str, str], picture: Picture) -> str:
    """NovelAI's own description, in terms of A1111: its pictures come from Clip skip 2 and ENSD 31337."""
    try:
        told: Any = json.loads(items.get("Comment", ""))
    except (ValueError, RecursionError):
        return ""
    if not isinstance(told, dict):
        return ""
    return compose(
        items.get("Description", ""),
        str(told.get("uc", "")),
        {
            "Steps": told.get("steps"),
            "Sampler": told.get("sampler"),
            "CFG scale": told.get("scale"),
            "Seed": told.get("seed"),
            "Size": f"{picture.width}x{picture.height}",
            "Clip skip": 2,
            "ENSD": 31337,
        },
    )


def _storable(text: str) -> str:
    """Without what no file can hold: NUL ends a text chunk, half of a surrogate pair is no character."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
