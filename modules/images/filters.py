"""Classic filters of Extras: less noise, sharper edges, the colors of another picture. RGBA keeps its alpha."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]
Hear = Callable[[], None]  # may raise to stop

STRONGEST: Final = 15.0  # `h` of non-local means, in levels of 255: noise of this size is taken away
PATCH, SEARCH = 7, 21  # pixels: what is compared, and how far around a pixel
REACH: Final = PATCH // 2 + SEARCH // 2
BAND: Final = 128  # rows that are filtered between two looks at whether to stop
RADIUS: Final = 2.0  # pixels, of the unsharp mask
THRESHOLD: Final = 2  # levels: smaller differences are noise and stay
LOW: Final = 1 / 64  # of the shorter side: what is softer is shading, what is finer is detail


def denoised(image: Image.Image, strength: float, hear: Hear = lambda: None) -> Image.Image:
    """`image` (RGB or RGBA) with less noise; `strength` 0 … 1. The result does not depend on the bands.

    Buades, Coll, Morel, "A non-local algorithm for image denoising" (2005), color apart from brightness.
    """
    if strength <= 0:
        return image
    source = np.asarray(image.convert("RGB"))
    result = np.empty_like(source)
    for top in range(0, len(source), BAND):
        hear()
        first, last = max(0, top - REACH), min(len(source), top + BAND + REACH)
        h = STRONGEST * strength
        band = cv2.fastNlMeansDenoisingColored(source[first:last], None, h, h, PATCH, SEARCH)
        result[top : top + BAND] = band[top - first : top - first + BAND]
    return _like(image, result)


def sharpened(image: Image.Image, amount: float) -> Image.Image:
    """`image` (RGB or RGBA) with an unsharp mask of `amount` (1 doubles the contrast of edges)."""
    if amount <= 0:
        return image
    mask = ImageFilter.UnsharpMask(RADIUS, round(100 * amount), THRESHOLD)
    return _like(image, np.asarray(image.convert("RGB").filter(mask)))


def color_fixed(image: Image.Image, source: Image.Image, method: str) -> Image.Image:
    """`image` with the colors of `source`, the same picture at another size, by a name of COLOR_FIXES."""
    fix = COLOR_FIXES[method]
    return _like(image, fix(np.asarray(image.convert("RGB")), np.asarray(source.convert("RGB"))))


def _wavelet(pixels: Pixels, source: Pixels) -> Pixels:
    """The low frequencies of `source` in place of those of `pixels`, both measured at the source's size."""
    height, width = source.shape[:2]
    sigma = max(1.0, min(width, height) * LOW)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    result = np.empty_like(pixels)
    for channel in range(3):
        target = cv2.GaussianBlur(source[..., channel].astype(np.float32), (0, 0), sigma)
        found = cv2.GaussianBlur(small[..., channel].astype(np.float32), (0, 0), sigma)
        change = cv2.resize(target - found, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        change += pixels[..., channel]
        result[..., channel] = np.clip(np.rint(change), 0, 255)
    return result


def _adain(pixels: Pixels, source: Pixels) -> Pixels:
    """Mean and standard deviation of each channel as in `source` (Huang and Belongie 2017, on pixels)."""
    tables = np.empty((3, 256), np.uint8)
    for channel, table in enumerate(tables):
        (mean, std), (target_mean, target_std) = (
            (float(one[..., channel].mean()), float(one[..., channel].std())) for one in (pixels, source)
        )
        levels = (np.arange(256) - mean) * (target_std / std if std > 0 else 1.0) + target_mean
        table[:] = np.clip(np.rint(levels), 0, 255)
    return np.stack([tables[channel][pixels[..., channel]] for channel in range(3)], axis=-1)


COLOR_FIXES: Mapping[str, Callable[[Pixels, Pixels], Pixels]] = MappingProxyType({"Wavelet": _wavelet, "AdaIN": _adain})


def _like(image: Image.Image, pixels: Pixels) -> Image.Image:
    """`pixels` with the alpha of `image`, if it has one."""
    result = Image.fromarray(pixels)
    if image.mode == "RGBA":
        result.putalpha(image.getchannel("A"))
    return result
