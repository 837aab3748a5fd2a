"""Mask geometry by tables; fill against A1111's recorded pixels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.images.geometry import Box, Size
from modules.images.masks import (
    blur_kernel,
    blurred,
    crop_box,
    doubled,
    drawn,
    expanded,
    filled,
    pasted_back,
    with_hole,
)

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
def test_regions_are_a1111s(region: dict[str, Any]) -> None:
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


def ring(*, inner: int = 0, outer: int = 0) -> Image.Image:
    """16x16 RGBA, red, with an alpha of `inner` in the middle 8x8 and `outer` around it."""
    picture = Image.new("RGBA", (16, 16), (255, 0, 0, outer))
    picture.paste((255, 0, 0, inner), (4, 4, 12, 12))
    return picture


@pytest.mark.parametrize(
    ("picture", "rounded", "inside", "outside"),
    [
        (ring(inner=255, outer=0), True, 255, 0),
        (ring(inner=129, outer=128), True, 255, 0),
        (ring(inner=129, outer=128), False, 129, 128),
        (ring(inner=255, outer=255), True, 76, 76),  # opaque: the brightness of red
        (Image.new("L", (16, 16), 100), True, 100, 100),  # gray stays gray
        (Image.new("RGB", (16, 16), "white"), True, 255, 255),
    ],
)
def test_a_mask_is_alpha_where_there_is_any_and_brightness_elsewhere(
    picture: Image.Image, rounded: bool, inside: int, outside: int
) -> None:
    mask = drawn(picture, rounded)
    assert (mask.mode, mask.getpixel((8, 8)), mask.getpixel((0, 0))) == ("L", inside, outside)


@pytest.mark.parametrize(
    ("across", "down", "box"),
    [
        (0, 0, (60, 40, 92, 56)),
        (4, 4, (50, 30, 102, 66)),  # A1111 with this mask changed pixels 50-101 x 30-65
        (2, 0, (55, 40, 97, 56)),
        (0, 1, (60, 37, 92, 59)),
    ],
)
def test_blur_reaches_as_far_as_its_kernel(across: int, down: int, box: tuple[int, int, int, int]) -> None:
    mask = Image.new("L", (128, 96))
    mask.paste(255, (60, 40, 92, 56))
    assert blurred(mask, across, down).getbbox() == box


def test_blur_is_a_gaussian_of_that_deviation() -> None:
    mask = Image.new("L", (65, 65))
    mask.putpixel((32, 32), 255)
    weights = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    expected = 255 * weights / weights.sum()
    # The kernel is 7 wide; its ends are left out here: rounded to 8 bits they are 1 or nothing.
    row = np.asarray(blurred(mask, 1, 0))[32, 30:35]
    assert np.abs(row - expected).max() <= 1


def test_doubled_saturates() -> None:
    mask = Image.fromarray(np.array([[0, 1, 127, 128, 255]], np.uint8), "L")
    assert np.asarray(doubled(mask)).tolist() == [[0, 2, 254, 255, 255]]


@pytest.mark.parametrize(
    ("whole", "box"),
    [
        ((128, 128), None),
        ((200, 120), (21, 10, 121, 110)),
        ((97, 211), (0, 0, 97, 97)),
        ((513, 300), (100, 33, 101, 40)),
        ((64, 64), (0, 0, 64, 64)),
    ],
)
@pytest.mark.parametrize("blur", [0, 4])
def test_pasting_back_keeps_every_unmasked_byte(
    whole: tuple[int, int], box: tuple[int, int, int, int] | None, blur: int
) -> None:
    rng = np.random.default_rng(1)
    source = Image.fromarray(rng.integers(0, 256, (whole[1], whole[0], 3), np.uint8), "RGB")
    tile = Image.new("RGB", whole if box is None else (64, 64), (0, 255, 0))
    mask = Image.new("L", whole)
    mask.paste(255, (whole[0] // 3, whole[1] // 3, whole[0] // 2, whole[1] // 2))
    mask = blurred(mask, blur, blur)
    place = None if box is None else Box(*box)
    result = np.asarray(pasted_back(tile, with_hole(source, mask), place))
    kept = np.asarray(mask) == 0
    assert result.shape == (whole[1], whole[0], 3)
    np.testing.assert_array_equal(result[kept], np.asarray(source)[kept])
    redrawn = np.asarray(mask) == 255
    if place is not None:
        inside = np.zeros_like(redrawn)
        inside[place.top : place.bottom, place.left : place.right] = True
        redrawn &= inside
    assert (result[redrawn] == (0, 255, 0)).all()
