"""The only way into the program for foreign image bytes.

A `Picture` is the encoded bytes as uploaded, checked once: the header is read and bounded before anything is decoded,
then the file is decoded once to verify that it is complete. It is passed around as bytes (small to pickle; the sha256
is its name in caches and in the lineage of a result) and becomes pixels only where pixels are needed.
"""

import base64
import binascii
import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageFile, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import TiffImageFile
from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from modules.base import png_side
from modules.base.budget import MEMORY
from modules.base.color import OF_MODE, avif_code_points, colors_of
from modules.base.errors import WebuiError
from modules.base.exif import orientation

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 100_000_000  # an 8192x8192 source fits with room; 20000x20000 would need 1.6 GB as RGBA
PIECE_OF_BASE64 = 1 << 20  # characters; decoding them holds the interpreter's lock for a millisecond or two
MAX_BYTES = 256 * 1024 * 1024
PIXEL = 4  # bytes that Pillow needs for one, RGB or not
# Pillow unpacks a PNG in pieces of this many bytes, each without letting other threads run: of 64 kB, as it comes, one
# may become 64 MB, and the server answers nobody meanwhile.
PIECE = 4096
COPIES = 3  # of the pixels that exist at most, from decoding to the result of `open`

# What Pillow's readers were seen to raise on a hundred thousand damaged files.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, IndexError, KeyError, struct.error, zlib.error)

UPRIGHT_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> the operation that makes it upright
SEEN_OTHERWISE = {"exif", "icc_profile", "gamma", "chromaticity", "transparency"}  # info of a PNG
SIDEWAYS = (UPRIGHT_BY[5], UPRIGHT_BY[6], UPRIGHT_BY[7], UPRIGHT_BY[8])

IMAGE_DESCRIPTION = 270  # a TIFF's tag

WHITE_OF_16 = 65535.0
# (white, the largest value of a picture for which it is that). Floats are 0 to 1, and highlights lie above; bytes and
# 16 bits that somebody has stored as floats are seen by values that no light of such a scene has.
RANGES_OF_FLOATS = ((1.0, 8.0), (255.0, 255.5), (WHITE_OF_16, 65535.5))
RANGES_OF_INTEGERS = ((255.0, 255.0), (WHITE_OF_16, 65535.0), (2**31 - 1.0, 2**31 - 1.0))
_URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True)
class ByName:
    """A pydantic context: pictures are serialized as their sha256, passed to `keep`, and read back with `find`."""

    keep: "Callable[[Picture], object]"
    find: "Callable[[str], Picture]"


@dataclass(frozen=True)
class Picture:
    """An encoded picture that has been checked: whole, bounded, of a format we read.

    `width` and `height` are pixels after EXIF orientation is applied. `notes` are sentences about what will be
    converted (an animation's first frame, CMYK, 16 bit, other colors than sRGB) or left out, for the person who
    brought the picture. `content` is the file's bytes, or their path: a waiting job keeps none in memory.
    """

    content: bytes | Path = field(repr=False, compare=False)
    sha256: str
    width: int
    height: int
    format: str
    notes: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """The file's bytes. Raises WebuiError if the file on disk is gone or has changed."""
        if isinstance(self.content, bytes):
            return self.content
        try:
            data = self.content.read_bytes()
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise self._lost("the file has changed")
        return data

    def lying_at(self, path: Path) -> "Picture":
        """The same picture, with its bytes only in the file `path`."""
        return replace(self, content=path)

    def _lost(self, reason: str) -> WebuiError:
        return WebuiError(
            f"The source picture {self.sha256[:12]!r} can no longer be read ({reason}).",
            "Drop, paste or choose it again.",
            "init_images",
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "content": self.data}  # pickled with its bytes for another process

    @classmethod
    def from_bytes(cls, data: bytes, field: str = "image") -> "Picture":
        """Check `data` and wrap it. Raises WebuiError about `field`, and Busy."""
        _require_size(data, field)
        image, side = _open(data, field)
        width, height = _require_pixels(image, field)
        with _reading(field), MEMORY.room(width * height * PIXEL):
            notes = (*_notes(image, side), *side.notes)
            image.load()  # decodes: a truncated file is found here and not in the middle of a job
            described = cls._described(data, image, hashlib.sha256(data).hexdigest(), notes)
            del image  # the pixels are freed before their reservation
        return described

    @classmethod
    def checked_before(cls, data: bytes, sha256: str) -> "Picture":
        """Wrap bytes that `from_bytes` has accepted before: only the header is read. Raises the same errors."""
        image, side = _open(data, "image")
        with _reading("image"):
            notes = (*_notes(image, side), *side.notes)
        return cls._described(data, image, sha256, notes)

    @classmethod
    def unread(cls, data: bytes, field: str = "image") -> "Picture":
        """Wrap `data` for reading its metadata: the header is checked, the pixels are not decoded.

        Raises WebuiError as `from_bytes` does, except for damage that only decoding finds.
        """
        _require_size(data, field)
        image, side = _open(data, field)
        _require_pixels(image, field)
        with _reading(field):
            notes = (*_notes(image, side), *side.notes)
        return cls._described(data, image, hashlib.sha256(data).hexdigest(), notes)

    @classmethod
    def _described(cls, data: bytes, image: Image.Image, sha256: str, notes: tuple[str, ...]) -> "Picture":
        width, height = image.size
        if _turn(image) in SIDEWAYS:
            width, height = height, width
        return cls(data, sha256, width, height, _format(image), notes)

    @classmethod
    def from_text(cls, text: str, field: str = "image") -> "Picture":
        """A picture from base64 text (see `bytes_of_text`). Raises WebuiError as `from_bytes` does."""
        return cls.from_bytes(bytes_of_text(text, field), field)

    @classmethod
    def from_image(cls, image: Image.Image) -> "Picture":
        """Pixels of our own, encoded losslessly as PNG."""
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        return cls.from_bytes(buffer.getvalue())

    def open(self) -> Image.Image:
        """The pixels, upright, in sRGB: mode RGB, or RGBA if there is any transparency. First frame of an animation."""
        with self.room():
            return self._opened()

    def room(self) -> AbstractContextManager[None]:
        """Reserve memory for the pixels of `open` and what is made of them. Raises Busy."""
        return MEMORY.room(self.width * self.height * PIXEL * COPIES)

    def _opened(self) -> Image.Image:
        image, side = _open(self.data, "image")
        with _reading("image"):
            image.load()
        turn = _turn(image)
        upright = image if turn is None else image.transpose(turn)
        colors = colors_of(image, side.cicp)
        if upright.mode not in OF_MODE or colors.transform is None:
            upright = _normalized(upright, "transparency" in image.info)
        opened = colors.converted(upright)
        opened.info.clear()  # Pillow would write the profile, which no longer applies, into files made from this image
        return opened

    def rgb(self, background: str = "#ffffff") -> Image.Image:
        """The pixels as RGB, transparency flattened on the CSS color `background`."""
        return flattened(self.open(), background)

    @property
    def pixels_md5(self) -> str:
        """The hash that A1111 names a source by: of its pixels as `open` returns them, in hex."""
        with self.room():
            return hashlib.md5(self.open().tobytes(), usedforsecurity=False).hexdigest()

    def text(self) -> dict[Any, Any]:
        """Pillow's info entries of the file (PNG text chunks, EXIF bytes, a TIFF's description), undecoded."""
        image, _ = _open(self.data, "image")
        return texts_of(image)

    @property
    def is_shown_alike(self) -> bool:
        """Whether every program shows the file with the pixels of `open`: true only for a plain PNG.

        Browsers apply EXIF orientation to fewer formats than we do, know other kinds of profiles, and their JPEG
        decoders round differently.
        """
        data = self.data
        image, side = _open(data, "image")
        is_plain = image.mode in ("RGB", "RGBA", "L") and side.data is data and not self.notes
        return is_plain and image.format == "PNG" and side.cicp is None and not SEEN_OTHERWISE & image.info.keys()

    def shown(self) -> bytes:
        """The pixels of `open` as a PNG, to show what was decoded."""
        buffer = io.BytesIO()
        chunks = PngInfo()
        chunks.add(b"sRGB", b"\0")
        with self.room():
            self.open().save(buffer, "PNG", pnginfo=chunks, compress_level=1)
        return buffer.getvalue()

    def base64(self) -> str:
        return base64.b64encode(self.data).decode("ascii")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def validate(value: Any, info: core_schema.ValidationInfo) -> "Picture":
            if isinstance(value, Picture):
                return value
            if isinstance(value, str) and isinstance(info.context, ByName):
                return info.context.find(value)
            if isinstance(value, str):
                return cls.from_text(value, info.field_name or "image")
            if isinstance(value, bytes):
                return cls.from_bytes(value, info.field_name or "image")
            raise ValueError("expected a picture as base64 text")

        def serialize(picture: "Picture", info: core_schema.SerializationInfo[Any]) -> str:
            if isinstance(info.context, ByName):
                info.context.keep(picture)
                return picture.sha256
            return picture.base64()

        return core_schema.with_info_plain_validator_function(
            validate,
            json_schema_input_schema=core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(serialize, info_arg=True),
        )


def texts_of(image: Image.Image) -> dict[Any, Any]:
    """The info entries of an opened file, a TIFF's description among them as `comment`, in bytes."""
    info: dict[Any, Any] = dict(image.info)
    if isinstance(image, TiffImageFile):
        description = image.tag_v2.get(IMAGE_DESCRIPTION)
        if isinstance(description, str):
            info["comment"] = description.encode("latin-1", "replace")
    return info


def bytes_of_text(text: str, field: str = "image") -> bytes:
    """Decode base64, with or without a `data:image/…;base64,` prefix. Raises WebuiError.

    Accepts both alphabets of RFC 4648, standard and URL-safe, with or without padding.
    """
    payload = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return _in_pieces(payload) or base64.b64decode(payload.translate(_URL_SAFE) + "==", validate=False)
    except (binascii.Error, ValueError) as error:
        raise WebuiError(
            f"{field}: the text is not base64 ({error}).", "Send the picture's bytes as base64.", field
        ) from error


def _in_pieces(payload: str) -> bytes | None:
    """Decode a long text piece by piece, so that other threads can run; None if it is not all base64."""
    pieces: list[bytes] = []
    for start in range(0, len(payload), PIECE_OF_BASE64):
        text = payload[start : start + PIECE_OF_BASE64]
        try:
            piece = base64.b64decode(text.translate(_URL_SAFE) + "==", validate=False)
        except ValueError:
            return None
        if len(text) == PIECE_OF_BASE64 and len(piece) != PIECE_OF_BASE64 // 4 * 3:  # line breaks shift the quartets
            return None
        pieces.append(piece)
    return b"".join(pieces)


def flattened(image: Image.Image, background: str) -> Image.Image:
    """`image` as RGB, with the CSS color `background` behind its transparent parts."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, ImageColor.getrgb(background))
    return Image.alpha_composite(ground, image).convert("RGB")


def _require_size(data: bytes, field: str) -> None:
    if not data:
        raise WebuiError(f"{field}: the file is empty (0 bytes).", "Choose a PNG, JPEG or WebP picture.", field)
    if len(data) > MAX_BYTES:
        raise WebuiError(
            f"{field}: the file has {len(data) // 2**20} MB, more than the limit of {MAX_BYTES // 2**20} MB.",
            "Save it smaller, for example as JPEG.",
            field,
        )


def _require_pixels(image: Image.Image, field: str) -> tuple[int, int]:
    """Width and height in pixels, as stored."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise WebuiError(
            f"{field}: the picture is {width}x{height}, more than the limit of {MAX_PIXELS // 1_000_000} megapixels.",
            "Scale it down first.",
            field,
        )
    return width, height


def _open(data: bytes, field: str) -> tuple[ImageFile.ImageFile, png_side.Side]:
    """Read the header only. Pillow's own bomb check is replaced by MAX_PIXELS, which refuses before decoding."""
    with _reading(field):
        side = png_side.looked_through(data)
        image = Image.open(io.BytesIO(side.data), formats=FORMATS)
        if side.profile is not None:
            image.info["icc_profile"] = side.profile
        if image.format == "PNG":
            image.decodermaxblock = PIECE
        if image.format == "AVIF":
            side = side._replace(cicp=avif_code_points(data))
        return image, side


@contextmanager
def _reading(field: str) -> Iterator[None]:
    """Turn errors of Pillow's readers into WebuiErrors about `field`. Warnings (damaged EXIF) are ignored."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise WebuiError(
            f"{field}: the picture has more than {MAX_PIXELS // 1_000_000} megapixels.", "Scale it down first.", field
        ) from error
    except MemoryError as error:
        raise WebuiError(f"{field}: not enough memory to decode the picture.", "Scale it down first.", field) from error
    except UnidentifiedImageError as error:
        raise WebuiError(
            f"{field}: the file is not a readable picture.", "Choose a PNG, JPEG or WebP picture.", field
        ) from error
    except DAMAGED as error:
        raise WebuiError(
            f"{field}: the file is damaged or cut off ({error}).",
            "Open it in an image editor and save it again.",
            field,
        ) from error


def _format(image: Image.Image) -> str:
    # Cameras put a preview or a depth map behind the photo and call it MPO; to everybody it is a JPEG.
    return "JPEG" if image.format == "MPO" else image.format or ""


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The operation that makes the decoded pixels upright; None if they are (Pillow rotates TIFF by itself)."""
    exif = image.info.get("exif")
    return UPRIGHT_BY.get(orientation(exif)) if isinstance(exif, bytes) and image.format != "TIFF" else None


def _notes(image: ImageFile.ImageFile, side: png_side.Side) -> tuple[str, ...]:
    """Sentences about conversions. Call it before decoding: then Pillow forgets how pixels were stored."""
    notes: list[str] = []
    if getattr(image, "is_animated", False) and image.format == "TIFF":
        notes.append("The file has several pages; the first is used.")
    elif getattr(image, "is_animated", False) and image.format != "MPO":
        notes.append("The picture is animated; its first frame is used.")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        notes.append(f"The picture is in {image.mode} mode; it is converted to RGB.")
    if image.mode.startswith("I") or image.mode == "F" or any(";16" in str(tile) for tile in image.tile):
        notes.append("The picture has more than 8 bits per channel; it is reduced to 8.")
    if note := colors_of(image, side.cicp).note:
        notes.append(note)
    return tuple(notes)


def _normalized(image: Image.Image, transparent_color: bool) -> Image.Image:
    """`image` in mode RGB or RGBA, 8 bit. `transparent_color`: whether the file marks a color as transparent."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _eight_bit(image).convert("RGB")
    has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or transparent_color
    if not has_alpha:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    opaque = rgba.getchannel("A").getextrema() == (255, 255)
    return rgba.convert("RGB") if opaque else rgba


def _eight_bit(image: Image.Image) -> Image.Image:
    """8-bit gray from gray of more bits, scaled, since Pillow would clip.

    A 16-bit file defines white. One with 32 bits or floating-point numbers does not: the range is then the smallest
    usual one that holds the largest value.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=np.inf, neginf=0.0)
    white = WHITE_OF_16
    if not image.mode.startswith("I;16"):
        finite = values[np.isfinite(values)]
        largest = float(finite.max(initial=0.0))
        ranges = RANGES_OF_FLOATS if image.mode == "F" else RANGES_OF_INTEGERS
        white = next((white for white, most in ranges if largest <= most), largest)
    return Image.fromarray((values * (255 / white)).clip(0, 255).round().astype(np.uint8), "L")
