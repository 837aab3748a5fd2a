"""What time and bad cameras do to a picture. Pictures are (height, width, 3), float32 in [0, 1]."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import skia

from modules.starter.noise import Field, noise
from modules.starter.pen import blob, smooth
from modules.starter.styles import blurred, luminance

SEPIA: Final = np.array([1.06, 0.94, 0.74], np.float32)


def scratches(picture: Field, rng: random.Random) -> Field:
    """A faded old print with scratches and dust."""
    height, width = picture.shape[:2]
    k = width / 256
    faded = np.clip((luminance(picture) - 0.5) * rng.uniform(0.6, 0.85) + 0.52, 0, 1)[..., None]
    y = faded * (SEPIA if rng.random() < 0.7 else np.float32(1))
    y = y + 0.035 * noise("fine", height, width, rng)[..., None] + 0.03 * noise("low", height, width, rng, 2)[..., None]
    surface = skia.Surface(width, height)
    canvas = surface.getCanvas()
    for _ in range(rng.randint(3, 9)):
        x, y0, angle, length = (
            rng.uniform(0, width),
            rng.uniform(0, height),
            rng.uniform(0, 6.28),
            rng.uniform(25, 150) * k,
        )
        dx, dy = math.cos(angle) * length, math.sin(angle) * length
        middle = (x + dx / 2 + rng.uniform(-6, 6), y0 + dy / 2 + rng.uniform(-6, 6))
        paint = skia.Paint(AntiAlias=True, Color=skia.Color4f(1, 1, 1, rng.uniform(0.5, 0.95)).toColor())
        paint.setStyle(skia.Paint.kStroke_Style)
        paint.setStrokeWidth(rng.uniform(0.8, 2.2) * k)
        canvas.drawPath(smooth([(x, y0), middle, (x + dx, y0 + dy)]), paint)
    for _ in range(rng.randint(4, 14)):
        paint = skia.Paint(AntiAlias=True, Color=skia.Color4f(1, 1, 1, rng.uniform(0.5, 0.9)).toColor())
        at = (rng.uniform(0, width), rng.uniform(0, height))
        canvas.drawPath(blob(*at, rng.uniform(1, 5) * k, rng.uniform(1, 5) * k, rng, 6, 0.4), paint)
    mark = surface.toarray()[..., 3:4].astype(np.float32) / 255
    return np.clip(y * (1 - mark) + np.array([0.96, 0.93, 0.86], np.float32) * mark, 0, 1).astype(np.float32)


def blur(picture: Field, rng: random.Random) -> Field:
    return blurred(picture, rng.uniform(2.2, 4.5) * picture.shape[1] / 256)


def low_resolution(picture: Field, rng: random.Random) -> Field:
    height, width = picture.shape[:2]
    across = rng.choice((32, 40, 48))
    small = cv2.resize(picture, (across, round(across * height / width)), interpolation=cv2.INTER_AREA)
    return np.clip(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32)


def grain(picture: Field, rng: random.Random) -> Field:
    height, width = picture.shape[:2]
    random_state = np.random.RandomState(rng.randrange(1 << 30))
    amount, channels = rng.uniform(0.09, 0.16), 3 if rng.random() < 0.5 else 1
    return np.clip(picture + amount * random_state.randn(height, width, channels), 0, 1).astype(np.float32)


def grey(picture: Field, rng: random.Random) -> Field:
    del rng
    return np.repeat(np.clip((luminance(picture) - 0.5) * 1.1 + 0.5, 0, 1)[..., None], 3, -1).astype(np.float32)


DAMAGES: Final[Mapping[str, Callable[[npt.NDArray[np.float32], random.Random], npt.NDArray[np.float32]]]] = {
    "scratches": scratches,
    "blur": blur,
    "low resolution": low_resolution,
    "noise": grain,
    "grey": grey,
}
