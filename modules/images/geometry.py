"""Sizes and boxes in whole pixels, and where a picture lies in another one."""

from typing import NamedTuple


class Size(NamedTuple):
    width: int
    height: int


class Box(NamedTuple):
    """A rectangle in pixels; `right` and `bottom` are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        return Size(self.right - self.left, self.bottom - self.top)


class Margins(NamedTuple):
    """Pixels around a picture."""

    left: int
    top: int
    right: int
    bottom: int

    def around(self, size: Size) -> Size:
        """The size of a picture of `size` with these margins."""
        return Size(self.left + size.width + self.right, self.top + size.height + self.bottom)


class Placement(NamedTuple):
    """A picture scaled to `size`, with its corner at `left`, `top` of the target; negative if it extends beyond."""

    size: Size
    left: int
    top: int


def covering(source: Size, target: Size) -> Placement:
    """Scale `source` until it covers `target`, centered: A1111's "Crop and resize"."""
    if _wider(target, source):
        return _centered(Size(target.width, source.height * target.width // source.width), target)
    return _centered(Size(source.width * target.height // source.height, target.height), target)


def fitting(source: Size, target: Size) -> Placement:
    """Scale `source` until it fits into `target`, centered: A1111's "Resize and fill"."""
    if _wider(source, target):
        return _centered(Size(target.width, source.height * target.width // source.width), target)
    return _centered(Size(source.width * target.height // source.height, target.height), target)


def scaled(source: Size, factor: float) -> Size:
    """`source` times `factor`, cut to whole pixels, at least 1: A1111's "Resize by"."""
    return Size(max(1, int(source.width * factor)), max(1, int(source.height * factor)))


def _wider(one: Size, other: Size) -> bool:
    return one.width * other.height > other.width * one.height


def _centered(size: Size, target: Size) -> Placement:
    # Halves are truncated before the subtraction, so an odd size is half a pixel left or right of the center.
    size = Size(max(1, size.width), max(1, size.height))
    return Placement(size, target.width // 2 - size.width // 2, target.height // 2 - size.height // 2)
