"""Maps of control units that are derived from a picture in several steps: shuffled, scribbled, normals of a depth map.

A picture and its map are RGB, (height, width, 3) uint8.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

PATCH: Final = 256  # pixels between two random displacements; ControlNet 1.1's content shuffle
SOFTENED: Final = 2.0  # sigma in pixels before edges are looked for, so that texture has none
PEN: Final = 5  # pixels, width of a scribbled line
STEEP: Final = 2 * np.pi  # z of a normal before it is scaled to length 1, for a depth from 0 to 255; ControlNet 1.0


def shuffled(picture: Pixels, first: float, second: float) -> Pixels:
    """The picture's colors and textures at other places: each pixel is taken from where smooth noise says.

    The noise is always the same, so that a map is.
    """
    height, width = picture.shape[:2]
    noise = np.random.default_rng(PATCH)
    x, y = (_smooth(noise, height, width) * (side - 1) for side in (width, height))
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def scribbled(picture: Pixels, threshold: float, second: float) -> Pixels:
    """White lines as of a thick pen along the edges above a threshold, on black."""
    soft = cv2.GaussianBlur(picture, (0, 0), SOFTENED)
    edges = cv2.Canny(soft, threshold / 2, threshold)
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (PEN, PEN))
    lines = cv2.GaussianBlur(cv2.dilate(edges, pen), (0, 0), SOFTENED) > 127  # without the steps of single pixels
    return np.repeat(np.where(lines, np.uint8(255), np.uint8(0))[:, :, None], 3, axis=2)


def normals(depth: Pixels, background: float, second: float) -> Pixels:
    """Directions of the surface of a depth map in which near is light: red is left, green up, blue to the viewer.

    What is darker than `background` (0 to 1) faces the viewer.
    """
    near = depth.astype(np.float32).mean(axis=2)
    x, y = cv2.Sobel(near, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(near, cv2.CV_32F, 0, 1, ksize=3)
    is_far = near < background * 255
    directions = np.stack([np.where(is_far, 0, x), np.where(is_far, 0, y), np.full_like(near, STEEP)], axis=2)
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    return (directions * 127.5 + 127.5).clip(0, 255).astype(np.uint8)


def _smooth(noise: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Smooth noise from 0 to 1."""
    coarse = noise.random((height // PATCH + 2, width // PATCH + 2), dtype=np.float32)
    fine = cv2.resize(coarse, (width + 2 * PATCH, height + 2 * PATCH), interpolation=cv2.INTER_CUBIC)
    part = fine[PATCH : PATCH + height, PATCH : PATCH + width]
    span = float(np.ptp(part))
    return ((part - part.min()) / (span or 1.0)).astype(np.float32)
