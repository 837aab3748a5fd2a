"""Tiles joined to a whole, band by band."""

from collections.abc import Sequence

import numpy as np
import pytest

from modules.networks.upscalers.bands import Floats, Pixels, Tiling, enlarged_bands

SCALE = 2
REACH = 5  # source pixels on each side that a pixel of `network` depends on


def network(tile: Pixels) -> Floats:
    """Doubled, then a mean over a box that reaches `REACH` source pixels; zeros beyond the edge, as convolutions do."""
    large = np.repeat(np.repeat(tile.astype(np.float32) / 255, SCALE, 0), SCALE, 1)
    side = 2 * REACH * SCALE - 1
    box = np.full(side, 1 / side)
    for axis in (0, 1):
        large = np.apply_along_axis(lambda line: np.convolve(line, box)[side // 2 :][: len(line)], axis, large)
    return large.astype(np.float32)


def picture(width: int, height: int) -> Pixels:
    return np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), np.uint8)


def joined(source: Pixels, tiling: Tiling, rows: Sequence[int], columns: Sequence[int]) -> Pixels:
    bands = enlarged_bands(network, lambda top, bottom: source[top:bottom], SCALE, tiling, rows, columns)
    return np.concatenate(list(bands))


@pytest.mark.parametrize(("width", "height"), [(70, 50), (31, 97), (32, 32), (1, 1), (200, 3)])
def test_tiles_with_a_margin_as_wide_as_the_network_reaches_are_the_whole(width: int, height: int) -> None:
    source, tiling = picture(width, height), Tiling(tile=32, margin=REACH + 4, ramp=4)
    whole = np.round(np.clip(network(source), 0, 1) * 255).astype(np.uint8)
    parts = joined(source, tiling, tiling.borders(height), tiling.borders(width))
    np.testing.assert_allclose(parts.astype(int), whole, atol=1)
    assert np.mean(parts != whole) < 0.01


def test_a_grid_shifted_by_half_a_tile_shows_no_seam() -> None:
    source, tiling = picture(120, 90), Tiling(tile=30, margin=8, ramp=4)
    plain = joined(source, tiling, [0, 30, 60, 90], [0, 30, 60, 90, 120]).astype(int)
    shifted = joined(source, tiling, [0, 15, 45, 75, 90], [0, 15, 45, 75, 105, 120]).astype(int)
    assert np.abs(plain - shifted).mean() <= 0.5
    assert np.abs(plain - shifted).max() <= 8


def test_a_band_is_complete_and_only_its_rows_are_read() -> None:
    source, tiling = picture(40, 100), Tiling(tile=20, margin=8, ramp=4)
    read: list[tuple[int, int]] = []

    def rows(top: int, bottom: int) -> Pixels:
        read.append((top, bottom))
        return source[top:bottom]

    bands = enlarged_bands(network, rows, SCALE, tiling, tiling.borders(100), tiling.borders(40))
    first = next(bands)
    assert read == [(0, 28)]
    whole = np.concatenate([first, *bands])
    assert whole.shape == (200, 80, 3)
    np.testing.assert_array_equal(whole[: len(first)], first)
    assert max(bottom - top for top, bottom in read) <= 20 + 2 * 8
