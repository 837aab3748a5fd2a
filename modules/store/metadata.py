"""Pictures as files with their parameters: encoding them, and reading them from any file.

PNG stores them in the text chunk `parameters`, JPEG and WebP in the EXIF user comment, as in A1111.
"""

import io
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from PIL import Image
from PIL.PngImagePlugin import PngInfo, iTXt

from modules.base import exif
from modules.base.color import SRGB_PROFILE
from modules.infotext.other_programs import from_items, from_json
from modules.schema.settings import Settings

Format = Literal["png", "jpg", "webp"]

PARAMETERS = "parameters"
POSTPROCESSING, EXTRAS = "postprocessing", "extras"  # A1111's keys for what was done to a finished picture
PERCEPTUAL = b"\0"  # the rendering intent in a PNG's sRGB chunk
MAX_KEY = 79  # characters in the key of a PNG text chunk
MAX_SIDE = {"png": 2**31 - 1, "jpg": 65535, "webp": 16383}  # pixels
MAX_EXIF = {"png": 2**31, "jpg": 65533, "webp": 2**31}  # bytes; the length field of a JPEG segment has two bytes

# Run-length matches only: for filtered rows of photos and paintings, deflate's longer search is slow and finds
# little. Measured with Pillow 12.3 on a photo of 512x512: level 6 132 ms, 261 kB; level 1 30 ms, 300 kB;
# level 6 with Z_RLE 26 ms, 246 kB. At 256x256: 35, 5 and 6 ms.
PNG_LEVEL, PNG_STRATEGY = 6, zlib.Z_RLE

# In lossless mode, WebP's "quality" is effort. The same photo of 512x512: quality 90 with Pillow's default
# method 537 ms, 182 kB; 20 with method 2 126 ms, 186 kB; 0 with method 0 24 ms, 223 kB.
WEBP_LOSSLESS = {"quality": 0, "method": 0}


class Encoded(NamedTuple):
    data: bytes
    format: Format


class Metadata(NamedTuple):
    """The texts of a file: its infotext ("" if it has none), and other texts by key.

    `notes` are messages for the user about a text that another program wrote.
    """

    infotext: str
    items: dict[str, str]
    notes: tuple[str, ...] = ()


def encoded(
    image: Image.Image,
    format: Format,
    infotext: str,
    quality: int = 90,
    lossless: bool = False,
    items: Mapping[str, str] = MappingProxyType({}),
) -> Encoded:
    """`image` (RGB or RGBA; JPEG drops alpha) as a file with its infotext.

    The colors are declared as sRGB: in a PNG by a chunk, in a JPEG or WebP by an ICC profile.

    A picture or a text too large for `format` becomes a PNG, so nothing is truncated. `quality` (1 to 100) applies to
    JPEG and lossy WebP. `items` are other texts by key, which only a PNG can store.
    """
    infotext = _storable(infotext)
    comment = exif.with_comment(infotext) if infotext else b""
    if max(image.size) > MAX_SIDE[format] or len(comment) > MAX_EXIF[format]:
        format = "png"
    file = io.BytesIO()
    if format == "png":
        chunks = PngInfo()
        chunks.add(b"sRGB", PERCEPTUAL)
        for key, text in {PARAMETERS: infotext, **{key: text for key, text in items.items() if _is_key(key)}}.items():
            if text := _storable(text):
                # tEXt, or iTXt if Latin-1 cannot encode the text or would be mistaken for UTF-8.
                add = chunks.add_text if _mended(text) == text else chunks.add_itxt
                add(key, text)
        image.save(file, "PNG", pnginfo=chunks, compress_level=PNG_LEVEL, compress_type=PNG_STRATEGY)
    elif format == "jpg":
        image.convert("RGB").save(file, "JPEG", quality=quality, exif=comment, icc_profile=SRGB_PROFILE)
    else:
        effort = WEBP_LOSSLESS if lossless else {"quality": quality}
        image.save(file, "WEBP", lossless=lossless, exif=comment, icc_profile=SRGB_PROFILE, **effort)
    return Encoded(file.getvalue(), format)


def as_file(
    image: Image.Image, infotext: str, settings: Settings, items: Mapping[str, str] = MappingProxyType({})
) -> Encoded:
    """`encoded`, in the format and quality of the settings."""
    return encoded(image, settings.samples_format, infotext, settings.jpeg_quality, settings.webp_lossless, items)


class Texts(Protocol):
    """A file that may contain texts: a `Picture`, or just its header."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    def text(self) -> dict[Any, Any]: ...


def read(picture: Texts) -> Metadata:
    """The texts in a picture's file, written by any program. Never raises: damaged entries are ignored.

    If a file has both, the EXIF comment takes precedence over the text chunk, as in A1111. Parameters from other
    programs, in `parameters` or elsewhere, are translated; the items contain the originals.
    """
    info = picture.text()
    items = {
        _mended(key): _mended(value) for key, value in info.items() if isinstance(key, str) and isinstance(value, str)
    }
    infotext = items.pop(PARAMETERS, "")
    comment = info.get("comment")
    if not infotext and isinstance(comment, bytes):  # GIF and JPEG
        infotext = _decoded(comment).rstrip("\0")
    block = info.get("exif")
    if isinstance(block, bytes):
        infotext = exif.user_comment(block) or infotext
    if infotext and items.get("Software") != "NovelAI":
        found = from_json(infotext)
        return (
            Metadata(found.text, {PARAMETERS: infotext, **items}, (found.note,)) if found else Metadata(infotext, items)
        )
    xmp = info.get("xmp")
    found = {**items, "xmp": _decoded(xmp)} if isinstance(xmp, bytes) else items
    translation = from_items(found, picture.width, picture.height)
    if translation is None:
        return Metadata(infotext, items)
    return Metadata(translation.text or infotext, items, (translation.note,))


def _mended(text: str) -> str:
    """A decoded text chunk: some programs write UTF-8, although PNG requires Latin-1 (PNG specification, 11.3.3.2).

    Meaningful Latin-1 text is not valid UTF-8 unless it is ASCII.
    """
    if isinstance(text, iTXt) or text.isascii():
        return str(text)
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return str(text)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _is_key(key: str) -> bool:
    """Whether a PNG text chunk may have this key: 1 to 79 printable Latin-1 characters, not the infotext's key."""
    return key != PARAMETERS and 0 < len(key) <= MAX_KEY and key.isprintable() and max(key) <= "\xff"


def _storable(text: str) -> str:
    """Without characters that no file can store: NUL ends a text chunk, and lone surrogates are invalid."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
