"""Scratches and dust on real photographs: how many are found, and whether filling them restores the picture."""

import math

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from modules.images.scratches import filled_in, scratches


def photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def scratched(picture: Image.Image, level: int) -> tuple[Image.Image, NDArray[np.bool_]]:
    """`picture` with twelve curved scratches and 25 specks of gray `level`, and where they cover at least half."""
    draw, (width, height) = np.random.default_rng(3), picture.size
    layer = Image.new("L", (width * 4, height * 4))
    pen = ImageDraw.Draw(layer)
    for _ in range(12):
        x, y = draw.uniform(0, width * 4), draw.uniform(0, height * 4)
        angle, points = draw.uniform(0, math.pi), [(x, y)]
        for _ in range(8):
            angle += draw.normal(0, 0.12)
            x, y = x + math.cos(angle) * width * 0.1, y + math.sin(angle) * width * 0.1
            points.append((x, y))
        pen.line(points, fill=255, width=int(draw.integers(5, 10)))
    for _ in range(25):
        x, y, radius = draw.uniform(0, width * 4), draw.uniform(0, height * 4), draw.uniform(4, 9)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    cover = np.asarray(layer.resize((width, height), Image.Resampling.BOX)) / 255
    damaged = np.asarray(picture) * (1 - cover[..., None]) + level * cover[..., None]
    return Image.fromarray(damaged.round().astype(np.uint8), "RGB"), cover > 0.5


def psnr(one: Image.Image, other: Image.Image) -> float:
    return float(10 * np.log10(255**2 / np.mean((np.asarray(one, float) - np.asarray(other, float)) ** 2)))


@pytest.mark.parametrize(
    ("name", "level", "decibels"),
    [("astronaut", 245, 0.5), ("coffee", 245, 1.5), ("chelsea", 245, 10), ("rocket", 245, 4), ("chelsea", 5, 5)],
)
def test_most_of_the_scratches_are_found_and_filling_them_helps(name: str, level: int, decibels: float) -> None:
    picture = photograph(name)
    damaged, where = scratched(picture, level)
    mask = scratches(damaged)
    found = np.asarray(mask) > 0
    seen = where & (np.abs(np.asarray(damaged, float) - np.asarray(picture, float)).max(axis=2) > 30)
    assert found[seen].mean() > 0.88
    assert found.mean() < where.mean() + 0.04
    filled = filled_in(damaged, mask)
    assert psnr(filled, picture) > psnr(damaged, picture) + decibels
    assert np.array_equal(np.asarray(filled)[~found], np.asarray(damaged)[~found])


def test_a_picture_without_scratches_has_next_to_none() -> None:
    assert (np.asarray(scratches(photograph("chelsea"))) > 0).mean() < 0.005


def test_more_sensitivity_finds_fainter_scratches() -> None:
    picture = Image.new("RGB", (300, 200), (120, 120, 120))
    ImageDraw.Draw(picture).line((20, 30, 250, 170), fill=(150, 150, 150), width=2)
    found = [(np.asarray(scratches(picture, each)) > 0).sum() for each in (0.0, 0.5, 1.0)]
    assert found[0] == 0 < found[2]


def test_gray_stays_gray() -> None:
    damaged, _ = scratched(photograph("camera"), 250)
    filled = np.asarray(filled_in(damaged, scratches(damaged)))
    assert np.array_equal(filled[..., 0], filled[..., 1])
    assert np.array_equal(filled[..., 0], filled[..., 2])


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3), (8, 8)])
def test_tiny_pictures(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (90, 90, 90))
    mask = scratches(picture, 1.0)
    assert (mask.size, mask.getbbox()) == (size, None)
    assert filled_in(picture, Image.new("L", size, 255)).size == size
