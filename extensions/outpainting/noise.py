"""Noise shaped like a picture, for the sampler to start from: A1111's "Outpainting mk2".

The noise gets the picture's spectrum, then its histogram; unmasked parts of the picture stay unchanged.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def shaped(picture: Floats, mask: Floats, falloff: float, color_variation: float) -> Floats:
    """`picture` (H, W, 3) in [0, 1] with noise where `mask` (H, W, 3) is 1; H and W are even.

    `falloff` is the exponent of the picture's spectrum; `color_variation` goes from gray to colored noise. The noise
    always uses the same seed, so that the result depends only on the job's seed.
    """
    kept = picture * (1 - mask)
    gray_mask = mask.mean(axis=2)
    is_new, is_old = gray_mask > 1e-6, gray_mask < 1e-3
    seen = kept * (1 - gray_mask[..., None])
    seen = seen / (seen.max() or 1.0) + kept.mean() * mask  # keeps edges of black margins out of the spectrum
    spectrum = _forward(seen)
    strength = np.abs(spectrum)
    phase = np.divide(spectrum, strength, out=np.ones_like(spectrum), where=strength > 0)

    noise = np.random.default_rng(0).random(picture.shape)
    noise = color_variation * noise + (1 - color_variation) * noise.mean(axis=2, keepdims=True)
    noise = np.real(_backward(_forward(noise) * _low_pass(*picture.shape[:2])[..., None]))
    noise = np.real(_backward(np.abs(_forward(noise)) ** 2 * strength**falloff * phase))
    noise -= noise.min()
    noise /= noise.max() or 1.0
    if is_new.any() and is_old.any():
        for channel in range(3):
            noise[is_new, channel] = _matched(noise[is_new, channel], kept[is_old, channel])
    return np.clip(kept + noise * mask, 0, 1)


def _low_pass(height: int, width: int) -> Floats:
    """(H, W), 1 in the middle: 1 / ((x² + 1)(y² + 1)), where the shorter side runs from −1 to 1."""
    shorter = min(height, width)
    y = (np.arange(height) / height * 2 - 1) * (height / shorter)
    x = (np.arange(width) / width * 2 - 1) * (width / shorter)
    return 1 / ((y[:, None] ** 2 + 1) * (x[None, :] ** 2 + 1))


def _matched(values: Floats, template: Floats) -> Floats:
    """`values` mapped, with interpolation, so that their cumulative histogram matches that of `template`."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    levels, level_counts = np.unique(template, return_counts=True)
    quantiles = np.cumsum(counts) / values.size
    return np.interp(quantiles, np.cumsum(level_counts) / template.size, levels)[places]


def _forward(picture: NDArray[Any]) -> NDArray[np.complex128]:
    """The spectrum of each channel, with frequency 0 in the middle."""
    shifted = np.fft.fftshift(picture, axes=(0, 1))
    return np.fft.ifftshift(np.fft.fft2(shifted, axes=(0, 1), norm="ortho"), axes=(0, 1))


def _backward(spectrum: NDArray[Any]) -> NDArray[np.complex128]:
    shifted = np.fft.fftshift(spectrum, axes=(0, 1))
    return np.fft.ifftshift(np.fft.ifft2(shifted, axes=(0, 1), norm="ortho"), axes=(0, 1))
