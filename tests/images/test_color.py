"""Color correction: histograms by small tables, the blend by its definition."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from modules.images.color import corrected, matched_histogram, with_luminosity


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        ([0, 1, 2, 3], [10, 20, 30, 40], [10, 20, 30, 40]),
        ([5, 5, 5, 5], [0, 100, 100, 200], [200, 200, 200, 200]),  # everything is the last quantile
        ([0, 0, 255, 255], [0, 100, 200, 255], [100, 100, 255, 255]),
        ([1, 2, 3], [0, 91], [0, 30, 91]),  # between two values, cut off
    ],
)
def test_a_histogram_is_matched_by_quantiles(values: list[int], target: list[int], expected: list[int]) -> None:
    result = matched_histogram(np.array(values, np.uint8), np.array(target, np.uint8))
    assert result.tolist() == expected


def test_luminosity_moves_all_channels_alike_and_draws_them_together_at_the_ends() -> None:
    base = np.array([[[0.2, 0.4, 0.6], [0.9, 0.5, 0.1], [0.1, 0.5, 0.9], [0.5, 0.5, 0.5]]])
    light = np.array([[[0.3, 0.5, 0.7], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]])
    result = with_luminosity(base, light)
    np.testing.assert_allclose(result[0], [[0.3, 0.5, 0.7], [1, 1, 1], [0, 0, 0], [0.5, 0.5, 0.5]], atol=1e-12)


def test_colors_stay_in_a_loop_unless_they_are_cut_off_as_in_a1111() -> None:
    rng = np.random.default_rng(1)
    place = np.arange(64)
    waves = np.stack([162 + 40 * np.sin(place / 9), 152 + 30 * np.cos(place / 7), 152 + 25 * np.sin(place / 5)], -1)
    begun = np.around(waves[:, None] + rng.normal(0, 6, (64, 64, 3))).astype(np.uint8)

    def looped(is_exact: bool) -> NDArray[np.float64]:
        """How far the mean color has moved after 12 passes that add a little noise."""
        picture, noise = begun, np.random.default_rng(2)
        for _ in range(12):
            result = np.around(picture + noise.normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8)
            picture = corrected(result, Image.fromarray(picture), is_exact)
        return (picture.mean((0, 1)) - begun.mean((0, 1))).astype(np.float64)

    assert np.abs(looped(is_exact=False)).max() < 2
    red, _, blue = looped(is_exact=True)
    assert red < -10 < blue  # towards cyan


def test_brightness_stays_and_color_comes() -> None:
    rng = np.random.default_rng(2)
    gray = rng.integers(90, 150, (32, 32, 3), np.uint8)
    blue = Image.fromarray((rng.integers(60, 120, (20, 40, 3)) * (0.6, 0.9, 1.6)).astype(np.uint8), "RGB")
    result = corrected(gray, blue)
    luma = np.array([0.299, 0.587, 0.114])
    assert (result.shape, result.dtype) == ((32, 32, 3), np.uint8)
    assert np.abs(result @ luma - gray @ luma).max() < 2
    assert (result[..., 2].astype(int) - result[..., 0]).mean() > 40
