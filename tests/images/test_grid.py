"""Grids of several pictures."""

from typing import Any

import pytest
from PIL import Image

from modules.images.grid import grid, shape


@pytest.mark.parametrize(
    ("count", "rows", "expected"),
    [
        (1, -1, (1, 1)),
        (2, -1, (1, 2)),
        (3, -1, (2, 2)),
        (4, -1, (2, 2)),
        (6, -1, (2, 3)),
        (7, -1, (3, 3)),
        (9, -1, (3, 3)),
        (5, 1, (1, 5)),
        (2, 7, (2, 1)),
    ],
)
def test_rows_and_columns(count: int, rows: int, expected: tuple[int, int]) -> None:
    assert shape(count, rows) == expected


def test_each_picture_stands_in_the_middle_of_its_cell() -> None:
    sheet = grid([Image.new("RGB", (4, 4), "red"), Image.new("RGB", (2, 2), "blue")], background="#00ff00")
    assert sheet.size == (8, 4)
    colors: dict[Any, str] = {(255, 0, 0): "r", (0, 0, 255): "b", (0, 255, 0): "."}
    rows = ["".join(colors[sheet.getpixel((x, y))] for x in range(8)) for y in range(4)]
    assert rows == ["rrrr....", "rrrr.bb.", "rrrr.bb.", "rrrr...."]
