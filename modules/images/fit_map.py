"""Bringing a control unit's map to the size of the result, so that thin lines stay thin and flat areas stay flat.

The rules are sd-webui-controlnet's; so is the resolution that "pixel perfect" chooses.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from modules.images.geometry import Size
from modules.images.preprocessors import Pixels
from modules.schema.control import CROP, FILL, STRETCH, FitMode

FEWEST_COLORS: Final = 200  # a map with fewer, and more than two, is one of areas
DARK, LIGHT = 16, 240  # a map of two colors, one below and one above, is one of lines
THIN_SHARE: Final = 0.8  # of the lines that vanish under an erosion, for lines to be one pixel wide
_DIRECTIONS: Final = ((1, 0), (0, 1), (1, 1), (1, -1))


def fitted_map(pixels: Pixels, size: Size, mode: FitMode) -> Pixels:
    """The map (H, W, 3) at `size`: stretched, cropped at its longer side, or filled with the color of its border."""
    height, width = pixels.shape[:2]
    if mode == STRETCH:
        return resized_map(pixels, size)
    both = (size.width / width, size.height / height)
    factor = max(both) if mode == CROP else min(both)
    scaled = resized_map(pixels, Size(max(1, round(width * factor)), max(1, round(height * factor))))
    if mode == CROP:
        left, top = (max(0, scaled.shape[1] - size.width) // 2, max(0, scaled.shape[0] - size.height) // 2)
        return np.ascontiguousarray(scaled[top : top + size.height, left : left + size.width])
    border = np.median(_borders(pixels), axis=0).astype(np.uint8)
    filled = np.broadcast_to(border, (size.height, size.width, 3)).copy()
    left, top = (size.width - scaled.shape[1]) // 2, (size.height - scaled.shape[0]) // 2
    filled[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled[: size.height, : size.width]
    return filled


def resized_map(pixels: Pixels, size: Size) -> Pixels:
    """The map stretched to `size`: areas keep their colors, lines of one pixel stay one pixel wide."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    colors = len(np.unique(pixels.reshape(-1, 3), axis=0))
    is_lines = colors == 2 and int(pixels.min()) < DARK and int(pixels.max()) > LIGHT
    if 2 < colors < FEWEST_COLORS:
        how = cv2.INTER_NEAREST
    else:
        how = cv2.INTER_AREA if size.width * size.height < width * height else cv2.INTER_CUBIC
    made = cv2.resize(pixels, tuple(size), interpolation=how).astype(np.uint8, copy=False)
    if not is_lines:
        return made
    gray = made.mean(axis=2).clip(0, 255).astype(np.uint8)
    lines = _thinned(gray) if _are_thin(pixels) else cv2.threshold(gray, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]
    return np.repeat(lines.astype(np.uint8)[:, :, None], 3, axis=2)


def pixel_perfect(picture: Size, size: Size, mode: FitMode) -> int:
    """The resolution at which a preprocessor draws one pixel of the map for one of the result.

    >>> pixel_perfect(Size(1000, 500), Size(512, 512), "Crop and Resize")
    512
    """
    factors = (size.height / picture.height, size.width / picture.width)
    return max(1, round((min(factors) if mode == FILL else max(factors)) * min(picture)))


def _borders(pixels: Pixels) -> Pixels:
    sides: Sequence[Pixels] = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return np.concatenate(sides)


def _are_thin(pixels: Pixels) -> bool:
    """Whether most lines vanish when their edges are taken off."""
    light = int((pixels[:, :, 0] > LIGHT).sum())
    left = int((cv2.erode(pixels[:, :, 0], np.ones((3, 3), np.uint8)) > LIGHT).sum())
    return light > 0 and light < pixels.shape[0] * pixels.shape[1] // 2 and left < (1 - THIN_SHARE) * light


def _thinned(gray: Pixels) -> NDArray[np.generic]:
    """The ridges of enlarged lines: pixels that along some direction are above one neighbor and not below the other."""
    framed = np.pad(gray, 1)
    height, width = gray.shape
    is_ridge = np.zeros(gray.shape, bool)
    for x, y in _DIRECTIONS:
        one = framed[1 + y : 1 + y + height, 1 + x : 1 + x + width]
        other = framed[1 - y : 1 - y + height, 1 - x : 1 - x + width]
        is_ridge |= (gray >= np.maximum(one, other)) & (gray > np.minimum(one, other))
    return np.where(is_ridge & (gray > 127), np.uint8(255), np.uint8(0))
