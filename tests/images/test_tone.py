"""Blends the tone of redrawn pixels into that of kept ones."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from modules.images.tone import feathered, matched, spread


def ramp(height: int = 96, width: int = 96) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x + 40, y + 60, (x + y) // 2 + 30], axis=-1).astype(np.uint8)


def shifted(pixels: NDArray[np.uint8], lightness: float, green_red: float) -> NDArray[np.uint8]:
    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab[..., 0] += lightness
    lab[..., 1] += green_red
    return np.around(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1) * 255).astype(np.uint8)


def inside() -> NDArray[np.bool_]:
    redrawn = np.zeros((96, 96), bool)
    redrawn[24:72, 30:80] = True
    return redrawn


def error(one: NDArray[np.uint8], other: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    return float(np.abs(one.astype(int) - other)[where].mean())


@pytest.mark.parametrize(("lightness", "green_red"), [(6, -4), (-8, 0), (0, 5)])
def test_a_drift_of_colors_is_taken_back(lightness: float, green_red: float) -> None:
    original, redrawn = ramp(), inside()
    result = np.where(redrawn[..., None], shifted(original, lightness, green_red), original)
    again = matched(result, original, redrawn, 1.0)
    assert error(again, original, redrawn) < 0.2 * error(result, original, redrawn)
    half = matched(result, original, redrawn, 0.5)
    assert error(again, original, redrawn) < error(half, original, redrawn) < error(result, original, redrawn)


def test_it_does_not_posterise() -> None:
    original, redrawn = ramp(), inside()
    result = np.where(redrawn[..., None], shifted(original, 6, -4), original)
    again = matched(result, original, redrawn, 1.0)
    for channel in range(3):
        before, after = (np.unique(pixels[redrawn][:, channel]) for pixels in (result, again))
        assert len(after) > 0.9 * len(before)
        assert np.diff(after).max() <= np.diff(before).max() + 1
    rows = again[48, 30:80, 0].astype(int)  # a ramp stays a ramp
    assert np.abs(np.diff(rows) - 1).max() <= 1


def test_what_is_kept_keeps_every_byte() -> None:
    rng = np.random.default_rng(2)
    result, original = (rng.integers(0, 256, (96, 96, 3), np.uint8) for _ in range(2))
    redrawn = inside()
    assert (matched(result, original, redrawn, 1.0)[~redrawn] == result[~redrawn]).all()
    assert (feathered(result, original, redrawn, ~redrawn, 16)[~redrawn] == result[~redrawn]).all()


def test_something_else_than_the_surroundings_keeps_its_color() -> None:
    original, redrawn = ramp(), inside()
    hat = np.where(redrawn[..., None], np.array([240, 30, 30], np.uint8), original)
    assert np.abs(matched(hat, original, redrawn, 1.0).astype(int) - hat).max() <= 3


@pytest.mark.parametrize("amount", [0.0, 1.0])
@pytest.mark.parametrize("share", [0, 1])
def test_nothing_or_all_redrawn_leaves_nothing_to_match(amount: float, share: int) -> None:
    redrawn = np.full((96, 96), bool(share))
    result = shifted(ramp(), 6, 0)
    assert (matched(result, ramp(), redrawn, amount) == result).all()
    assert (feathered(result, ramp(), redrawn, ~redrawn, 16) == result).all()


def test_what_the_decoder_lost_is_carried_over_the_edge_and_fades() -> None:
    original = np.full((64, 64, 3), 100, np.uint8)
    new = np.zeros((64, 64), bool)
    new[:, 32:] = True
    result = np.full((64, 64, 3), 90, np.uint8)  # all of it has become darker by 10
    again = feathered(result, original, new, ~new, 16)
    assert again[32, 31:50, 0].tolist() == [90, 100, 99, 98, 97, 96, 95, 94, 93, 92, 92, 91, 91, 91, 90, 90, 90, 90, 90]
    assert (feathered(result, original, new, ~new, 0) == result).all()


def test_an_edge_begins_with_the_old_ones_tone_whatever_stands_beyond() -> None:
    """A network's picture that is nothing like the old one: the mean does not change across the edge."""
    rng = np.random.default_rng(5)
    original = ramp()
    result = rng.integers(120, 256, (96, 96, 3), np.uint8)
    new = np.zeros((96, 96), bool)
    new[:, 60:] = True
    again = feathered(result, original, new, ~new, 24).astype(float)
    step = again[:, 60].mean(0) - original[:, 59].mean(0)
    assert np.abs(result[:, 60].mean(0) - original[:, 59].mean(0)).max() > 40
    assert np.abs(step).max() < 2
    assert (again[:, 60 + 24 :] == result[:, 60 + 24 :]).all()


def test_values_spread_from_where_they_are_known() -> None:
    values = np.zeros((16, 16, 1), np.float32)
    weights = np.zeros((16, 16), np.float32)
    values[:, 0], values[:, 15] = 4, 8
    weights[:, 0] = weights[:, 15] = 1
    row = spread(values, weights)[8, :, 0]
    assert (row[0], row[15]) == (4, 8)
    assert (np.diff(row) > -0.2).all()
    assert 5 < row[7] < 7
