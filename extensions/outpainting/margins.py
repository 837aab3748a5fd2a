"""How far a picture is extended on each side: A1111 rounds the new width and height to multiples of 64."""

from collections.abc import Collection
from typing import NamedTuple

from modules.images.geometry import Size

DIRECTIONS = ("left", "right", "up", "down")
MULTIPLE = 64


class Margins(NamedTuple):
    """Pixels on each side."""

    left: int
    right: int
    up: int
    down: int


def margins(source: Size, pixels: int, directions: Collection[str]) -> Margins:
    """`pixels` on each side in `directions`, more where the new width or height is not a multiple of 64."""
    left, right, up, down = (pixels if direction in directions else 0 for direction in DIRECTIONS)
    width, height = (
        -(-side // MULTIPLE) * MULTIPLE for side in (source.width + left + right, source.height + up + down)
    )
    more_across, more_down = width - source.width, height - source.height
    if left:
        left = left * more_across // (left + right)
    if right:
        right = more_across - left
    if up:
        up = up * more_down // (up + down)
    if down:
        down = more_down - up
    return Margins(left, right, up, down)
