"""Color correction of img2img: the colors of one picture, the brightness of another."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.images.quantize import to_bytes


def corrected(result: NDArray[np.uint8], target: Image.Image, is_exact: bool = False) -> NDArray[np.uint8]:
    """`result` (H, W, 3) with the colors of `target` (RGB, any size), A1111's `img2img_color_correction`.

    Each channel's histogram in 8-bit CIE L*a*b* is matched to the target's. Only hue and saturation are taken from
    that; the brightness stays the result's. Rounding to 8 bits twice posterizes flat areas. `is_exact` truncates to
    bytes where A1111 does, which shifts colors slightly towards cyan each time.
    """
    lab = _lab(result)
    goal = _lab(np.asarray(target))
    matched = np.stack([matched_histogram(lab[..., c], goal[..., c], is_exact) for c in range(3)], axis=-1)
    colored = np.asarray(cv2.cvtColor(matched, cv2.COLOR_LAB2RGB), np.float64) / 255
    blended = with_luminosity(colored, result.astype(np.float64) / 255)
    return to_bytes(blended.clip(0, 1) * 255, is_exact)


def matched_histogram(
    values: NDArray[np.uint8], target: NDArray[np.uint8], is_exact: bool = False
) -> NDArray[np.uint8]:
    """`values` mapped so that their cumulative histogram matches that of `target`, interpolated, as 8 bit."""
    counts = np.bincount(values.ravel(), minlength=256)
    target_counts = np.bincount(target.ravel(), minlength=256)
    present = np.flatnonzero(target_counts)
    quantiles = np.cumsum(counts) / values.size
    target_quantiles = np.cumsum(target_counts[present]) / target.size
    return to_bytes(np.interp(quantiles, target_quantiles, present), is_exact)[values]


def with_luminosity(base: NDArray[np.float64], light: NDArray[np.float64]) -> NDArray[np.float64]:
    """`base` (H, W, 3) in [0, 1] with the luminosity of `light`: the blend mode "luminosity" (W3C Compositing 1, 10.3).

    Where a channel leaves [0, 1] all three are moved towards the pixel's gray. The maximum is the one before the
    correction at 0, as in the library that A1111 uses.
    """
    moved = base + (_luminosity(light) - _luminosity(base))
    gray = _luminosity(moved)
    low, high = moved.min(-1, keepdims=True), moved.max(-1, keepdims=True)
    # Divisors may be 0 where nothing is out of range; those results are not used.
    below = gray + (moved - gray) * gray / np.where(low < 0, gray - low, 1)
    moved = np.where(low < 0, below, moved)
    above = gray + (moved - gray) * (1 - gray) / np.where(high > 1, high - gray, 1)
    return np.where(high > 1, above, moved)


def _luminosity(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, W, 1), by ITU-R BT.601. Keep the order of the summands: truncation to 8 bit makes it visible."""
    return rgb[..., :1] * 0.299 + rgb[..., 1:2] * 0.587 + rgb[..., 2:] * 0.114


def _lab(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), np.uint8)
