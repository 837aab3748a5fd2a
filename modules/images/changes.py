"""What a model meant to change in a picture, apart from what it changed everywhere.

A model that redraws a whole picture also tints it, blurs it, moves it by a fraction of a pixel and leaves grain. Those
four are estimated from the pixels that agree; what then still differs is the change that was meant.

Pictures are RGB, (H, W, 3), uint8; masks (H, W). Differences are CIE L*a*b* units (ΔE 1976): 2.3 is just noticeable.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

AGREED = (20.0, 10.0, 5.0, 2.0)  # ΔE that counts as agreement, in each round: an edge that is off is not a change yet
COARSE = 96  # pixels of the shorter side on which tint is estimated: shift, blur and grain hardly show there
STEPS = 4  # of Gauss-Newton at each size
FARTHEST = 4.0  # pixels: a larger shift is meant
BLURS = np.concatenate(([0.0], np.geomspace(0.35, 3.0, 14)))  # sigmas that are tried, in pixels
SMOOTHING = 1.2  # pixels (sigma) over which differences are averaged, so that grain cancels
FAINTEST, CLEAREST = 1.5, 7.5  # ΔE that counts as a change at sensitivity 1 and 0
ABOVE_NOISE = 4.0  # times the typical difference of unchanged pixels
NOISIEST = 4.0  # ΔE: a larger typical difference means that most has changed
STRONG = 1.6  # times the threshold: every change has a pixel as clear as this
OF_PEAK = 0.5  # a change ends where the difference is below this share of its peak nearby
MISFIT = 0.25  # pixels: an edge this far off is not a change
SPECK = 2e-4  # of the picture: smaller changes are noise
WHOLE = 0.75  # of the picture: if more has changed, nothing was meant to stay


@dataclass(frozen=True)
class Drift:
    """What a model changed everywhere.

    colors: (6, 3), takes (r, g, b, 1, x, y) of the result to the source's RGB; all in 0 … 1, x and y over the picture.
    shift: right and down, in pixels, by which the result lies off.  blur: sigma of a Gaussian, in pixels.
    """

    colors: Floats
    shift: tuple[float, float]
    blur: float

    def undone(self, result: Floats) -> Floats:
        """`result` (H, W, 3) in 0 … 1 moved back and in the source's colors. A blur cannot be undone."""
        return _recolored(_moved(result, self.shift), self.colors)


NO_DRIFT = Drift(np.vstack([np.eye(3), np.zeros((3, 3))]).astype(np.float32), (0.0, 0.0), 0.0)


@dataclass(frozen=True)
class Changes:
    """mask: what changed.  drift: what was done to the rest.  aligned: the result without its drift."""

    mask: Mask
    drift: Drift
    aligned: Bytes

    @property
    def share(self) -> float:
        """Of the picture that changed, 0 … 1."""
        return float(self.mask.mean())


def found_changes(source: Bytes, result: Bytes, sensitivity: float = 0.5) -> Changes:
    """What differs in `result` from `source` beyond tint, shift, blur and grain.

    `sensitivity` from 0 to 1: higher ones find fainter changes. Where the pictures have nothing in common, all of
    `result` is a change.
    """
    before, after = _unit(source), _unit(result)
    if np.array_equal(source, result):
        return Changes(np.zeros(source.shape[:2], bool), NO_DRIFT, result)
    drift, weights = NO_DRIFT, np.ones(source.shape[:2], np.float32)
    for agreed in AGREED:
        drift = _estimated(before, after, weights, drift)
        weights = _agreement(_difference(before, after, drift), agreed)
    mask = _mask(before, after, drift, sensitivity)
    if mask.mean() > WHOLE:
        return Changes(np.ones(mask.shape, bool), NO_DRIFT, result)
    return Changes(mask, drift, _bytes(drift.undone(after)))


def laid_over(source: Bytes, aligned: Bytes, mask: Mask, grow: float, feather: float) -> tuple[Bytes, Bytes]:
    """`aligned` inside `mask` over `source`, and the opacity (H, W) it was laid on with.

    The mask is grown by `grow` pixels (shrunk if negative), and its edge fades over `feather` pixels more. Where the
    opacity is 0, the bytes are the source's.
    """
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    away = np.where(mask, 1 - np.asarray(inside), np.asarray(outside)) - grow  # 0 and less: fully covered
    opacity = np.around((1 - away / (feather + 1)).clip(0, 1) * 255).astype(np.uint8) if mask.any() else _none(mask)
    alpha = opacity[..., None].astype(np.float32) / 255
    mixed = np.around(source + (aligned.astype(np.float32) - source) * alpha).astype(np.uint8)
    return np.where(opacity[..., None] > 0, mixed, source), opacity


def _none(mask: Mask) -> Bytes:
    return np.zeros(mask.shape, np.uint8)


def _estimated(before: Floats, after: Floats, weights: Floats, drift: Drift) -> Drift:
    """A better `drift`, from the pixels with `weights`."""
    moved = _moved(after, drift.shift)
    colors = _fitted_colors(before, moved, weights)
    gray = _gray(_blurred(before, drift.blur))
    shift = _fitted_shift(gray, _gray(_recolored(after, colors)), weights, drift.shift)
    blur = _fitted_blur(_gray(before), _gray(_recolored(_moved(after, shift), colors)), weights)
    return Drift(colors, shift, blur)


def _fitted_colors(before: Floats, after: Floats, weights: Floats) -> Floats:
    """The map of `Drift.colors`: least squares, reweighted so that few pixels of another color hardly count."""
    scale = COARSE / min(before.shape[:2])
    if scale < 1:
        before, after, weights = (_shrunk(values, scale) for values in (before, after, weights))
    rows = _terms(after).reshape(-1, 6)
    goals = before.reshape(-1, 3)
    trust = weights.reshape(-1).astype(np.float64)
    map_ = NO_DRIFT.colors.astype(np.float64)
    hold = np.diag([1.0, 1.0, 1.0, 0.01, 0.1, 0.1]) * 1e-3 * len(rows)  # a picture of one color says little
    for spread in (0.2, 0.1, 0.05, 0.03, 0.03):
        off = np.linalg.norm(goals - rows @ map_, axis=1)
        weight = trust / np.square(1 + np.square(off / spread))
        weighted = rows * weight[:, None]
        map_ = np.linalg.solve(rows.T @ weighted + hold, weighted.T @ goals + hold @ NO_DRIFT.colors)
    return map_.astype(np.float32)


def _fitted_shift(before: Floats, after: Floats, weights: Floats, start: tuple[float, float]) -> tuple[float, float]:
    """How far right and down gray `after` lies from `before`.

    Gauss-Newton on an image pyramid (Lucas & Kanade 1981, "An iterative image registration technique").
    """
    shift = np.array(start, np.float64)
    for level in (2, 1, 0):
        scale = 0.5**level
        if min(before.shape) * scale < 32:
            continue
        small, other, trust = (_shrunk(values, scale) if level else values for values in (before, after, weights))
        right, down = _slopes(small)
        slopes = np.stack([right.ravel(), down.ravel()], 1).astype(np.float64)
        for _ in range(STEPS):
            there = _moved(other, (shift[0] * scale, shift[1] * scale))
            off = (there - small).ravel().astype(np.float64)
            weighted = slopes * trust.ravel()[:, None]
            step = np.linalg.solve(slopes.T @ weighted + np.eye(2) * 1e-6, weighted.T @ off)
            shift = np.clip(shift - step / scale, -FARTHEST, FARTHEST)
    return float(shift[0]), float(shift[1])


def _fitted_blur(before: Floats, after: Floats, weights: Floats) -> float:
    """The sigma with which blurred gray `before` is closest to `after`."""

    def cost(sigma: float) -> float:
        off = np.abs(_blurred(before, sigma) - after)
        return float((weights * np.minimum(off, 0.1)).sum())

    return float(min(BLURS, key=cost))


def _difference(before: Floats, after: Floats, drift: Drift) -> Floats:
    """ΔE of each pixel (H, W), averaged so that grain cancels."""
    apart = _lab(drift.undone(after)) - _lab(_blurred(before, drift.blur))
    return np.linalg.norm(_blurred(apart, SMOOTHING), axis=-1)


def _agreement(difference: Floats, agreed: float) -> Floats:
    """A weight of each pixel: 1 where it does not differ, a quarter where it differs by `agreed`, or clearly more than
    most pixels do.
    """
    scale = max(4 * float(np.median(difference)), agreed)
    return (1 / np.square(1 + np.square(difference / scale))).astype(np.float32)


def _mask(before: Floats, after: Floats, drift: Drift, sensitivity: float) -> Mask:
    difference = _difference(before, after, drift)
    gray = _gray(_blurred(before, max(drift.blur, 0.5))) * 100
    slope = np.hypot(*_slopes(gray))
    slope = cv2.dilate(slope, np.ones((3, 3), np.uint8))
    noise = min(float(np.median(difference)), NOISIEST)
    least = max(CLEAREST + (FAINTEST - CLEAREST) * sensitivity, ABOVE_NOISE * noise)
    tolerance = least + MISFIT * slope
    peak = cv2.dilate(difference, _disk(4))
    weak = difference > np.maximum(tolerance, OF_PEAK * peak)
    strong = difference > STRONG * tolerance
    found = _connected(weak, strong)
    closed = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, _disk(3))
    return _without_specks(_filled(closed > 0), SPECK * found.size)


def _connected(weak: Mask, strong: Mask) -> Mask:
    """The connected parts of `weak` that have a pixel of `strong`."""
    count, labels = cv2.connectedComponents(weak.astype(np.uint8), connectivity=8)
    has_strong = np.zeros(count, bool)
    parts = labels.astype(np.intp)
    has_strong[np.unique(parts[strong & weak])] = True
    has_strong[0] = False
    return has_strong[parts]


def _filled(mask: Mask) -> Mask:
    """`mask` with its small holes filled: a hole is small if it is less than half of what surrounds it."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    areas, parts = stats[:, cv2.CC_STAT_AREA], labels.astype(np.intp)
    touches = np.zeros(count, bool)
    for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        touches[np.unique(side)] = True
    small = ~touches & (areas < 0.1 * mask.sum())
    small[0] = False
    return mask | small[parts]


def _without_specks(mask: Mask, least: float) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] >= max(least, 12)
    kept[0] = False
    return kept[labels.astype(np.intp)]


def _terms(rgb: Floats) -> Floats:
    """(H, W, 6): r, g, b, 1, x, y, the last two from -1 to 1."""
    height, width = rgb.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.dstack([rgb, np.ones_like(x), x, y]).astype(np.float32)


def _recolored(rgb: Floats, colors: Floats) -> Floats:
    return _terms(rgb) @ colors


def _moved(values: Floats, shift: tuple[float, float]) -> Floats:
    """`values` as they lie `shift` pixels right and down, brought back."""
    if shift == (0.0, 0.0):
        return values
    height, width = values.shape[:2]
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(values, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _blurred(values: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32) if sigma > 0 else values


def _slopes(gray: Floats) -> tuple[Floats, Floats]:
    """Change per pixel to the right and down."""
    right = cv2.Sobel(gray, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(gray, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return np.asarray(right, np.float32), np.asarray(down, np.float32)


def _shrunk(values: Floats, scale: float) -> Floats:
    return np.asarray(cv2.resize(values, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)


def _disk(radius: int) -> Bytes:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _gray(rgb: Floats) -> Floats:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)


def _lab(rgb: Floats) -> Floats:
    return np.asarray(cv2.cvtColor(rgb.clip(0, 1), cv2.COLOR_RGB2LAB), np.float32)


def _unit(rgb: Bytes) -> Floats:
    return (rgb / 255).astype(np.float32)


def _bytes(rgb: Floats) -> Bytes:
    return np.around(rgb.clip(0, 1) * 255).astype(np.uint8)
