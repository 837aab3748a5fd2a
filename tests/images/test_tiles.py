"""Tiles cover a picture, overlap by what was asked, and give it back when they are joined."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.images.geometry import Size
from modules.images.tiles import combined, rows_of_tiles


@given(
    image=st.tuples(st.integers(8, 300), st.integers(8, 300)),
    tile=st.tuples(st.integers(16, 96), st.integers(16, 96)),
    overlap=st.integers(0, 15),
)
def test_tiles_cover_every_pixel_and_overlap_enough(
    image: tuple[int, int], tile: tuple[int, int], overlap: int
) -> None:
    rows = rows_of_tiles(Size(*image), Size(*tile), overlap)
    covered = np.zeros((image[1], image[0]), bool)
    for row in rows:
        for box in row:
            assert box.size == tile
            covered[max(box.top, 0) : box.bottom, max(box.left, 0) : box.right] = True
        for left, right in pairwise(row):
            assert left.right - right.left >= overlap
    assert covered.all()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (100, 64), (131, 90)])
@pytest.mark.parametrize("overlap", [0, 8])
def test_unchanged_tiles_give_the_picture_back(width: int, height: int, overlap: int) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    picture = Image.fromarray(pixels, "RGB")
    rows = rows_of_tiles(Size(width, height), Size(64, 64), overlap)
    tiles = [picture.crop(box) for row in rows for box in row]
    joined = np.asarray(combined(Size(width, height), rows, tiles, overlap)).astype(int)
    assert np.abs(joined - pixels).max() <= 1  # blending two equal values rounds


def test_a_seam_is_a_ramp() -> None:
    rows = rows_of_tiles(Size(24, 16), Size(16, 16), 8)
    dark, light = (Image.new("RGB", (16, 16), (level,) * 3) for level in (0, 200))
    line = np.asarray(combined(Size(24, 16), rows, [dark, light], 8))[4, :, 0].astype(int)
    assert line[:8].max() == 0
    assert line[16:].min() == 200
    assert np.all(np.diff(line[8:16]) > 0)
