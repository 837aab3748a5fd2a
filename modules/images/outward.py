"""Extending a picture beyond its edges: what the new area contains before a network paints over it.

The old pixels keep every byte. The new ones need not look right, but their colors influence what the network paints.
"""

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.images.geometry import Margins
from modules.schema.request import OUTPAINT_FILLS

Floats = NDArray[np.float32]

STRETCHED, BLUR, NOISE = range(len(OUTPAINT_FILLS))
SIGMAS = (2.0, 8.0, 32.0)  # pixels; the further from the edge, the wider the blur
SMALLEST_REACH = 16  # pixels from the edge beyond which there is only noise, at least


def continued(image: Image.Image, margins: Margins, fill: int) -> Image.Image:
    """RGB `image` with `margins` around it, filled by `fill` (an index of OUTPAINT_FILLS)."""
    if fill not in FILLS:
        raise ValueError(f"outpaint fill {fill}: expected 0 to {len(FILLS) - 1}")
    old = np.asarray(image)
    left, top, right, bottom = margins
    stretched = np.pad(old, ((top, bottom), (left, right), (0, 0)), mode="edge")
    new = np.array(FILLS[fill](old, stretched, margins))
    new[top : top + image.height, left : left + image.width] = old
    return Image.fromarray(new, "RGB")


def distance(image: tuple[int, int], margins: Margins) -> Floats:
    """(height, width): each pixel's distance in pixels from the old picture."""
    width, height = image
    left, top, right, bottom = margins
    x = np.arange(-left, width + right, dtype=np.float32)
    y = np.arange(-top, height + bottom, dtype=np.float32)
    across = np.maximum(np.maximum(-x, x - (width - 1)), 0)
    down = np.maximum(np.maximum(-y, y - (height - 1)), 0)
    return np.hypot(across[None, :], down[:, None])


def _stretched(old: NDArray[np.uint8], stretched: NDArray[np.uint8], margins: Margins) -> NDArray[np.uint8]:
    return stretched


def _blurred(old: NDArray[np.uint8], stretched: NDArray[np.uint8], margins: Margins) -> NDArray[np.uint8]:
    """Stretched edges that blur with the distance from the old pixels."""
    away = distance((old.shape[1], old.shape[0]), margins)[..., None]
    result = stretched.astype(np.float32)
    for sigma in SIGMAS:
        layer = cv2.GaussianBlur(stretched, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        result += (layer - result) * (away / (2 * sigma)).clip(0, 1)
    return np.around(result).astype(np.uint8)


def _noise(old: NDArray[np.uint8], stretched: NDArray[np.uint8], margins: Margins) -> NDArray[np.uint8]:
    """From blurred edges to noise with the picture's spectrum, colors and contrast.

    White noise filtered by the picture itself (spot noise: van Wijk 1991; Galerne, Gousseau & Morel 2011, "Random phase
    textures", eq. 4): its covariance over any distance is the picture's own. One noise for all channels keeps their
    colors together. It depends on the picture alone, so a batch's pictures can be made one by one.
    """
    height, width = stretched.shape[:2]
    window = np.hanning(old.shape[0] + 2)[1:-1, None] * np.hanning(old.shape[1] + 2)[None, 1:-1]
    mean = (old * window[..., None]).sum((0, 1)) / window.sum()
    spot = (old - mean) * window[..., None] / np.sqrt(np.square(window).sum())
    seed = int.from_bytes(hashlib.sha256(old.tobytes()).digest()[:8], "big")
    white = np.fft.rfft2(np.random.default_rng(seed).standard_normal((height, width)))
    channels = [np.fft.irfft2(np.fft.rfft2(spot[..., c], (height, width)) * white, (height, width)) for c in range(3)]
    texture = (np.stack(channels, axis=-1) + mean).clip(0, 255)
    reach = max(SMALLEST_REACH, max(margins) / 2)
    share = (distance((old.shape[1], old.shape[0]), margins)[..., None] / reach).clip(0, 1)
    near = _blurred(old, stretched, margins)
    return np.around(near + (texture - near) * share).astype(np.uint8)


FILLS: Mapping[int, Callable[[NDArray[np.uint8], NDArray[np.uint8], Margins], NDArray[np.uint8]]] = MappingProxyType(
    {STRETCHED: _stretched, BLUR: _blurred, NOISE: _noise}
)
