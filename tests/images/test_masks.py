"""Mask geometry by tables; fill against A1111's recorded pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modules.images.geometry import Box, Size
from modules.images.masks import blur_kernel, crop_box, expanded, filled

DATA = Path(__file__).parents[1] / "parity" / "data"
RECORDED = np.load(DATA / "images.npz")
REGIONS = json.loads((DATA / "crop_regions.json").read_text())


@pytest.mark.parametrize(
    ("drawn", "image", "padding", "target", "padded", "final"),
    [
        ((100, 100, 228, 132), (1024, 1024), 32, (512, 512), (68, 68, 260, 164), (68, 20, 260, 212)),
        ((100, 100, 228, 132), (1024, 1024), 0, (512, 512), (100, 100, 228, 132), (100, 52, 228, 180)),
        ((0, 0, 64, 64), (1024, 768), 32, (512, 512), (0, 0, 96, 96), (0, 0, 96, 96)),
        ((960, 700, 1024, 768), (1024, 768), 32, (512, 512), (928, 668, 1024, 768), (924, 668, 1024, 768)),
        ((400, 300, 701, 361), (800, 600), 32, (512, 768), (368, 268, 733, 393), (368, 53, 733, 600)),
        ((10, 10, 781, 591), (800, 600), 32, (512, 512), (0, 0, 800, 600), (0, 0, 800, 600)),
        ((300, 0, 341, 600), (800, 600), 32, (512, 512), (268, 0, 373, 600), (21, 0, 621, 600)),
    ],
)
def test_the_region_of_a_mask(
    drawn: tuple[int, int, int, int],
    image: tuple[int, int],
    padding: int,
    target: tuple[int, int],
    padded: tuple[int, ...],
    final: tuple[int, ...],
) -> None:
    mask = Image.new("L", image)
    mask.paste(255, drawn)
    box = crop_box(mask, padding)
    assert box == padded
    assert expanded(Box(*padded), Size(*target), Size(*image)) == final


@pytest.mark.parity
@pytest.mark.parametrize("region", REGIONS)
def test_regions_are_a1111s(region: dict[str, int | list[int]]) -> None:
    mask = Image.fromarray(RECORDED["mask"])
    box = crop_box(mask, region["pad"])
    assert box is not None
    assert list(box) == region["crop"]
    assert list(expanded(box, Size(region["w"], region["h"]), Size(*mask.size))) == region["expanded"]


def test_an_empty_mask_has_no_region() -> None:
    assert crop_box(Image.new("L", (64, 64)), 32) is None


@pytest.mark.parametrize(
    ("blur", "kernel"), [(0, 1), (1, 7), (2, 11), (4, 21), (8, 41), (16, 81), (32, 161), (64, 321)]
)
def test_width_of_the_blur_kernel(blur: int, kernel: int) -> None:
    assert blur_kernel(blur) == kernel


@pytest.mark.parity
def test_fill_is_a1111s_to_the_last_bit() -> None:
    result = filled(Image.fromarray(RECORDED["source"]), Image.fromarray(RECORDED["mask"]))
    np.testing.assert_array_equal(np.asarray(result), RECORDED["filled"])
