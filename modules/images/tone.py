"""Blends the tone of redrawn pixels into that of the kept pixels next to them, without a seam and without banding.

Only smooth offsets are added to the pixels: adjacent values stay adjacent, so there is no posterization.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from modules.images.geometry import Size

Floats = NDArray[np.float32]

SMOOTHING = 4.0  # pixels (sigma) along an outpainted edge: finer differences are lines, not tone
BAND = 6.0  # pixels (sigma) on both sides of an edge whose colors are compared
ALONG = 8.0  # pixels (sigma) along the edge over which the differences are averaged
DRIFT = 12.0  # CIE L*a*b* units: about as much as colors drift; a larger difference is intended


def feathered(
    result: NDArray[np.uint8],
    original: NDArray[np.uint8],
    new: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    reach: float,
) -> NDArray[np.uint8]:
    """`result` (H, W, 3) with its `new` pixels matched in tone to `original` where that is `kept`.

    The last kept pixels and the first new ones are compared along the edge, averaged over a few pixels so that lines
    may end there. The difference is spread over the new part and fades over `reach` pixels.
    """
    if reach <= 0 or not new.any() or not kept.any():
        return result
    last, first = kept & _beside(new), new & _beside(kept)
    if not first.any():
        return result
    before = _smoothed(original.astype(np.float32), last, SMOOTHING)
    difference = before - _smoothed(result.astype(np.float32), first, SMOOTHING)
    offset = spread(difference, first.astype(np.float32))
    away = cv2.distanceTransform(new.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    share = np.square((1 - (away - 1) / reach).clip(0, 1)) * new
    return _rounded(result + offset * share[..., None])


def matched(
    result: NDArray[np.uint8], original: NDArray[np.uint8], redrawn: NDArray[np.bool_], amount: float
) -> NDArray[np.uint8]:
    """`result` (H, W, 3) with its `redrawn` part moved by `amount` (0 … 1) to the tone of `original` around it.

    Along the edge the colors of both sides are compared in CIE L*a*b*; their difference is spread over the
    redrawn part like a membrane (the idea of Pérez, Gangnet & Blake 2003, "Poisson image editing", on means instead of
    pixels). Where the sides differ by more than colors drift, the difference is intended and is left alone.
    """
    if amount <= 0 or not redrawn.any() or redrawn.all():
        return result
    inner, outer = _lab(result), _lab(original)
    reference = _at_edge(outer, ~redrawn)
    here = _at_edge(inner, redrawn)
    edge = redrawn & _beside(~redrawn)
    difference = _smoothed(reference - here, edge, ALONG)
    apart = np.linalg.norm(difference, axis=-1)
    trust = edge / (1 + (apart / DRIFT) ** 4)
    offset = spread(difference, trust.astype(np.float32))
    # Where no edge is usable, nothing holds the membrane.
    hold = cv2.GaussianBlur(edge.astype(np.float32), (0, 0), BAND)
    held = cv2.GaussianBlur(trust.astype(np.float32), (0, 0), BAND)
    certainty = spread((held / np.maximum(hold, 1e-6)).clip(0, 1)[..., None], edge.astype(np.float32))
    moved = inner + offset * certainty * amount
    colors = np.asarray(cv2.cvtColor(moved, cv2.COLOR_LAB2RGB), np.float32) * 255
    return np.where(redrawn[..., None], _rounded(colors), result)


def spread(values: Floats, weights: Floats) -> Floats:
    """`values` (H, W, C) where `weights` (H, W) are 1, smoothly extrapolated where they are less.

    Pull and push over a pyramid (Gortler et al. 1996, "The lumigraph", section 3.4): near a value it has that value,
    far from all of them their mean.
    """
    weights = weights.clip(0, 1)
    if min(weights.shape) <= 1:
        mean = (values * weights[..., None]).sum((0, 1)) / max(float(weights.sum()), 1e-6)
        return np.broadcast_to(mean, values.shape).astype(np.float32)
    size = Size(weights.shape[1], weights.shape[0])
    smaller = cv2.pyrDown(weights)
    sums = _channels(cv2.pyrDown(values * weights[..., None]))
    means = (sums / np.maximum(smaller, 1e-6)[..., None]).astype(np.float32)
    # A cell that is partly known counts as known one level up.
    beneath = spread(means, (smaller * 4).clip(0, 1))
    around = _channels(cv2.pyrUp(beneath, dstsize=size))
    return (around + (values - around) * weights[..., None]).astype(np.float32)


def _beside(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`where` dilated by one pixel."""
    return cv2.dilate(where.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _at_edge(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """The `known` values extrapolated to their edge, (H, W, C).

    A Gaussian's mean over a half-plane is the value 0.8 sigma from the edge, which in a gradient is another color;
    two such means give the line to the edge.
    """
    return 2 * _smoothed(values, known, BAND / 2) - _smoothed(values, known, BAND)


def _smoothed(values: Floats, known: NDArray[np.bool_], sigma: float) -> Floats:
    """The mean (Gaussian) of the `known` values around each pixel, (H, W, C)."""
    weights = known.astype(np.float32)
    total = cv2.GaussianBlur(weights, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    sums = cv2.GaussianBlur(values * weights[..., None], (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return (sums / np.maximum(total, 1e-6)[..., None]).astype(np.float32)


def _channels(values: NDArray[np.float32] | cv2.typing.MatLike) -> Floats:
    """OpenCV drops the axis of a single channel."""
    array = np.asarray(values, np.float32)
    return array if array.ndim == 3 else array[..., None]


def _lab(image: NDArray[np.uint8]) -> Floats:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def _rounded(values: Floats) -> NDArray[np.uint8]:
    return np.around(values.clip(0, 255)).astype(np.uint8)
