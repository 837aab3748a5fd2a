"""A grid of equal cells with labels above its columns and beside its rows, filled picture by picture.

The measures are A1111's: letters of 1/25 of a cell's width plus height, a left margin of 3/4 of a cell.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from modules.base.root import CONFIGS
from modules.images.geometry import Box, Size

FONT = CONFIGS / "fonts" / "Roboto-Regular.ttf"  # the one A1111 writes with
BACKGROUND = "#ffffff"
ACTIVE = "#000000"
INACTIVE = "#999999"  # and struck through
STRIKE = 4  # pixels


class SheetLabel(NamedTuple):
    """One line of a legend; an inactive one is gray and struck through."""

    text: str
    is_active: bool = True


class Sheet:
    """`image` (RGB) has room for `rows` x `columns` pictures of at most `cell`, `margin` pixels between them.

    `across` are the lines above each column, `down` those beside each row; without any, no space is left for them.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        cell: Size,
        across: Sequence[Sequence[SheetLabel]] = (),
        down: Sequence[Sequence[SheetLabel]] = (),
        margin: int = 0,
    ) -> None:
        self._cell, self._margin = cell, margin
        legend = _Legend(cell)
        above = [legend.wrapped(lines, cell.width) for lines in across]
        beside_width = cell.width * 3 // 4 if any(line.text for lines in down for line in lines) else 0
        beside = [legend.wrapped(lines, beside_width) for lines in down]
        heights = [legend.height(lines) for lines in above]
        above_height = max(heights) + 2 * legend.spacing if any(heights) else 0
        self._corner = (beside_width, above_height)
        size = (
            beside_width + cell.width * columns + margin * (columns - 1),
            above_height + cell.height * rows + margin * (rows - 1),
        )
        self.image = Image.new("RGB", size, BACKGROUND)
        drawing = ImageDraw.Draw(self.image)
        for column, lines in enumerate(above):
            middle = self.box(0, column).left + cell.width / 2
            legend.draw(drawing, middle, above_height / 2 - heights[column] / 2, lines, cell.width)
        for row, lines in enumerate(beside):
            # A1111 forgets the space between these lines when it centers them.
            top = self.box(row, 0).top + cell.height / 2 - sum(line.size.height for line in lines) / 2
            legend.draw(drawing, beside_width / 2, top, lines, beside_width)

    def box(self, row: int, column: int) -> Box:
        """Where a cell lies in `image`."""
        left = self._corner[0] + (self._cell.width + self._margin) * column
        top = self._corner[1] + (self._cell.height + self._margin) * row
        return Box(left, top, left + self._cell.width, top + self._cell.height)

    def put(self, row: int, column: int, picture: Image.Image) -> None:
        """Paste `picture` into the middle of a cell."""
        box = self.box(row, column)
        left = box.left + (self._cell.width - picture.width) // 2
        self.image.paste(picture, (left, box.top + (self._cell.height - picture.height) // 2))


class _Line(NamedTuple):
    text: str
    is_active: bool
    size: Size


class _Legend:
    """The layout of labels for cells of one size."""

    def __init__(self, cell: Size) -> None:
        self._size = max(1, (cell.width + cell.height) // 25)
        self.spacing = self._size // 2
        self._measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))

    def wrapped(self, lines: Sequence[SheetLabel], width: int) -> list[_Line]:
        """Wrap lines between words; only a single long word may be wider than `width` pixels."""
        font = _font(self._size)
        found: list[_Line] = []
        for line in lines:
            broken = [""]
            for word in line.text.split():
                longer = f"{broken[-1]} {word}".strip()
                if self._measure.textlength(longer, font=font) <= width:
                    broken[-1] = longer
                else:
                    broken.append(word)
            for text in broken:
                left, top, right, bottom = self._measure.multiline_textbbox((0, 0), text, font=font)
                found.append(_Line(text, line.is_active, Size(int(right - left), int(bottom - top))))
        return found

    def height(self, lines: Sequence[_Line]) -> int:
        return sum(line.size.height + self.spacing for line in lines) - self.spacing

    def draw(self, drawing: ImageDraw.ImageDraw, middle: float, top: float, lines: Sequence[_Line], width: int) -> None:
        for line in lines:
            font, size = _font(self._size), self._size
            while size > 1 and drawing.multiline_textbbox((0, 0), line.text, font=font)[2] > width:
                size -= 1
                font = _font(size)
            center = (middle, top + line.size.height / 2)
            color = ACTIVE if line.is_active else INACTIVE
            drawing.multiline_text(center, line.text, fill=color, font=font, anchor="mm", align="center")
            if not line.is_active:
                half, y = line.size.width // 2, top + line.size.height // 2
                drawing.line((middle - half, y, middle + half, y), fill=INACTIVE, width=STRIKE)
            top += line.size.height + self.spacing


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), size)
