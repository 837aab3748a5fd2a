"""Tiles joined band by band."""

from collections.abc import Sequence

import numpy as np
import pytest

from modules.images.large.rows import WholeRows
from modules.networks.upscalers.bands import Floats, Grid, Pixels, Tiling, enlarged_bands
from modules.networks.upscalers.rows import NetworkRows

SCALE = 2
REACH = 5  # source pixels on each side that a pixel of `network` depends on


def network(tile: Pixels) -> Floats:
    """Doubled, then a mean over a box that extends `REACH` source pixels; zeros beyond the edge, as in convolutions."""
    large = np.repeat(np.repeat(tile.astype(np.float32) / 255, SCALE, 0), SCALE, 1)
    side = 2 * REACH * SCALE - 1
    box = np.full(side, 1 / side)
    for axis in (0, 1):
        large = np.apply_along_axis(lambda line: np.convolve(line, box)[side // 2 :][: len(line)], axis, large)
    return large.astype(np.float32)


def picture(width: int, height: int) -> Pixels:
    return np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), np.uint8)


def joined(source: Pixels, tiling: Tiling, rows: Sequence[int], columns: Sequence[int]) -> Pixels:
    bands = enlarged_bands(network, lambda top, bottom: source[top:bottom], SCALE, tiling, Grid(rows, columns))
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

    bands = enlarged_bands(network, rows, SCALE, tiling, Grid(tiling.borders(100), tiling.borders(40)))
    first = next(bands)
    assert read == [(0, 28)]
    whole = np.concatenate([first, *bands])
    assert whole.shape == (200, 80, 3)
    np.testing.assert_array_equal(whole[: len(first)], first)
    assert max(bottom - top for top, bottom in read) <= 20 + 2 * 8


@pytest.mark.parametrize("tiling", [Tiling(20, 8, 4), Tiling(20, 8, 0)])
@pytest.mark.parametrize("row", [0, 31, 32, 33, 39, 40, 41, 120, 199])
def test_rows_that_are_read_from_the_middle_on_are_the_same(tiling: Tiling, row: int) -> None:
    source = picture(40, 100)
    whole = NetworkRows(network, WholeRows(source), SCALE, tiling).read(0, 200)
    late = NetworkRows(network, WholeRows(source), SCALE, tiling)
    np.testing.assert_array_equal(late.read(row, min(row + 3, 200)), whole[row : row + 3])
    np.testing.assert_array_equal(late.read(min(row + 1, 199), 200), whole[min(row + 1, 199) :])


def test_a_second_pass_reads_what_it_needs_of_the_first() -> None:
    source, tiling = picture(24, 40), Tiling(16, 8, 4)
    first = NetworkRows(network, WholeRows(source), SCALE, tiling)
    chained = NetworkRows(network, first, SCALE, tiling)
    middle = NetworkRows(network, WholeRows(source), SCALE, tiling).read(0, 80)
    expected = NetworkRows(network, WholeRows(middle), SCALE, tiling).read(0, 160)
    np.testing.assert_array_equal(chained.read(70, 160), expected[70:])
