"""Several pictures on one sheet."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image


class Shape(NamedTuple):
    rows: int
    columns: int


def shape(count: int, rows: int = -1) -> Shape:
    """How `count` pictures are laid out in `rows` rows; −1 makes it about as high as wide, as in A1111."""
    rows = min(rows if rows > 0 else round(count**0.5), count)
    return Shape(rows, -(-count // rows))


def grid(images: Sequence[Image.Image], rows: int = -1, background: str = "#ffffff") -> Image.Image:
    """All pictures (RGB, at least one) on one sheet, row by row, each in the middle of an equal cell."""
    rows, columns = shape(len(images), rows)
    width, height = max(image.width for image in images), max(image.height for image in images)
    sheet = Image.new("RGB", (columns * width, rows * height), background)
    for index, image in enumerate(images):
        left, top = index % columns * width, index // columns * height
        sheet.paste(image, (left + (width - image.width) // 2, top + (height - image.height) // 2))
    return sheet
