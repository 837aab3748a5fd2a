"""The classic filters of Extras."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter

from modules.images.filters import BAND, PATCH, SEARCH, STRONGEST, color_fixed, denoised, sharpened


def noisy(width: int, height: int) -> Image.Image:
    ramp = np.asarray(Image.linear_gradient("L").resize((width, height)), np.float32)
    noise = np.random.default_rng(1).normal(0, 8, (height, width, 3))
    return Image.fromarray(np.clip(ramp[..., None] + noise, 0, 255).astype(np.uint8))


def test_bands_leave_no_trace() -> None:
    image = noisy(24, 2 * BAND + 20)
    h = STRONGEST * 0.5
    whole = cv2.fastNlMeansDenoisingColored(np.asarray(image), None, h, h, PATCH, SEARCH)
    assert np.array_equal(np.asarray(denoised(image, 0.5)), whole)


def test_noise_falls_with_the_strength() -> None:
    image = noisy(48, 48)
    clean = np.asarray(image.filter(ImageFilter.GaussianBlur(6)), np.float32)
    rest = [float(np.std(np.asarray(denoised(image, strength)) - clean)) for strength in (0, 0.4, 1)]
    assert rest[0] > rest[1] > rest[2]


def test_denoising_can_be_stopped() -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        denoised(noisy(16, 16), 1.0, stop)


def test_sharpening_raises_the_contrast_of_an_edge_and_nothing_far_from_it() -> None:
    edge = Image.fromarray(np.repeat(np.where(np.arange(40) < 20, 60, 180).astype(np.uint8)[None], 9, 0)).convert("RGB")
    row = np.asarray(sharpened(edge.filter(ImageFilter.GaussianBlur(1)), 1.0))[4, :, 0]
    assert row.min() < 60
    assert row.max() > 180
    assert (row[0], row[-1]) == (60, 180)


@pytest.mark.parametrize("method", ["Wavelet", "AdaIN"])
def test_a_cast_is_taken_away_and_details_stay(method: str) -> None:
    source = noisy(64, 48)
    larger = source.resize((128, 96), Image.Resampling.BICUBIC)
    cast = Image.fromarray(np.clip(np.asarray(larger) * [0.9, 1, 1.0] + [0, 0, 20], 0, 255).astype(np.uint8))
    before = np.abs(np.asarray(cast, np.float32) - np.asarray(larger, np.float32)).mean()
    fixed = np.asarray(color_fixed(cast, source, method), np.float32)
    assert np.abs(fixed - np.asarray(larger, np.float32)).mean() < before / 5


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 300)])
@pytest.mark.parametrize(
    "act",
    [
        lambda image: denoised(image, 1.0),
        lambda image: sharpened(image, 2.0),
        lambda image: color_fixed(image, image.resize((4, 4)), "Wavelet"),
        lambda image: color_fixed(image, image.resize((4, 4)), "AdaIN"),
    ],
)
def test_odd_sizes_and_alpha_stay(size: tuple[int, int], act: Callable[[Image.Image], Image.Image]) -> None:
    image = Image.new("RGBA", size, (200, 30, 90, 77))
    result = act(image)
    assert (result.size, result.mode) == (size, "RGBA")
    assert result.getchannel("A").getextrema() == (77, 77)
