"""Soft inpainting: latents blend gradually during sampling, pixels by how far their latents moved.

The arithmetic is that of A1111's built-in extension. Masks are 1 where the picture may change.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from modules.images.geometry import Size
from modules.images.quantize import to_bytes
from modules.images.resize import RESIZE_AND_FILL, resized
from modules.processing.plan import Softness

Floats = NDArray[np.float64]

SMOOTHING = 4  # pixels; hides the latent's cells in the final mask
TINY = 1e-5
RADIUS = 2  # cells on each side that the filter covers
DEVIATION = 1.5  # of its weights, in cells; exp(-d² / deviation²)


def blended(original: Tensor, current: Tensor, mask: Tensor, level: Tensor, softness: Softness) -> Tensor:
    """`current` softly replaced by `original`, both (B or 1, C, h, w), where `mask` (broadcastable) is below 1.

    The mask is raised to level ** bias * strength: late in sampling, where levels are low, it lets more through. The
    mean of two latents is weaker than both, so magnitudes (over the channels) are averaged separately, as a power mean
    with the exponent `contrast_boost`. `level` is a number: sigma, or the timestep in the DDIM family.
    """
    weight = mask ** (level**softness.bias * softness.strength)
    mean = original * (1 - weight) + current * weight
    boost = softness.contrast_boost
    before, after = (_magnitude(latent) ** boost for latent in (original, current))
    target = (before * (1 - weight) + after * weight) ** (1 / boost)
    return mean * (target / (_magnitude(mean) + TINY)).to(mean.dtype)


def overlay_mask(
    original: Tensor, result: Tensor, mask: Tensor, softness: Softness, size: Size, is_exact: bool = False
) -> Image.Image:
    """The mask (mode L, of `size`) for pasting the finished pixels over their source.

    original, result: (C, h, w), the latent before and after; mask: (h, w), the latent mask.
    """
    distance = torch.linalg.vector_norm(result - original, dim=0).double().cpu().numpy()
    distance = weighted_percentiles(distance, 0.9, 1.0)  # near the largest value nearby, so that no change is lost
    distance = weighted_percentiles(distance, 0.25, 0.75)  # near the median, so that single cells do not stand out
    share = 1 - mask.clamp(0, 1).double().cpu().numpy() ** (softness.strength / 2)
    share = 0.5 * (1 - softness.mask_influence) + share * softness.mask_influence
    half = softness.threshold * share / (1.00001 - share)  # the change at which half of the original shows
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # with a threshold of 0 any change is replaced
        kept = 1 / (1 + np.nan_to_num(distance / half, nan=0.0, posinf=np.inf) ** softness.contrast)
    opacity = 255 * (1 - _smootherstep(kept))
    image = resized(Image.fromarray(to_bytes(opacity, is_exact), "L"), RESIZE_AND_FILL, size)
    return image.filter(ImageFilter.GaussianBlur(SMOOTHING))


def weighted_percentiles(values: Floats, low: float, high: float) -> Floats:
    """For each cell of `values` (h, w) the weighted mean of its neighbors between two percentiles (0 … 1) of weight.

    Neighbors are up to RADIUS cells away and weighted by a Gaussian. Sorted by value, each covers an interval as long
    as its weight. The window between the percentiles is at least 1 long and is moved to stay inside.
    """
    height, width = values.shape
    around = np.full((height + 2 * RADIUS, width + 2 * RADIUS), np.nan)
    around[RADIUS : RADIUS + height, RADIUS : RADIUS + width] = values
    kernel = _kernel()
    places = [(y, x) for y in range(2 * RADIUS + 1) for x in range(2 * RADIUS + 1)]
    found = np.stack([around[y : y + height, x : x + width] for y, x in places], axis=-1)
    weights = np.where(np.isnan(found), 0.0, np.array([kernel[place] for place in places]))
    order = np.argsort(found, axis=-1, kind="stable")  # nan last
    found = np.nan_to_num(np.take_along_axis(found, order, -1))
    weights = np.take_along_axis(weights, order, -1)
    ends = np.cumsum(weights, axis=-1)
    total = ends[..., -1:]
    first, last = total * low, total * high
    middle = (first + last) / 2
    is_narrow = last - first < 1
    first, last = np.where(is_narrow, middle - 0.5, first), np.where(is_narrow, middle + 0.5, last)
    is_over = is_narrow & (last > total)
    first, last = np.where(is_over, total - 1, first), np.where(is_over, total, last)
    is_under = is_narrow & (first < 0)
    first, last = np.where(is_under, 0, first), np.where(is_under, 1, last)
    overlap = (np.minimum(last, ends) - np.maximum(first, ends - weights)).clip(0)
    return (found * overlap).sum(-1) / overlap.sum(-1)


def _kernel() -> Floats:
    """Gaussian weights (5, 5), 1 in the center, shifted down so that they would be 0 one cell further out."""
    offsets = np.arange(-RADIUS, RADIUS + 1)
    edge = np.exp(-((RADIUS + 1) ** 2) / DEVIATION**2)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / DEVIATION**2)
    return np.maximum((weights - edge) / (1 - edge), 0.0)


def _magnitude(latent: Tensor) -> Tensor:
    """The norm over the channels, (B, 1, h, w) in fp64, since large exponents follow."""
    return torch.linalg.vector_norm(latent, dim=1, keepdim=True).double()


def _smootherstep(x: Floats) -> Floats:
    """Perlin 2002: 0 to 1 with first and second derivatives of 0 at both ends."""
    return x**3 * (x * (6 * x - 15) + 10)
