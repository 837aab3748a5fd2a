"""Soft inpainting: blends against closed forms, the percentile filter against a plain loop over the sorted list."""

import numpy as np
import pytest
import torch

from modules.images.geometry import Size
from modules.processing.masked.soft_inpainting import blended, overlay_mask, weighted_percentiles
from modules.processing.plan import Softness

DEFAULTS = Softness(bias=1, strength=0.5, contrast_boost=4, mask_influence=0, threshold=0.5, contrast=2)


def test_ends_of_the_mask_are_the_two_latents() -> None:
    original, current = torch.randn(2, 1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([0.0, 1.0, 0.0]).expand(1, 1, 3, 3)
    result = blended(original, current, mask, torch.tensor(2.0), DEFAULTS)
    torch.testing.assert_close(result, torch.where(mask == 1, current, original), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mask", "level", "weight"),
    [(0.5, 2.0, 0.5), (0.25, 1.0, 0.5), (0.5, 14.0, 0.5**7), (0.5, 0.02, 0.5**0.01)],
)
def test_the_mask_fades_with_the_level_and_magnitudes_are_kept(mask: float, level: float, weight: float) -> None:
    original = torch.tensor([2.0, 0, 0, 0]).view(1, 4, 1, 1)
    current = torch.tensor([0.0, 0, 4, 0]).view(1, 4, 1, 1)
    result = blended(original, current, torch.full((1, 1, 1, 1), mask), torch.tensor(level), DEFAULTS).flatten()
    mean = torch.tensor([2 * (1 - weight), 0, 4 * weight, 0])
    magnitude = ((1 - weight) * 2**4 + weight * 4**4) ** 0.25
    torch.testing.assert_close(result, mean / mean.norm() * magnitude, rtol=1e-4, atol=1e-5)


def one_percentile(values: np.ndarray, y: int, x: int, low: float, high: float) -> float:
    """The filter at one cell, literally by its definition."""
    edge = np.exp(-9 / 2.25)
    stack: list[tuple[float, float]] = []
    for i in range(max(0, y - 2), min(values.shape[0], y + 3)):
        for j in range(max(0, x - 2), min(values.shape[1], x + 3)):
            weight = (np.exp(-((i - y) ** 2 + (j - x) ** 2) / 2.25) - edge) / (1 - edge)
            stack.append((float(values[i, j]), max(0.0, float(weight))))
    stack.sort()
    total = sum(weight for _, weight in stack)
    first, last = total * low, total * high
    if last - first < 1:
        middle = (first + last) / 2
        first, last = middle - 0.5, middle + 0.5
        if last > total:
            first, last = total - 1, total
        if first < 0:
            first, last = 0.0, 1.0
    position = summed = length = 0.0
    for value, weight in stack:
        overlap = max(0.0, min(last, position + weight) - max(first, position))
        summed, length, position = summed + value * overlap, length + overlap, position + weight
    return summed / length


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.0), (0.25, 0.75), (0.0, 0.05), (0.0, 1.0)])
@pytest.mark.parametrize("shape", [(7, 9), (1, 1), (2, 3)])
def test_percentiles_are_those_of_the_weighted_neighbors(low: float, high: float, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(4).random(shape) * 3
    expected = [[one_percentile(values, y, x, low, high) for x in range(shape[1])] for y in range(shape[0])]
    np.testing.assert_allclose(weighted_percentiles(values, low, high), expected, rtol=1e-9)


def test_what_did_not_move_shows_the_original_and_what_moved_far_the_result() -> None:
    original = torch.zeros(4, 16, 16)
    result = original.clone()
    result[:, :, 8:] = 5.0
    mask = np.asarray(overlay_mask(original, result, torch.ones(16, 16), DEFAULTS, Size(128, 128)))
    assert mask.shape == (128, 128)
    assert mask[:, :16].max() == 0
    assert mask[:, 96:].min() >= 254


def test_half_shows_at_the_threshold_and_a_threshold_of_nothing_replaces_all_that_moved() -> None:
    original = torch.zeros(4, 8, 8)
    result = torch.full_like(original, 0.25)  # a distance of 0.5 everywhere
    masks = [
        overlay_mask(original, moved, torch.ones(8, 8), softness, Size(64, 64)).getpixel((32, 32))
        for moved, softness in (
            (result, DEFAULTS),
            (result, Softness(1, 0.5, 4, 0, 0, 2)),
            (original, Softness(1, 0.5, 4, 0, 0, 2)),
            (result, Softness(1, 0.5, 4, 1, 0.5, 2)),
        )
    ]
    assert masks == [128, 255, 0, 255]
