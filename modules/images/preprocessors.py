"""Preprocessors of control units: what a ControlNet sees in place of a picture. A table, one row each, without weights.

A map is RGB, (height, width, 3) uint8, of the size of the picture it is made from. Numbers and labels are those of
sd-webui-controlnet.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from modules.base.errors import WebuiError
from modules.images.derived_maps import normals, scribbled, shuffled
from modules.images.network_maps import WEIGHTS

Pixels = NDArray[np.uint8]
Draw = Callable[[Pixels, float, float], Pixels]

FIELD: Final = "controlnet"
USUAL_RESOLUTION: Final = 512  # pixels of the short side
MOST_PIXELS: Final = 1 << 26  # of a map


@dataclass(frozen=True)
class Slider:
    """A number of a preprocessor."""

    name: str
    value: float
    minimum: float
    maximum: float
    step: float = 1.0

    def taken(self, given: float) -> float:
        """The number that counts: what is out of its range stands for the usual one, as -1 does."""
        return given if self.minimum <= given <= self.maximum else self.value


@dataclass(frozen=True)
class Preprocessor:
    """One row. `has_resolution`: whether it draws at a resolution of its own instead of the picture's.

    types: the control types that offer it, the first is its own.  hides_mask: whether the masked part is -1 for the
    network, which then fills it: ControlNet 1.1's inpainting.
    """

    name: str
    label: str
    draw: Draw
    sliders: tuple[Slider, ...] = ()
    has_resolution: bool = True
    types: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    hides_mask: bool = False

    def drawn(self, picture: Pixels, resolution: int, threshold_a: float, threshold_b: float) -> Pixels:
        """The map of a picture (H, W, 3); its short side is `resolution` pixels, where the row has one."""
        given = (threshold_a, threshold_b)
        numbers = [slider.taken(number) for slider, number in zip(self.sliders, given, strict=False)]
        first, second = [*numbers, 0.0, 0.0][:2]
        if self.has_resolution:
            picture = at_resolution(picture, resolution)
        return np.ascontiguousarray(self.draw(picture, first, second))


def at_resolution(picture: Pixels, resolution: int) -> Pixels:
    """The picture with a short side of so many pixels; areas are averaged, enlarged ones are Lanczos'.

    Raises WebuiError if it would be too large.
    """
    height, width = picture.shape[:2]
    factor = resolution / min(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size == (width, height):
        return picture
    if size[0] * size[1] > MOST_PIXELS:
        raise WebuiError(
            f"controlnet: a map of {size[0]} x {size[1]} pixels is too large.",
            "Lower the preprocessor's resolution, or crop the picture.",
            FIELD,
        )
    return _bytes(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LANCZOS4))


def _none(picture: Pixels, first: float, second: float) -> Pixels:
    return picture


def _canny(picture: Pixels, low: float, high: float) -> Pixels:
    return _gray(cv2.Canny(picture, low, high))


def _inverted(picture: Pixels, first: float, second: float) -> Pixels:
    return 255 - picture


def _binary(picture: Pixels, threshold: float, second: float) -> Pixels:
    """White lines on black: what is darker than the threshold; 0 finds the threshold by Otsu."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    method = cv2.THRESH_BINARY_INV | (cv2.THRESH_OTSU if threshold in (0, 255) else 0)
    return _gray(cv2.threshold(gray, threshold, 255, method)[1])


def _threshold(picture: Pixels, threshold: float, second: float) -> Pixels:
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return _gray(np.where(gray > threshold, np.uint8(255), np.uint8(0)))


def _line_art(picture: Pixels, first: float, second: float) -> Pixels:
    """White lines where the picture is darker than its surroundings; by a blur of 6 pixels, and the median of what
    there is above 8 as the strength of lines."""
    values = picture.astype(np.float32)
    depth = (cv2.GaussianBlur(values, (0, 0), 6.0) - values).min(axis=2).clip(0, 255)
    lines = depth[depth > 8]
    strength = max(16.0, float(np.median(lines)) if lines.size else 16.0)
    return _gray((depth / strength * 127).clip(0, 255).astype(np.uint8))


def _scribble(picture: Pixels, threshold: float, second: float) -> Pixels:
    """XDoG: where the difference of two blurs (0.5 and 5 pixels) is above the threshold; Winnemöller et al. 2012."""
    values = picture.astype(np.float32)
    narrow, wide = cv2.GaussianBlur(values, (0, 0), 0.5), cv2.GaussianBlur(values, (0, 0), 5.0)
    difference = 255 - np.min(narrow - wide + 255, axis=2).clip(0, 255)
    return _gray(np.where(2 * difference > threshold, np.uint8(255), np.uint8(0)))


def _tile(picture: Pixels, factor: float, second: float) -> Pixels:
    """The picture made smaller by a factor; 1 leaves it."""
    if factor <= 1:
        return picture
    height, width = picture.shape[:2]
    size = (max(1, int(width / factor)), max(1, int(height / factor)))
    return _bytes(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _blurred(picture: Pixels, sigma: float, second: float) -> Pixels:
    return _bytes(cv2.GaussianBlur(picture, (0, 0), sigma)) if sigma > 0 else picture


def _luminance(picture: Pixels, gamma: float, second: float) -> Pixels:
    """The lightness of CIELAB."""
    return _raised(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[:, :, 0], gamma)


def _intensity(picture: Pixels, gamma: float, second: float) -> Pixels:
    """The largest of the three colors, the value of HSV."""
    return _raised(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[:, :, 2], gamma)


def _colors(picture: Pixels, cells: float, second: float) -> Pixels:
    """A grid of colors with cells of so many pixels."""
    height, width = picture.shape[:2]
    size = (max(1, round(width / cells)), max(1, round(height / cells)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    return _bytes(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST))


def _raised(channel: NDArray[np.generic], gamma: float) -> Pixels:
    return _gray((255 * (channel.astype(np.float32) / 255) ** gamma).clip(0, 255).astype(np.uint8))


def _gray(channel: NDArray[np.generic]) -> Pixels:
    return _bytes(np.repeat(channel[:, :, None], 3, axis=2))


def _bytes(picture: NDArray[np.generic]) -> Pixels:
    return picture.astype(np.uint8, copy=False)


GAMMA: Final = Slider("Gamma Correction", 1.0, 0.1, 2.0, 0.001)

PREPROCESSORS: Final[tuple[Preprocessor, ...]] = (
    Preprocessor("none", "none", _none, has_resolution=False, types=("All",)),
    Preprocessor(
        "canny",
        "canny",
        _canny,
        (Slider("Canny Low Threshold", 100, 1, 255), Slider("Canny High Threshold", 200, 1, 255)),
        types=("Canny",),
    ),
    Preprocessor(
        "invert",
        "invert (from white bg & black line)",
        _inverted,
        has_resolution=False,
        types=("Canny", "Lineart", "SoftEdge", "Scribble", "MLSD"),
    ),
    Preprocessor("lineart_standard", "lineart_standard (from white bg & black line)", _line_art, types=("Lineart",)),
    Preprocessor(
        "scribble_xdog", "scribble_xdog", _scribble, (Slider("XDoG Threshold", 32, 1, 64),), types=("Scribble",)
    ),
    Preprocessor(
        "tile_resample",
        "tile_resample",
        _tile,
        (Slider("Down Sampling Rate", 1.0, 1.0, 8.0, 0.01),),
        has_resolution=False,
        types=("Tile",),
    ),
    Preprocessor(
        "blur_gaussian",
        "blur_gaussian",
        _blurred,
        (Slider("Sigma", 9.0, 0.01, 64.0, 0.01),),
        types=("Tile",),
    ),
    Preprocessor(
        "recolor_luminance", "recolor_luminance", _luminance, (GAMMA,), has_resolution=False, types=("Recolor",)
    ),
    Preprocessor(
        "recolor_intensity", "recolor_intensity", _intensity, (GAMMA,), has_resolution=False, types=("Recolor",)
    ),
    Preprocessor(
        "threshold",
        "threshold",
        _threshold,
        (Slider("Binarization Threshold", 127, 0, 255),),
        types=("Canny", "Lineart", "Scribble"),
    ),
    Preprocessor(
        "binary", "binary", _binary, (Slider("Binary Threshold", 0, 0, 255),), types=("Lineart", "Scribble")
    ),
    Preprocessor(
        "scribble_edges", "scribble_edges", scribbled, (Slider("Edge Threshold", 100, 1, 255),), types=("Scribble",)
    ),
    Preprocessor("shuffle", "shuffle", shuffled, types=("Shuffle",)),
    Preprocessor(
        "normal_from_depth",
        "normal_from_depth (from a depth map)",
        normals,
        (Slider("Normal Background Threshold", 0.4, 0.0, 1.0, 0.01),),
        types=("NormalMap",),
    ),
    Preprocessor("inpaint_only", "inpaint_only", _none, has_resolution=False, types=("Inpaint",), hides_mask=True),
    Preprocessor(
        "inpaint_global_harmonious",
        "inpaint_global_harmonious",
        _none,
        has_resolution=False,
        types=("Inpaint",),
        aliases=("inpaint",),
        hides_mask=True,
    ),
    Preprocessor(
        "color_grid",
        "color_grid",
        _colors,
        (Slider("Cell size", 64, 8, 256),),
        types=("T2I-Adapter",),
        aliases=("color", "t2ia_color_grid"),
    ),
)  # fmt: skip


def preprocessor(name: str) -> Preprocessor:
    """The row called `name`, or with that label or alias, ignoring case. Raises WebuiError with the nearest name."""
    wanted = name.strip().casefold() or "none"
    for row in PREPROCESSORS:
        if wanted in (row.name, row.label.casefold(), *row.aliases):
            return row
    if wanted in WEIGHTS:
        raise WebuiError(
            f"controlnet: there is no preprocessor {wanted!r} yet: it is a network, {WEIGHTS[wanted]}.",
            "Make the map elsewhere, and send it with the preprocessor none.",
            FIELD,
        )
    near = difflib.get_close_matches(wanted, [row.name for row in PREPROCESSORS], 1, 0.0)
    raise WebuiError(
        f"controlnet: there is no preprocessor {name[:100]!r}; did you mean {near[0]!r}?",
        "Preprocessors whose networks have weights are not offered yet: send their map with the preprocessor none.",
        FIELD,
    )
