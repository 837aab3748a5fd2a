"""The file formats that are written a band at a time, as one interface."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from modules.base import exif
from modules.base.errors import WebuiError
from modules.images.geometry import Size
from modules.images.large import jpeg, png, tiff
from modules.images.large.rows import Pixels

LargeFormat = Literal["png", "jpg", "tiff"]


@dataclass(frozen=True)
class LargeSpec:
    """A file to be written. `quality` (1 to 100) is JPEG's.

    `texts` are all texts of a PNG by key, `infotext` the one of other formats.
    """

    format: LargeFormat
    size: Size
    channels: int
    infotext: str
    texts: Mapping[str, str]
    quality: int = 90


@dataclass(frozen=True)
class BandFormat:
    """How a format is written.

    unit: rows of which a band is a multiple, but for the last.  most_side: pixels.  bytes_a_value: of disk space that
    an 8 bit value takes at most, all drafts counted.  carries: the checksum to begin with.
    head, tail: what stands before and behind the bands; tail gets the checksum of all of them.
    band: (rows, the checksum of those above, whether they are the first) -> (bytes, the checksum with them).
    """

    unit: int
    most_side: int
    bytes_a_value: float
    head: Callable[[LargeSpec], bytes]
    band: Callable[[LargeSpec, Pixels, int, bool], tuple[bytes, int]]
    tail: Callable[[int], bytes]
    assembled: Callable[[LargeSpec, Path, Path], None] | None = None  # (spec, file of bands, file to be made)


def _exif(spec: LargeSpec) -> bytes:
    comment = exif.with_comment(spec.infotext) if spec.infotext else b""
    if len(comment) > jpeg.MOST_EXIF:
        raise WebuiError(
            "The picture's parameters are too long for a JPEG.", "Save it as PNG.", "samples_format"
        )  # fmt: skip
    return comment


FORMATS: Final[Mapping[str, BandFormat]] = MappingProxyType(
    {
        "png": BandFormat(
            unit=1,
            most_side=2**31 - 1,
            bytes_a_value=1.01,
            head=lambda spec: png.head(spec.size, spec.channels, png.side_chunks(spec.texts)),
            band=lambda spec, pixels, adler, is_first: png.band(pixels, adler, is_first),
            tail=png.tail,
        ),
        "jpg": BandFormat(
            unit=jpeg.UNIT,
            most_side=65_535,
            bytes_a_value=0.7,
            head=lambda spec: jpeg.head(spec.size, spec.quality, _exif(spec)),
            band=lambda spec, pixels, adler, is_first: (jpeg.band(pixels, spec.quality, is_first), adler),
            tail=lambda adler: jpeg.tail(),
        ),
        "tiff": BandFormat(
            unit=tiff.TILE,
            most_side=2**31 - 1,
            bytes_a_value=2.1,
            head=lambda spec: b"",
            band=lambda spec, pixels, adler, is_first: (tiff.band(pixels), adler),
            tail=lambda adler: b"",
            assembled=lambda spec, bands, path: tiff.write(path, spec.size, spec.channels, bands, spec.infotext),
        ),
    }
)
