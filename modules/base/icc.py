"""ICC profiles created here: three primaries, a white point and one curve (ICC.1:2022, a display profile of version 4).

Pillow can only create one for sRGB, and puts the date in it. A camera's EXIF or a PNG's chunks require others, and
files must be written with the same bytes each time.
"""

import struct
from typing import NamedTuple

import numpy as np

XY = tuple[float, float]

D50 = np.array([0.9642, 1.0, 0.8249])  # of the connection space
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
MOST_GAMMA = 8.0  # a gamma beyond this, or below its inverse, is a mistake

D65: XY = (0.3127, 0.3290)


class Primaries(NamedTuple):
    """CIE 1931 xy of white, red, green and blue."""

    white: XY
    red: XY
    green: XY
    blue: XY


SRGB = Primaries(D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))  # IEC 61966-2-1, also BT.709
ADOBE_RGB = Primaries(D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))  # Adobe RGB (1998), 4.3.1
DISPLAY_P3 = Primaries(D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))  # SMPTE EG 432-1
DCI_P3 = Primaries((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))  # SMPTE RP 431-2
BT2020 = Primaries(D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
BT601_625 = Primaries(D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06))
BT601_525 = Primaries(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070))

ADOBE_GAMMA = 563 / 256
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1: g, a, b, c, d of ICC's kind 3


def profile(name: str, primaries: Primaries, gamma: float | None = None) -> bytes:
    """A profile. Its curve is value ** `gamma`, or sRGB's without one. Raises ValueError for impossible primaries or
    gamma."""
    columns = colorants(primaries)
    if gamma is not None and not 1 / MOST_GAMMA <= gamma <= MOST_GAMMA:
        raise ValueError(f"gamma {gamma:g}: expected {1 / MOST_GAMMA:g} to {MOST_GAMMA:g}")
    curve = _parametric(3, SRGB_CURVE) if gamma is None else _parametric(0, (gamma,))
    tags = [
        (b"desc", text(name)),
        (b"cprt", text("CC0")),
        (b"wtpt", xyz(D50)),
        (b"chad", b"sf32\0\0\0\0" + b"".join(map(_fixed, adaptation(primaries.white).flat))),
        *((tag, xyz(column)) for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)),
        *((tag, curve) for tag in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    return assembled(tags)


def colorants(primaries: Primaries) -> np.ndarray:
    """(3, 3): the XYZ of red, green and blue as columns, adapted to D50. Raises ValueError for impossible primaries."""
    if any(not (0 < y <= 1 and 0 <= x <= 1) for x, y in (primaries.white, primaries.green)):
        raise ValueError("the chromaticities are outside the diagram")
    corners = np.array([[x, y, 1 - x - y] for x, y in primaries[1:]]).T
    white = _white(primaries.white)
    if abs(np.linalg.det(corners)) < 1e-4:  # a triangle without area
        raise ValueError("the primaries lie on one line")
    return adaptation(primaries.white) @ (corners * np.linalg.solve(corners, white))


def adaptation(white: XY) -> np.ndarray:
    """(3, 3): XYZ under `white` as XYZ under D50, by Bradford's linear transform (ICC.1:2022, annex E)."""
    scale = (BRADFORD @ D50) / (BRADFORD @ _white(white))
    return np.linalg.inv(BRADFORD) @ (scale[:, None] * BRADFORD)


def _white(white: XY) -> np.ndarray:
    x, y = white
    return np.array([x / y, 1.0, (1 - x - y) / y])


def assembled(tags: list[tuple[bytes, bytes]]) -> bytes:
    """An ICC file with these tags and the header of an RGB display profile. Equal tags are stored once."""
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    places: dict[bytes, int] = {}  # the three curves are the same
    for tag, data in tags:
        if data not in places:
            places[data] = offset + len(body)
            body += data + b"\0" * (-len(data) % 4)
        table += tag + struct.pack(">II", places[data], len(data))
    size = offset + len(body)
    header = struct.pack(">I4xI4s4s4s", size, 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp").ljust(28 + 4, b"\0")
    header += struct.pack(">12x") + b"".join(map(_fixed, D50))
    return header.ljust(128, b"\0") + table + body


def text(words: str) -> bytes:
    """A tag that holds `words` (multiLocalizedUnicode)."""
    raw = words.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(raw), 28) + raw


def xyz(values: np.ndarray) -> bytes:
    """A tag that holds three numbers."""
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _parametric(kind: int, values: tuple[float, ...]) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">Hxx", kind) + b"".join(map(_fixed, values))


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(float(value) * 65536))
