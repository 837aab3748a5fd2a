"""Color spaces of source pictures and their conversion to sRGB.

A file's declarations are used in the order of precedence of its format: an ICC profile; a PNG's cICP, sRGB, cHRM and
gAMA chunks (PNG 3, 4.3); EXIF's color space. A file without any of these, or in sRGB, keeps its values to the last
bit.
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from modules.base import exif, icc
from modules.base.icc import Primaries

# A profile that moves no color further than this is sRGB: there are a dozen of them, of 400 to 3100 bytes, whose
# curves are tables of different lengths. The nearest other space, gamma 2.2, moves dark colors by 9.
SAME = 2  # of 255
GRID = 9  # sampled values per channel
MOST_NAME = 60  # shown characters of a profile's name

CONVERTED = "The picture's colors are {name}; they are converted to sRGB."
UNUSABLE = "The picture's color profile is unusable; its colors are treated as sRGB."
HDR = "The picture is HDR ({curve}); its brightness is not adjusted."

SRGB_PROFILE = icc.profile("sRGB", icc.SRGB)  # what is written into files

# ITU-T H.273, tables 2 and 3
UNSPECIFIED = 2
PRIMARIES = {
    1: ("BT.709", icc.SRGB), 5: ("BT.601 (625)", icc.BT601_625), 6: ("BT.601 (525)", icc.BT601_525),
    7: ("SMPTE 240M", icc.BT601_525), 9: ("BT.2020", icc.BT2020), 11: ("DCI-P3", icc.DCI_P3),
    12: ("Display P3", icc.DISPLAY_P3),
}  # fmt: skip
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}  # all others of standard range are shown with sRGB's curve, as browsers do
HDR_CURVES = {16: "PQ", 18: "HLG"}

NCLX = b"colrnclx"
HEAD_OF_AVIF = 1 << 16  # bytes searched for boxes, before the pixels

CHROMATICITIES = 8  # numbers: x and y of white, red, green, blue
SRGB_GAMMAS = (0.454, 0.456)  # what programs write beside, or in place of, an sRGB chunk: 1 / 2.2
NEAR = 0.002  # of a chromaticity

# littlecms' input format for each of Pillow's modes. Other modes are converted to RGB first.
OF_MODE = {"CMYK": "CMYK", "LAB": "Lab "}
GRAY = ("1", "L", "LA", "La", "I", "F")


@dataclass(frozen=True)
class Colors:
    """How a picture's pixels are converted. `space` is littlecms' name of the input format of `transform`.

    `note` is a sentence for the user; "" if nothing is converted.
    """

    space: str = "RGB "
    transform: ImageCms.ImageCmsTransform | None = None
    note: str = ""

    def converted(self, image: Image.Image) -> Image.Image:
        """`image` in sRGB, RGB or RGBA (same alpha). Takes CMYK and LAB as decoded, all else as RGB(A)."""
        if self.transform is None:
            return image
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        if self.space == "GRAY":
            source = image.getchannel(0)
        else:
            source = image.convert("RGB") if image.mode == "RGBA" else image
        result = ImageCms.applyTransform(source, self.transform)
        assert result is not None  # littlecms returns None only if it changes the pixels in place
        if alpha is not None:
            result.putalpha(alpha)
        return result


def colors_of(image: Image.Image, cicp: tuple[int, ...] | None = None) -> Colors:
    """The conversion for `image` as opened, decoded or not."""
    info = image.info
    stored = OF_MODE.get(image.mode, "GRAY" if image.mode in GRAY or image.mode.startswith("I;16") else "RGB ")
    if "icc_profile" in info and not (image.format == "PNG" and isinstance(info["icc_profile"], str)):
        by_profile = _by_profile(info["icc_profile"], stored)
        if by_profile is not None:
            return by_profile
        return Colors(stored, _lab_alone(stored), UNUSABLE)
    if stored in OF_MODE.values():
        return Colors(stored, _lab_alone(stored))
    if cicp is not None and cicp[0] != UNSPECIFIED:
        return _by_code_points(cicp)
    if image.format == "PNG" and not isinstance(info.get("srgb"), int):
        made = _by_chunks(info)
        if made.note:
            return made
    block = info.get("exif")
    if isinstance(block, bytes) and not isinstance(info.get("srgb"), int) and exif.is_adobe_rgb(block):
        return _by_numbers("Adobe RGB", icc.ADOBE_RGB, icc.ADOBE_GAMMA)
    return Colors()


def avif_code_points(data: bytes) -> tuple[int, ...] | None:
    """Primaries and curve of an AVIF's first color box (ISO 14496-12, 12.1.5), which Pillow does not report."""
    place = data.find(NCLX, 0, HEAD_OF_AVIF)
    if place < 0 or place + len(NCLX) + 4 > len(data):
        return None
    return struct.unpack_from(">2H", data, place + len(NCLX))


def _by_profile(data: Any, stored: str) -> Colors | None:
    """None if the profile is damaged or does not fit the picture's color mode."""
    if not isinstance(data, bytes) or not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = str(getattr(profile.profile, "xcolor_space", ""))  # Pillow's type stubs expect a file here
        if space != stored and (stored, space) != ("GRAY", "RGB "):  # gray pixels are colors of every RGB space
            return None
        transform = _transform(profile, space)
        name = _name_of(profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if space in ("RGB ", "GRAY") and _moves_nothing(transform, space):
        return Colors()
    return Colors(space, transform, CONVERTED.format(name=name))


def _transform(profile: ImageCms.ImageCmsProfile, space: str) -> ImageCms.ImageCmsTransform:
    """A transform to sRGB with black point compensation, as in image editors."""
    mode = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}[space]
    return ImageCms.buildTransform(
        profile,
        ImageCms.ImageCmsProfile(io.BytesIO(SRGB_PROFILE)),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _moves_nothing(transform: ImageCms.ImageCmsTransform, space: str) -> bool:
    if space == "GRAY":
        values = np.arange(256, dtype=np.uint8)[None]
        before = np.repeat(values[..., None], 3, axis=2)
        source = Image.fromarray(values)
    else:
        steps = np.linspace(0, 255, GRID).round().astype(np.uint8)
        before = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, GRID, 3)
        source = Image.fromarray(before)
    after = np.asarray(ImageCms.applyTransform(source, transform))
    return int(np.abs(after.astype(np.int16) - before).max()) <= SAME


def _lab_alone(stored: str) -> ImageCms.ImageCmsTransform | None:
    """Lab needs no profile; CMYK without one is left to Pillow."""
    return _transform(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), stored) if stored == "Lab " else None


def _by_code_points(cicp: tuple[int, ...]) -> Colors:
    primaries, curve = cicp[0], cicp[1]
    if curve in HDR_CURVES:
        return Colors(note=HDR.format(curve=HDR_CURVES[curve]))
    if primaries not in PRIMARIES:
        return Colors(note=UNUSABLE)
    return _by_numbers(*PRIMARIES[primaries], GAMMAS.get(curve))


def _by_chunks(info: Mapping[Any, Any]) -> Colors:
    gamma, xy = info.get("gamma"), info.get("chromaticity")
    primaries = icc.SRGB
    if isinstance(xy, tuple) and len(xy) == CHROMATICITIES:
        declared = Primaries(xy[0:2], xy[2:4], xy[4:6], xy[6:8])
        same = np.allclose(np.array(declared), np.array(icc.SRGB), atol=NEAR)
        primaries = icc.SRGB if same else declared
    exponent = 1 / gamma if isinstance(gamma, float) and gamma > 0 else None
    is_usual = isinstance(gamma, float) and SRGB_GAMMAS[0] <= gamma <= SRGB_GAMMAS[1]
    if primaries is icc.SRGB and (exponent is None or is_usual):
        return Colors()
    return _by_numbers("described by its gAMA and cHRM chunks", primaries, exponent)


def _by_numbers(name: str, primaries: Primaries, gamma: float | None) -> Colors:
    if primaries is icc.SRGB and gamma is None:
        return Colors()
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc.profile(name, primaries, gamma)))
        return Colors("RGB ", _transform(profile, "RGB "), CONVERTED.format(name=name))
    except (ImageCms.PyCMSError, OSError, ValueError, ArithmeticError):
        return Colors(note=UNUSABLE)


def _name_of(profile: ImageCms.ImageCmsProfile) -> str:
    text = ImageCms.getProfileDescription(profile)
    name = "".join(letter for letter in text if letter.isprintable()).strip()[:MOST_NAME]
    return repr(name) if name else "of a color profile"
