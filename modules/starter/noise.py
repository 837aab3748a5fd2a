"""Patches of 1/f noise, cut from a few fixed fields."""

from __future__ import annotations

import functools
import random
from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[np.float32]

FIELD_SIZE: Final = 768
# Exponent of the power spectrum: cloud-like, paper-like, grain.
BETAS: Final = {"low": (3.4, 4), "mid": (2.2, 4), "fine": (1.0, 3)}


@functools.cache
def fields(kind: str) -> tuple[Field, ...]:
    """Square fields of `FIELD_SIZE`, mean 0, deviation 1; the same ones at every start."""
    beta, count = BETAS[kind]
    rng = np.random.RandomState(7 + list(BETAS).index(kind))
    frequency = np.fft.fftfreq(FIELD_SIZE)
    radius = np.sqrt(frequency[:, None] ** 2 + frequency[None] ** 2)
    radius[0, 0] = 1
    result: list[Field] = []
    for _ in range(count):
        spectrum = np.fft.fft2(rng.randn(FIELD_SIZE, FIELD_SIZE)) * radius ** (-beta / 2)
        field = np.fft.ifft2(spectrum).real
        field -= field.mean()
        result.append((field / field.std()).astype(np.float32))
    return tuple(result)


def noise(kind: str, height: int, width: int, rng: random.Random, zoom: float = 1.0) -> Field:
    """A (height, width) patch, mean 0 and deviation 1; a larger `zoom` shows more of the field, so finer grain."""
    field = rng.choice(fields(kind))
    rows = min(FIELD_SIZE, max(8, int(height * zoom)))
    columns = min(FIELD_SIZE, max(8, int(width * zoom)))
    top, left = rng.randrange(FIELD_SIZE - rows + 1), rng.randrange(FIELD_SIZE - columns + 1)
    patch = field[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        patch = patch[:, ::-1]
    if rng.random() < 0.5:
        patch = patch[::-1]
    if patch.shape != (height, width):
        patch = cv2.resize(np.ascontiguousarray(patch), (width, height), interpolation=cv2.INTER_LINEAR)
    centred = patch - patch.mean()
    return (centred / (centred.std() + 1e-6)).astype(np.float32)
