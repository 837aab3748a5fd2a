"""Pictures read in rows: the same pixels as in the whole picture, wherever reading starts."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from modules.images.enlarge import centered
from modules.images.geometry import Size
from modules.images.large.rows import (
    Blended,
    Centered,
    Colors,
    Nearest,
    Pixels,
    Resized,
    Rows,
    WholeRows,
    Window,
    WithAlpha,
)


def picture(width: int, height: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, channels), np.uint8)


def in_bands(rows: Rows, height: int, begin: int = 0) -> Pixels:
    bottom = rows.size.height
    return np.concatenate([rows.read(top, min(top + height, bottom)) for top in range(begin, bottom, height)])


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(80, 96), (20, 24), (40, 48), (33, 71), (8, 8), (101, 9), (1, 1)])
@pytest.mark.parametrize(("kind", "filter"), [(Resized, Image.Resampling.LANCZOS), (Nearest, Image.Resampling.NEAREST)])
def test_a_resized_picture_is_pillows_of_the_whole(
    kind: type[Resized] | type[Nearest], filter: Image.Resampling, size: tuple[int, int], channels: int
) -> None:
    source = picture(40, 48, channels)
    expected = np.asarray(Image.fromarray(source).resize(size, filter))
    rows, middle = kind(WholeRows(source), Size(*size)), size[1] // 2
    for found, part in ((in_bands(rows, 1000), expected), (in_bands(rows, 7), expected), (in_bands(rows, 1), expected)):
        is_exact = kind is Nearest or 48 % size[1] == 0 or size[1] % 48 == 0
        np.testing.assert_allclose(found.astype(int), part, atol=0 if is_exact else 1)
        assert np.mean(found != part) < 0.02
    np.testing.assert_array_equal(in_bands(rows, 5, middle)[:5], rows.read(middle, min(middle + 5, size[1])))


@pytest.mark.parametrize("size", [(10, 10), (50, 20), (20, 60), (64, 64), (41, 47)])
def test_a_picture_is_cut_or_framed_around_its_middle(size: tuple[int, int]) -> None:
    source = picture(40, 48)
    expected = np.asarray(centered(Image.fromarray(source), Size(*size)))
    np.testing.assert_array_equal(in_bands(Centered(WholeRows(source), Size(*size)), 7), expected)


def test_two_pictures_are_blended_as_pillow_blends_them() -> None:
    one, other = picture(9, 8), picture(9, 8)[::-1].copy()
    expected = np.asarray(Image.blend(Image.fromarray(one), Image.fromarray(other), 0.3))
    np.testing.assert_array_equal(in_bands(Blended(WholeRows(one), WholeRows(other), 0.3), 3), expected)


def test_alpha_is_taken_off_and_put_on() -> None:
    source = picture(9, 8, 4)
    rows = WithAlpha(Colors(WholeRows(source)), WholeRows(source))
    np.testing.assert_array_equal(in_bands(rows, 3), source)


def test_a_window_lets_go_of_what_lies_above() -> None:
    source, given = picture(3, 20), list[int]()

    def bands() -> Iterator[Pixels]:
        for top in range(4, 20, 4):
            given.append(top)
            yield source[top : top + 4]

    window = Window(bands(), 4)
    np.testing.assert_array_equal(window.read(5, 7), source[5:7])
    assert given == [4]
    np.testing.assert_array_equal(window.read(6, 13), source[6:13])
    np.testing.assert_array_equal(window.read(15, 20), source[15:])
    assert given == [4, 8, 12, 16]
