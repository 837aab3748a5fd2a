"""Painting styles, laid over a finished flat picture. Pictures are (height, width, 3), float32 in [0, 1]."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from modules.starter.noise import Field, noise
from modules.starter.palette import rgb

LUMA: Final = np.array([0.3, 0.59, 0.11], np.float32)


def luminance(picture: Field) -> Field:
    return picture @ LUMA


def blurred(picture: Field, sigma: float) -> Field:
    return cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32)


def grid(height: int, width: int) -> tuple[Field, Field]:
    """Row and column of every pixel."""
    rows, columns = np.mgrid[0:height, 0:width]
    return rows.astype(np.float32), columns.astype(np.float32)


def moved(picture: Field, rows: Field, columns: Field) -> Field:
    return cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).astype(np.float32)


def shaken(picture: Field, rng: random.Random, amount: float) -> Field:
    """Edges as an unsteady hand draws them; `amount` in pixels."""
    height, width = picture.shape[:2]
    rows, columns = grid(height, width)
    shift = [noise("mid", height, width, rng) * np.float32(amount) for _ in range(2)]
    return moved(picture, rows + shift[0], columns + shift[1])


def edges(picture: Field, sigma: float) -> Field:
    """Gradient length, (height, width); the strongest colour channel counts."""
    soft = blurred(picture, sigma)
    squares = cv2.Sobel(soft, -1, 1, 0) ** 2 + cv2.Sobel(soft, -1, 0, 1) ** 2
    return np.sqrt(squares.max(-1)).astype(np.float32)


def watercolor(picture: Field, rng: random.Random) -> Field:
    """Pigment density, wet bleeding, back-runs, dark edges, paper grain and an unpainted rim."""
    height, width = picture.shape[:2]
    k = width / 256
    grey = luminance(picture)[..., None]
    x = np.clip(grey + (picture - grey) * 1.18, 0, 1)
    sharp = shaken(x.astype(np.float32), rng, 0.85 * k)
    x = sharp * 0.75 + blurred(sharp, 1.0 * k) * 0.25
    soft = blurred(x, 4.0 * k)
    detail = np.clip(np.abs(sharp - soft).max(-1, keepdims=True) * 2.2, 0, 1)
    wet = np.clip(noise("low", height, width, rng, 2.0) * 0.5 + 0.45, 0, 0.9)[..., None] * (1 - detail)
    x = x * (1 - wet) + soft * wet
    rim = np.abs(blurred(x.astype(np.float32), 0.8 * k) - blurred(x.astype(np.float32), 2.4 * k)).max(-1, keepdims=True)
    density = 0.84 + 0.15 * noise("low", height, width, rng, 1.6) + 0.085 * noise("mid", height, width, rng, 0.9)
    ink = 1 - x
    y = (1 - ink * np.clip(density, 0.35, 1.2)[..., None]) * (1 - 0.85 * np.clip(rim - 0.015, 0, 0.16))
    cover = np.clip(ink.mean(-1, keepdims=True) * 2.2, 0, 1)
    runs = np.exp(-((np.abs(noise("low", height, width, rng, 2.2)) / 0.06) ** 2))[..., None]
    y = y * (1 - 0.075 * runs * cover)
    separation = np.stack([noise("low", height, width, rng, 1.5) for _ in range(3)], -1)
    y = y * (1 + 0.045 * separation * cover)
    grain = noise("fine", height, width, rng)
    grain = (grain - np.roll(grain, 1, 0))[..., None] * 0.7
    y = y * (1 - 0.022 * grain * (0.4 + cover))
    paper = np.array([0.99, 0.98, 0.955], np.float32) * (1 + 0.008 * noise("fine", height, width, rng)[..., None])
    y = y * paper
    if rng.random() < 0.7:
        painted = painted_area(height, width, k, rng)
        ridge = np.exp(-(((painted - 0.75) / 0.25) ** 2)) * 0.09 * (painted > 0) * (painted < 1)
        y = paper * (1 - painted) + y * painted * (1 - ridge)
    return np.clip(y, 0, 1).astype(np.float32)


def painted_area(height: int, width: int, k: float, rng: random.Random) -> Field:
    """1 where paint lies, 0 on the bare rim of the paper; (height, width, 1)."""
    rows, columns = grid(height, width)
    to_edge = np.minimum(np.minimum(columns, width - 1 - columns), np.minimum(rows, height - 1 - rows)) / k
    ragged = 5.0 * noise("low", height, width, rng, 2.4) + 1.6 * noise("mid", height, width, rng)
    return np.clip((to_edge - rng.uniform(6, 15) + ragged) / 3.0, 0, 1)[..., None].astype(np.float32)


def pencil(picture: Field, rng: random.Random) -> Field:
    """Graphite: lines where colours meet, hatching in three directions by darkness."""
    height, width = picture.shape[:2]
    k = width / 256
    shaky = shaken(picture, rng, 0.6 * k)
    grey = luminance(shaky)
    lines = np.clip(edges(shaky, 0.7 * k) * 1.1 - 0.08, 0, 0.85) * (0.8 + 0.16 * noise("mid", height, width, rng, 0.6))
    rows, columns = grid(height, width)
    dark = blurred(grey, 1.6 * k)
    tone = np.zeros((height, width), np.float32)
    for angle, threshold in ((0.8, 0.80), (-0.75, 0.50), (0.15, 0.30)):
        along = (columns * math.cos(angle) + rows * math.sin(angle)) / k + 1.3 * noise("low", height, width, rng, 2.0)
        stripes = 0.5 + 0.5 * np.sin(along * 2 * math.pi / 3.6)
        tone += stripes * np.clip((threshold - dark) / 0.3, 0, 1) * 0.40
    y = 0.965 - tone * (0.72 + 0.25 * noise("fine", height, width, rng)) - lines
    y = y + 0.018 * noise("fine", height, width, rng)
    return np.clip(y[..., None] * np.array([1, 0.995, 0.975], np.float32), 0.06, 1).astype(np.float32)


def pixel(picture: Field, rng: random.Random) -> Field:
    height, width = picture.shape[:2]
    across = rng.choice((48, 56, 64, 64))
    small = cv2.resize(picture, (across, round(across * height / width)), interpolation=cv2.INTER_AREA)
    levels = rng.choice((5, 6, 7))
    small = np.round(np.clip((small - 0.5) * 1.08 + 0.5, 0, 1) * levels) / levels
    return cv2.resize(small.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST).astype(np.float32)


def oil(picture: Field, rng: random.Random) -> Field:
    """Flat patches (Kuwahara 1976) and strokes that follow the edges, in relief."""
    height, width = picture.shape[:2]
    k = width / 256
    tint = np.stack([noise("low", height, width, rng, 1.2) for _ in range(3)], -1)
    x = np.clip((picture - 0.5) * 1.08 + 0.48, 0, 1) + 0.03 * tint
    x = kuwahara(x.astype(np.float32), max(2, round(3 * k)))
    angle = stroke_angle(x, k) + 0.5 * noise("low", height, width, rng, 1.4)
    rows, columns = grid(height, width)
    dy, dx = (np.sin(angle) * k).astype(np.float32), (np.cos(angle) * k).astype(np.float32)
    bristles = blurred(noise("fine", height, width, rng), 0.8 * k)
    relief, paint = np.zeros((height, width), np.float32), np.zeros_like(x)
    steps = (-5.0, -3.3, -1.6, 0.0, 1.6, 3.3, 5.0)
    for step in steps:
        relief += moved(bristles, rows + dy * np.float32(step), columns + dx * np.float32(step))
        paint += moved(x, rows + dy * np.float32(step * 0.5), columns + dx * np.float32(step * 0.5))
    relief /= relief.std() + 1e-6
    bump = relief - np.roll(relief, (1, 1), (0, 1))
    y = paint / len(steps) * (1 + 0.03 * relief[..., None]) + 0.045 * bump[..., None]
    return np.clip(y, 0, 1).astype(np.float32)


def kuwahara(picture: Field, size: int) -> Field:
    """The mean of the calmest of four neighbouring squares."""
    grey = luminance(picture)
    mean, grey_mean = cv2.blur(picture, (size + 1, size + 1)), cv2.blur(grey, (size + 1, size + 1))
    variance = cv2.blur(grey * grey, (size + 1, size + 1)) - grey_mean**2
    reach = size // 2 + 1
    shifts = [(a, b) for a in (-reach, reach) for b in (-reach, reach)]
    means = np.stack([np.roll(mean, shift, (0, 1)) for shift in shifts])
    calmest = np.stack([np.roll(variance, shift, (0, 1)) for shift in shifts]).argmin(0)
    return np.take_along_axis(means, calmest[None, ..., None], 0)[0].astype(np.float32)


def stroke_angle(picture: Field, k: float) -> Field:
    """Direction along the edges: the weaker axis of the smoothed structure tensor, radians."""
    grey = luminance(picture)
    gx, gy = cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)
    xx, yy, xy = (blurred(np.asarray(part, np.float32), 5 * k) for part in (gx * gx, gy * gy, gx * gy))
    return (0.5 * np.arctan2(2 * xy, xx - yy) + math.pi / 2).astype(np.float32)


def neon(picture: Field, rng: random.Random) -> Field:
    """Glowing tubes along the edges of a dark picture."""
    height, width = picture.shape[:2]
    k = width / 256
    tubes = np.clip(edges(picture, 0.8 * k) * 1.5 - 0.12, 0, 1)
    pairs = (("ff2fa0", "28e0ff"), ("28e0ff", "a050ff"), ("ff4fd0", "ffb040"), ("40ffb0", "ff3fb0"))
    first, second = (np.array(rgb(code), np.float32) for code in rng.choice(pairs))
    share = np.clip(0.5 + 0.7 * noise("low", height, width, rng, 2.2), 0, 1)[..., None]
    dark = picture * np.array([0.30, 0.20, 0.46], np.float32) + np.array([0.03, 0.01, 0.07], np.float32)
    glow = tubes * 0.85 + blurred(tubes, 2.2 * k) * 0.75 + blurred(tubes, 7 * k) * 0.6
    y = dark * (1 - 0.3 * tubes[..., None]) + (first * (1 - share) + second * share) * glow[..., None]
    return np.clip(y, 0, 1).astype(np.float32)


def crayon(picture: Field, rng: random.Random) -> Field:
    """Wax that catches on the grain of the paper."""
    height, width = picture.shape[:2]
    wax = np.clip(0.93 + 0.10 * noise("fine", height, width, rng, 0.7)[..., None], 0, 1.05)
    return np.clip(1 - (1 - picture) * wax, 0, 1).astype(np.float32)


STYLES: Final[Mapping[str, Callable[[npt.NDArray[np.float32], random.Random], npt.NDArray[np.float32]]]] = {
    "watercolor": watercolor,
    "pencil": pencil,
    "pixel": pixel,
    "oil": oil,
    "neon": neon,
    "crayon": crayon,
}
