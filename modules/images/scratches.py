"""Scratches and dust on a scanned photograph: found by morphology, filled from what lies around them."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SENSITIVITY = 0.3  # unless told otherwise: higher ones find wires and hair sooner than scratches
FINEST = 5  # pixels: the narrowest structuring element; what is narrower than it counts as thin
PER_WIDTH = 0.006  # of the shorter side: the widest scratch
LINE = 0.04  # of the shorter side: the shortest straight piece of a scratch
EXTENT = 0.08  # of the shorter side: the least extent of a scratch as a whole
ANGLES = 16  # directions that are tried
FAINTEST, CLEAREST = 12, 72  # of 255: how far a scratch stands out, at sensitivity 1 and 0
OUT_OF_TEXTURE = 3.0  # times the thin structure around it
PEAK = 8  # how many times clearer than the thin structure around it a spot of dust is at least
SPOT = 1.2  # how much clearer a spot of dust must be than a scratch
SURROUNDINGS = 3  # pixels around a scratch from which it is filled


def scratches(image: Image.Image, sensitivity: float = SENSITIVITY) -> Image.Image:
    """L of the size of `image`: 255 where a thin bright or dark line or a speck is, with a margin of a pixel or two.

    Top-hat and black-hat (Serra 1982) leave what is narrower than a scratch may be; openings by lines in ANGLES
    directions keep what is long in one of them. `sensitivity` from 0 to 1: higher ones find fainter scratches, and
    more that are none.
    """
    gray = np.asarray(image.convert("L"))
    shorter = min(gray.shape)
    width = max(FINEST, int(shorter * PER_WIDTH) | 1)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    clear = CLEAREST + (FAINTEST - CLEAREST) * sensitivity
    found = np.zeros(gray.shape, np.uint8)
    for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        thin = cv2.morphologyEx(gray, operation, disk).astype(np.uint8)
        around = cv2.blur(thin.astype(np.float32), (8 * width + 1, 8 * width + 1))
        step = np.maximum(clear, OUT_OF_TEXTURE * around)
        long = _along_lines(thin, max(9, int(shorter * LINE) | 1))
        found |= _long_ones(_joined(thin > step * 0.5, long > step), shorter * EXTENT)
        found |= _specks(thin, thin > step * SPOT, width)
    margin = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    return Image.fromarray(cv2.dilate(found, margin), "L")


def filled_in(image: Image.Image, mask: Image.Image) -> Image.Image:
    """RGB `image` with what is not 0 in `mask` (L, same size) filled from around it; all other bytes stay.

    Telea 2004, "An Image Inpainting Technique Based on the Fast Marching Method".
    """
    pixels, hole = np.asarray(image.convert("RGB")), np.asarray(mask)
    filled = cv2.inpaint(np.ascontiguousarray(pixels), (hole > 0).astype(np.uint8), SURROUNDINGS, cv2.INPAINT_TELEA)
    return Image.fromarray(np.where(hole[..., None] > 0, filled, pixels).astype(np.uint8), "RGB")


def _along_lines(thin: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """The largest of the openings of `thin` by lines of `length` pixels."""
    best = np.zeros_like(thin)
    for number in range(ANGLES):
        best = np.maximum(best, cv2.morphologyEx(thin, cv2.MORPH_OPEN, _line(length, math.pi * number / ANGLES)))
    return best


def _line(length: int, angle: float) -> NDArray[np.uint8]:
    element = np.zeros((length, length), np.uint8)
    middle, reach = length // 2, (length - 1) / 2
    x, y = round(reach * math.cos(angle)), round(reach * math.sin(angle))
    cv2.line(element, (middle - x, middle - y), (middle + x, middle + y), 1)
    return element


def _joined(weak: NDArray[np.bool_], strong: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """255 where `weak` is connected to `strong`: a scratch goes on where it fades."""
    count, found = cv2.connectedComponents(weak.astype(np.uint8), connectivity=8)
    labels = found.astype(np.intp)
    has_strong = np.zeros(count, bool)
    has_strong[np.unique(labels[strong & weak])] = True
    has_strong[0] = False
    return (has_strong[labels] | strong).astype(np.uint8) * 255


def _long_ones(found: NDArray[np.uint8], extent: float) -> NDArray[np.uint8]:
    """The connected parts of `found` that reach over `extent` pixels and fill little of their box."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    labels = parts.astype(np.intp)
    across, down = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    reach = np.hypot(across, down)
    is_long = (reach >= extent) & (stats[:, cv2.CC_STAT_AREA] <= 8 * reach)
    is_long[0] = False
    return is_long[labels].astype(np.uint8) * 255


def _specks(thin: NDArray[np.uint8], clear: NDArray[np.bool_], width: int) -> NDArray[np.uint8]:
    """255 on small, round spots of `clear` that stand out from the thin structure around them."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(clear.astype(np.uint8), connectivity=8)
    labels = parts.astype(np.intp)
    areas, sides = stats[:, cv2.CC_STAT_AREA], stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    is_speck = (areas >= 3) & (sides.max(1) <= width) & (areas >= 0.5 * sides.prod(1))
    side = 6 * width + 1
    total = cv2.boxFilter(thin.astype(np.float32), -1, (side, side), normalize=False)
    own = np.bincount(labels.ravel(), thin.ravel().astype(np.float64), count)
    centers = np.maximum(stats[:, :2] + sides // 2, 0)
    around = (total[centers[:, 1], centers[:, 0]] - own) / (side * side)
    peaks = np.zeros(count, thin.dtype)
    np.maximum.at(peaks, labels.ravel(), thin.ravel())
    is_speck &= around * PEAK < peaks
    is_speck[0] = False
    return is_speck[labels].astype(np.uint8) * 255
