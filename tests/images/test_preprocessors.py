"""Preprocessors of control units: small maps compared whole, and properties of every row."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modules.base.errors import WebuiError
from modules.images.fit_map import fitted_map, pixel_perfect, resized_map
from modules.images.geometry import Size
from modules.images.network_maps import WEIGHTS
from modules.images.preprocessors import PREPROCESSORS, Preprocessor, at_resolution, preprocessor
from modules.schema.control import CROP, FILL, STRETCH, FitMode

Pixels = NDArray[np.uint8]


def square(size: int = 8, inner: int = 2, dark: int = 0, light: int = 255) -> Pixels:
    """A light square in the middle of a dark one."""
    pixels = np.full((size, size, 3), dark, np.uint8)
    pixels[inner : size - inner, inner : size - inner] = light
    return pixels


def shown(pixels: Pixels) -> list[str]:
    return ["".join("#" if value > 127 else "." for value in row) for row in pixels[:, :, 0]]


WHOLE: dict[str, tuple[Pixels, list[str]]] = {
    "canny": (
        square(16, 4),
        [
            *["................"] * 3,
            ".....######.....",
            "....#......#....",
            *["...#.......#...."] * 6,
            "....########....",
            *["................"] * 4,
        ],
    ),
    "invert": (
        square(),
        ["########", "########", "##....##", "##....##", "##....##", "##....##", "########", "########"],
    ),
    "threshold": (
        square(dark=100, light=140),
        ["........", "........", "..####..", "..####..", "..####..", "..####..", "........", "........"],
    ),
    "binary": (
        square(dark=100, light=140),
        ["########", "########", "##....##", "##....##", "##....##", "##....##", "########", "########"],
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_maps(name: str) -> None:
    pixels, expected = WHOLE[name]
    assert shown(preprocessor(name).drawn(pixels, len(pixels), -1, -1)) == expected


def test_lines_of_a_drawing_become_white_on_black() -> None:
    drawing = 255 - square(32, 12)
    drawing[14:18, 14:18] = 255
    for name in ("lineart_standard", "scribble_xdog"):
        drawn = preprocessor(name).drawn(drawing, 32, -1, -1)
        assert drawn[13, 16].min() > 100, name
        assert drawn[2, 2].max() == 0, name


def test_recoloring_keeps_the_light_and_takes_the_color() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, :2] = (255, 0, 0)
    pixels[:, 2:] = (0, 0, 90)
    assert preprocessor("recolor_intensity").drawn(pixels, 4, 1.0, 0)[0, :, 0].tolist() == [255, 255, 90, 90]
    light = preprocessor("recolor_luminance").drawn(pixels, 4, 1.0, 0)
    assert (light[:, :, 0] == light[:, :, 2]).all()
    assert light[0, 0, 0] > light[0, 3, 0]
    darker = preprocessor("recolor_luminance").drawn(pixels, 4, 2.0, 0)
    assert darker[0, 0, 0] < light[0, 0, 0]


def test_tile_makes_the_picture_smaller_and_the_grid_has_cells() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    assert preprocessor("tile_resample").drawn(pixels, 512, 2.0, -1).shape == (32, 24, 3)
    assert np.array_equal(preprocessor("tile_resample").drawn(pixels, 512, -1, -1), pixels)
    grid = preprocessor("color_grid").drawn(pixels, 48, 16, -1)
    assert len(np.unique(grid[:16, :16].reshape(-1, 3), axis=0)) == 1


def test_shuffling_moves_what_is_there_and_adds_no_color() -> None:
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, :48, 0], pixels[:, 48:, 1] = 200, 100
    drawn = preprocessor("shuffle").drawn(pixels, 64, -1, -1)
    assert not np.array_equal(drawn, pixels)
    # every pixel is a mixture of the two colors
    mixed = drawn[:, :, 0] / 200 + drawn[:, :, 1] / 100
    assert np.abs(mixed - 1).max() < 0.02
    assert drawn[:, :, 0].max() == 200
    assert drawn[:, :, 1].max() == 100


def test_a_scribble_is_a_thick_line_along_an_edge() -> None:
    drawn = preprocessor("scribble_edges").drawn(square(64, 16), 64, -1, -1)[:, :, 0]
    across = drawn[32]  # through the left and the right edge of the square
    lines = np.flatnonzero(np.diff((across > 0).astype(int), prepend=0, append=0))
    starts, ends = lines[::2], lines[1::2]
    assert len(starts) == 2
    assert ((ends - starts >= 4) & (ends - starts <= 8)).all()
    assert starts[0] < 16 < ends[0]
    assert starts[1] <= 48 < ends[1]


@pytest.mark.parametrize(
    ("turned", "direction"),
    [
        (lambda ramp: ramp, (255, 127, 127)),  # nearer to the right: it faces left
        (lambda ramp: ramp[:, ::-1], (0, 127, 127)),
        (lambda ramp: ramp.transpose(1, 0, 2), (127, 255, 127)),  # nearer below: it faces up
        (np.ones_like, (127, 127, 255)),  # too dark: background
    ],
)
def test_a_depth_map_tells_where_a_surface_faces(
    turned: Callable[[Pixels], Pixels], direction: tuple[int, int, int]
) -> None:
    ramp = np.repeat(np.linspace(110, 250, 15, dtype=np.uint8)[None, :, None], 15, axis=0).repeat(3, axis=2)
    drawn = preprocessor("normal_from_depth").drawn(np.ascontiguousarray(turned(ramp)), 15, -1, -1)
    assert np.abs(drawn[7, 7].astype(int) - direction).max() <= 12


@pytest.mark.parametrize("resolution", [2048, 64])
def test_a_map_too_large_for_the_memory_is_refused(resolution: int) -> None:
    with pytest.raises(WebuiError, match=r"a map of \d+ x \d+ pixels is too large"):
        at_resolution(np.zeros((1, 20_000, 3), np.uint8), resolution)


@pytest.mark.parametrize("row", PREPROCESSORS, ids=lambda row: row.name)
@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 9),
    first=st.sampled_from([-1.0, 0.0, 1.0, 300.0]), resolution=st.sampled_from([64, 128]),
)  # fmt: skip
def test_every_map_is_a_picture_and_the_same_each_time(
    row: Preprocessor, height: int, width: int, seed: int, first: float, resolution: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    drawn = row.drawn(pixels, resolution, first, -1)
    assert (drawn.dtype, drawn.ndim, drawn.shape[2]) == (np.uint8, 3, 3)
    assert np.array_equal(drawn, row.drawn(pixels, resolution, first, -1))
    if row.has_resolution:
        assert min(drawn.shape[:2]) == resolution


@pytest.mark.parametrize("name", ["canny", "CANNY", " canny ", "invert (from white bg & black line)", ""])
def test_rows_are_found_by_name_or_label(name: str) -> None:
    assert preprocessor(name).name in ("canny", "invert", "none")


@pytest.mark.parametrize("name", ["openpose_full", "Depth_MiDaS", "softedge_hed"])
def test_a_row_that_is_a_network_is_refused_with_its_file(name: str) -> None:
    with pytest.raises(WebuiError, match=rf"no preprocessor '{name.lower()}' yet: it is a network, \S+\.pth?\."):
        preprocessor(name)


def test_no_row_is_said_to_be_a_network() -> None:
    assert not {name for row in PREPROCESSORS for name in (row.name, row.label, *row.aliases)} & WEIGHTS.keys()


def test_an_unknown_row_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(WebuiError, match="no preprocessor 'scribble'; did you mean 'scribble_xdog'"):
        preprocessor("scribble")


def test_the_short_side_is_the_resolution() -> None:
    assert at_resolution(np.zeros((100, 50, 3), np.uint8), 64).shape == (128, 64, 3)


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        (STRETCH, Size(4, 8), ["....", "....", ".##.", ".##.", ".##.", ".##.", "....", "...."]),
        (CROP, Size(4, 8), ["....", "....", "####", "####", "####", "####", "....", "...."]),
        (FILL, Size(12, 8), ["............"] * 2 + ["....####...."] * 4 + ["............"] * 2),
    ],
)
def test_maps_are_fitted(mode: FitMode, size: Size, expected: list[str]) -> None:
    assert shown(fitted_map(square(), size, mode)) == expected


def test_areas_keep_their_colors_and_thin_lines_stay_thin() -> None:
    areas = np.zeros((8, 8, 3), np.uint8)
    areas[:4, :4], areas[:4, 4:], areas[4:] = (10, 20, 30), (200, 0, 0), (0, 99, 0)
    larger = resized_map(areas, Size(21, 21))
    assert len(np.unique(larger.reshape(-1, 3), axis=0)) == 3
    line = np.zeros((16, 16, 3), np.uint8)
    line[8] = 255
    assert 1 <= (resized_map(line, Size(48, 48))[:, 20, 0] > 127).sum() <= 2
    assert (resized_map(square(16, 4), Size(48, 48))[:, 24, 0] > 127).sum() > 20  # an area of two colors is filled


@pytest.mark.parametrize(
    ("picture", "size", "mode", "expected"),
    [
        (Size(512, 512), Size(512, 768), CROP, 768),
        (Size(512, 512), Size(512, 768), FILL, 512),
        (Size(1000, 500), Size(512, 512), CROP, 512),
        (Size(1000, 500), Size(512, 512), FILL, 256),
    ],
)
def test_pixel_perfect(picture: Size, size: Size, mode: FitMode, expected: int) -> None:
    assert pixel_perfect(picture, size, mode) == expected
