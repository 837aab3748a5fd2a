"""Regions of a picture that are worked on one by one: boxes as text, the parts of a mask, and their masks."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from modules.base.errors import WebuiError
from modules.images.geometry import Box, Size
from modules.images.masks import blur_kernel

MOST = 64  # regions of one picture
SMALLEST = 8  # pixels a side


@dataclass(frozen=True)
class Region:
    """`mask` is L of the picture's size, 255 where it is redrawn, its edge to be blurred by `blur` pixels (sigma)."""

    box: Box
    mask: Image.Image
    blur: int


def written(boxes: list[Box]) -> str:
    """
    >>> written([Box(1, 2, 30, 40)])
    '1, 2, 30, 40'
    """
    return "\n".join(", ".join(map(str, box)) for box in boxes)


def parsed(text: str, field: str) -> list[Box]:
    """Boxes from lines of `left, top, right, bottom`; semicolons end a line too. Raises WebuiError about `field`."""
    lines = [line.strip() for line in text.replace(";", "\n").splitlines() if line.strip()]
    if len(lines) > MOST:
        raise WebuiError(f"Boxes: there are {len(lines)}, at most {MOST} are redrawn.", field=field)
    return [_box(line, field) for line in lines]


def _box(line: str, field: str) -> Box:
    try:
        box = Box(*(round(float(number)) for number in line.split(",")))
    except (TypeError, ValueError, OverflowError):  # not four, not numbers, not finite
        box = None
    if box is None or min(box.size) < SMALLEST:
        raise WebuiError(
            f"Boxes: {line[:80]!r}: expected left, top, right, bottom in pixels, at least {SMALLEST} pixels a side.",
            "Write one box a line, for example 120, 80, 220, 180.",
            field,
        )
    return box


def clipped(box: Box, size: Size, field: str) -> Box:
    """What of `box` lies in a picture of `size`. Raises WebuiError if that is next to nothing."""
    inner = Box(max(box.left, 0), max(box.top, 0), min(box.right, size.width), min(box.bottom, size.height))
    if min(inner.size) < SMALLEST:
        raise WebuiError(
            f"Boxes: {', '.join(map(str, box))} lies outside of the picture, which is {size.width}x{size.height}.",
            "Move or remove the box.",
            field,
        )
    return inner


def of_box(box: Box, size: Size, blur: int) -> Region:
    """A region whose soft edge ends within `box`, so that nothing outside of it changes."""
    blur = min(blur, min(box.size) // 12)  # or the edge would leave nothing of a small box
    inset = blur_kernel(blur) // 2 if blur > 0 else 0
    mask = Image.new("L", size)
    inner = (
        box.left + (inset if box.left > 0 else 0),
        box.top + (inset if box.top > 0 else 0),
        box.right - 1 - (inset if box.right < size.width else 0),
        box.bottom - 1 - (inset if box.bottom < size.height else 0),
    )
    ImageDraw.Draw(mask).rectangle(inner, fill=255)
    return Region(box, mask, blur)


def of_mask(mask: Image.Image, blur: int) -> list[Region]:
    """The connected parts of `mask` (L), largest first, at most MOST."""
    pixels = np.asarray(mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((pixels > 0).astype(np.uint8), connectivity=8)
    order = sorted(range(1, count), key=lambda label: -int(stats[label, cv2.CC_STAT_AREA]))[:MOST]
    regions: list[Region] = []
    for label in order:
        left, top, width, height = (int(stats[label, at]) for at in range(4))
        part = Image.fromarray(np.where(labels == label, pixels, 0).astype(np.uint8), "L")
        regions.append(Region(Box(left, top, left + width, top + height), part, blur))
    return regions
