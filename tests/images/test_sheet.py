"""A grid with legends: where its cells are, and what is drawn beside them."""

import numpy as np
from PIL import Image

from modules.images.geometry import Size
from modules.images.sheet import Sheet, SheetLabel

CELL = Size(80, 60)
RED = (200, 30, 30)


def test_without_labels_the_cells_fill_the_picture() -> None:
    sheet = Sheet(2, 3, CELL, margin=5)
    assert sheet.image.size == (80 * 3 + 10, 60 * 2 + 5)
    assert sheet.box(0, 0) == (0, 0, 80, 60)
    assert sheet.box(1, 2) == (170, 65, 250, 125)


def test_a_smaller_picture_is_put_in_the_middle_of_its_cell() -> None:
    sheet = Sheet(1, 2, CELL)
    sheet.put(0, 1, Image.new("RGB", (40, 20), RED))
    pixels = np.asarray(sheet.image)
    where = np.argwhere((pixels == RED).all(-1))
    assert (where.min(0).tolist(), where.max(0).tolist()) == ([20, 100], [39, 139])


def test_labels_take_room_above_and_beside_and_are_drawn_there() -> None:
    across = [[SheetLabel("Steps: 10")], [SheetLabel("Steps: 20", is_active=False)]]
    down = [[SheetLabel("Seed: 1 with a name long enough to be wrapped")]]
    sheet = Sheet(1, 2, CELL, across, down)
    left, top, _, _ = sheet.box(0, 0)
    assert left == CELL.width * 3 // 4
    assert top > 0
    pixels = np.asarray(sheet.image.convert("L"))
    first, second = pixels[:top, left : left + 80], pixels[:top, left + 80 :]
    assert first.min() < 100  # black letters, small and therefore soft
    assert 130 < second.min() < 180  # gray ones, struck through
    assert (second == second.min()).sum(1).max() > 20
    assert pixels[top:, :left].min() < 100
    assert (pixels[top:, left:] == 255).all()


def test_rows_that_have_no_text_beside_them_take_no_room() -> None:
    assert Sheet(2, 1, CELL, (), [[SheetLabel("")], [SheetLabel("")]]).box(0, 0).left == 0
