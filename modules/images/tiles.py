"""Splitting a picture into overlapping tiles and joining them: A1111's arithmetic."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from modules.images.geometry import Box, Size


def rows_of_tiles(image: Size, tile: Size, overlap: int) -> list[list[Box]]:
    """Boxes of `tile` size, evenly spread so that neighbors overlap by at least `overlap` pixels, row by row.

    If the image is smaller than a tile, a box extends beyond it on the left or at the top.
    """
    tops = _starts(image.height, tile.height, overlap)
    lefts = _starts(image.width, tile.width, overlap)
    return [[Box(left, top, left + tile.width, top + tile.height) for left in lefts] for top in tops]


def combined(image: Size, rows: Sequence[Sequence[Box]], tiles: Sequence[Image.Image], overlap: int) -> Image.Image:
    """RGB of size `image` from `tiles` (row by row, in the order of `rows`), blended linearly over the overlap."""
    whole = Image.new("RGB", image)
    pictures = iter(tiles)
    for row in rows:
        height = row[0].size.height
        strip = Image.new("RGB", (image.width, height))
        fade = _fade(overlap, height)
        for box in row:
            picture = next(pictures)
            if box.left == 0:
                strip.paste(picture, (0, 0))
                continue
            strip.paste(picture.crop((0, 0, overlap, height)), (box.left, 0), fade)
            strip.paste(picture.crop((overlap, 0, box.size.width, height)), (box.left + overlap, 0))
        if row[0].top == 0:
            whole.paste(strip, (0, 0))
            continue
        down = _fade(overlap, image.width).transpose(Image.Transpose.TRANSPOSE)
        whole.paste(strip.crop((0, 0, image.width, overlap)), (0, row[0].top), down)
        whole.paste(strip.crop((0, overlap, image.width, height)), (0, row[0].top + overlap))
    return whole


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    count = max(-(-(length - overlap) // (tile - overlap)), 1)
    step = (length - tile) / (count - 1) if count > 1 else 0.0
    # The last tile ends where the picture does. A1111 rounds its start down too, which can leave a black line.
    return [*(min(int(i * step), length - tile) for i in range(count - 1)), length - tile]


def _fade(overlap: int, height: int) -> Image.Image:
    """A mask of mode L, `overlap` x `height`: a ramp from 0 on the left to almost 255."""
    ramp = (np.arange(overlap, dtype=np.float64) * 255 / max(overlap, 1)).astype(np.uint8)
    return Image.fromarray(np.tile(ramp, (height, 1)), "L")
