"""Contact sheets and curves as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from modules.starter.noise import Field

GAP: Final = 4
LABEL: Final = 13
INKS: Final = ((38, 110, 196), (214, 92, 60), (60, 150, 90), (140, 90, 180))


def as_image(picture: Field) -> Image.Image:
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def sheet(pictures: Sequence[Field], columns: int, labels: Sequence[str] = ()) -> Image.Image:
    """Pictures of one size in rows, each with a line of text below if there are `labels`."""
    height, width = pictures[0].shape[:2]
    line = LABEL if labels else 0
    rows = -(-len(pictures) // columns)
    size = (columns * (width + GAP) + GAP, rows * (height + line + GAP) + GAP)
    result = Image.new("RGB", size, (40, 40, 44))
    pen, font = ImageDraw.Draw(result), ImageFont.load_default(10)
    for i, picture in enumerate(pictures):
        left, top = GAP + i % columns * (width + GAP), GAP + i // columns * (height + line + GAP)
        result.paste(as_image(picture), (left, top))
        if labels:
            pen.text((left + 2, top + height), labels[i][: width // 5], fill=(255, 255, 255), font=font)
    return result


def curve(
    series: Mapping[str, Sequence[tuple[float, float]]], title: str, size: tuple[int, int] = (720, 360)
) -> Image.Image:
    """A plot of (x, y) lines on one pair of axes that fit the values."""
    image = Image.new("RGB", size, (255, 255, 255))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    pen.text((56, 6), title, fill=(0, 0, 0), font=font)
    points = [point for line in series.values() for point in line]
    if not points:
        return image
    xs, ys = [x for x, _ in points], [y for _, y in points]
    left, top, right, bottom = 56, 26, size[0] - 14, size[1] - 30
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x0) / (x1 - x0 or 1) * (right - left),
            bottom - (y - y0) / (y1 - y0 or 1) * (bottom - top),
        )

    for k in range(5):
        x, y = x0 + (x1 - x0) * k / 4, y0 + (y1 - y0) * k / 4
        pen.line([at(x0, y), at(x1, y)], fill=(225, 225, 228))
        pen.text((4, at(x0, y)[1] - 7), f"{y:.3g}", fill=(80, 80, 80), font=font)
        pen.text((at(x, y0)[0] - 14, bottom + 8), f"{x:.4g}", fill=(80, 80, 80), font=font)
    for i, (name, line) in enumerate(series.items()):
        ink = INKS[i % len(INKS)]
        if len(line) > 1:
            pen.line([at(x, y) for x, y in line], fill=ink, width=2)
        pen.text((right - 150, top + 4 + 15 * i), name, fill=ink, font=font)
    return image


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
