"""Changes told from drift: a model of the tests edits a drawn scene, and also tints, blurs, moves and grains it all."""

import hashlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from skimage import data

from modules.images.changes import Bytes, Mask, found_changes, laid_over

SIZE = 256
JUST_SEEN = 5.0  # ΔE: an edit that changes a pixel by less is not one
EDITS = ("recolored", "covered", "replaced")


def scene(rng: np.random.Generator) -> Bytes:
    """A gradient with circles, frames, lines and polygons."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    top, bottom, side = rng.random((3, 3))
    image = (top * (1 - y[..., None]) + bottom * y[..., None]) * 0.6 + side * x[..., None] * 0.4
    image = np.ascontiguousarray((image * 255).astype(np.uint8))
    for _ in range(4):
        colors = rng.integers(0, 256, (4, 3)).tolist()
        points = rng.integers(0, SIZE, (4, 4, 2)).astype(np.int32)
        cv2.circle(image, points[0, 0].tolist(), int(rng.integers(6, 40)), colors[0], -1, cv2.LINE_AA)
        cv2.rectangle(image, points[1, 0].tolist(), points[1, 1].tolist(), colors[1], int(rng.integers(1, 4)))
        cv2.line(image, points[2, 0].tolist(), points[2, 1].tolist(), colors[2], int(rng.integers(1, 4)), cv2.LINE_AA)
        cv2.fillPoly(image, [points[3]], colors[3], cv2.LINE_AA)
    return image


def edited(rng: np.random.Generator, image: Bytes, how: str) -> tuple[Bytes, Mask]:
    """A scene with one place changed, and that place."""
    place = np.zeros(image.shape[:2], np.uint8)
    height, width = image.shape[:2]
    center = (int(rng.integers(width // 4, 3 * width // 4)), int(rng.integers(height // 4, 3 * height // 4)))
    cv2.ellipse(place, center, (width // 7, height // 9), float(rng.integers(180)), 0, 360, 1, -1)
    mask = place > 0
    result = image.astype(np.float32)
    if how == "recolored":
        result[mask] = result[mask][:, [1, 2, 0]] * 0.7 + np.array([54, 0, 12])
    elif how == "covered":
        result[mask] = rng.integers(0, 256, 3)
    else:
        result[mask] = np.roll(image, (97, 61), (0, 1))[mask] * 0.8 + rng.uniform(20, 50, 3)
    result = result.clip(0, 255).astype(np.uint8)
    seen = (mask & (apart(result, image) > JUST_SEEN)).astype(np.uint8)
    return result, np.asarray(cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((5, 5)))) > 0


def redrawn(rng: np.random.Generator, image: Bytes) -> Bytes:
    """What a model makes of a picture: another tint, softer, off by about a pixel, with grain."""
    mix = np.eye(3) * rng.uniform(0.92, 1.04) + rng.normal(0, 0.02, (3, 3))
    pixels = (image.astype(np.float32) / 255) @ mix.T.astype(np.float32) + rng.normal(0, 0.02, 3).astype(np.float32)
    pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.0))
    shift = np.array([[1, 0, rng.uniform(-1.1, 1.1)], [0, 1, rng.uniform(-1.1, 1.1)]], np.float32)
    size = (image.shape[1], image.shape[0])
    moved = cv2.warpAffine(pixels, shift, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    grained = moved + rng.normal(0, rng.uniform(0.5, 4) / 255, moved.shape)
    return np.around(grained.clip(0, 1) * 255).astype(np.uint8)


def apart(one: Bytes, other: Bytes) -> NDArray[np.float32]:
    """ΔE (1976) of each pixel."""
    labs = [cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for image in (one, other)]
    return np.linalg.norm(labs[0] - labs[1], axis=-1)


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max((one | other).sum(), 1))


@pytest.mark.parametrize("how", EDITS)
@pytest.mark.parametrize("seed", range(6))
def test_an_edit_is_told_from_the_drift_around_it(seed: int, how: str) -> None:
    rng = np.random.default_rng([seed, EDITS.index(how)])
    image = scene(rng)
    wanted, place = edited(rng, image, how)
    changes = found_changes(image, redrawn(rng, wanted))
    assert overlap(changes.mask, place) >= 0.9
    result, opacity = laid_over(image, changes.aligned, changes.mask, 2, 4)
    assert np.array_equal(result[opacity == 0], image[opacity == 0])
    assert 0 < (opacity > 0).mean() < 1.8 * place.mean() + 0.03  # the rest is the source
    core = cv2.erode(place.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    grainless = [np.asarray(cv2.GaussianBlur(picture, (0, 0), 2), np.uint8) for picture in (result, wanted)]
    assert float(np.median(apart(grainless[0], grainless[1])[core])) < 2  # ΔE


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_an_edit_of_a_photograph_is_found(name: str) -> None:
    rng = np.random.default_rng(3)
    image = np.ascontiguousarray(getattr(data, name)()[:288, :352])
    wanted, place = edited(rng, image, "recolored")
    assert overlap(found_changes(image, redrawn(rng, wanted)).mask, place) >= 0.9


def test_twenty_edits_leave_the_rest_as_it_was() -> None:
    rng = np.random.default_rng(11)
    image = scene(rng)
    untouched = np.ones(image.shape[:2], bool)
    first = image
    for _ in range(20):
        wanted, _ = edited(rng, image, "covered")
        changes = found_changes(image, redrawn(rng, wanted))
        image, opacity = laid_over(image, changes.aligned, changes.mask, 2, 4)
        untouched &= opacity == 0
    assert untouched.mean() > 0.15
    assert hashlib.sha256(image[untouched].tobytes()).digest() == hashlib.sha256(first[untouched].tobytes()).digest()


def test_drift_alone_is_no_change() -> None:
    rng = np.random.default_rng(5)
    image = scene(rng)
    assert not found_changes(image, redrawn(rng, image)).mask.any()
    assert not found_changes(image, image).mask.any()


def test_a_picture_that_has_nothing_in_common_is_changed_as_a_whole() -> None:
    image, other = scene(np.random.default_rng(1)), scene(np.random.default_rng(2))
    changes = found_changes(image, other)
    assert changes.share > 0.3
    noise = np.random.default_rng(3).integers(0, 256, image.shape, np.uint8)
    assert found_changes(image, noise).mask.all()
    assert np.array_equal(found_changes(image, noise).aligned, noise)


def test_a_fainter_edit_needs_a_higher_sensitivity() -> None:
    rng = np.random.default_rng(8)
    image = (scene(rng) * 0.8 + 20).astype(np.uint8)
    wanted = image.copy()
    wanted[90:150, 80:170] += np.array([12, 0, 0], np.uint8)
    result = redrawn(np.random.default_rng(2), wanted)
    shares = [found_changes(image, result, sensitivity).share for sensitivity in (0.0, 0.5, 1.0)]
    assert shares == sorted(shares)
    assert shares[0] < 0.001
    assert shares[2] > 0.02


def test_growing_and_feathering_count_pixels_around_the_change() -> None:
    image, aligned = np.zeros((41, 41, 3), np.uint8), np.full((41, 41, 3), 200, np.uint8)
    mask = np.zeros((41, 41), bool)
    mask[18:23, 18:23] = True
    row = {
        (grow, feather): (laid_over(image, aligned, mask, grow, feather)[1][20] > 0).sum()
        for grow, feather in ((0, 0), (3, 0), (-1, 0), (0, 4), (2, 3), (-9, 0))
    }
    assert row == {(0, 0): 5, (3, 0): 11, (-1, 0): 3, (0, 4): 13, (2, 3): 15, (-9, 0): 0}
    result, opacity = laid_over(image, aligned, mask, 0, 4)
    assert np.array_equal(result[20, 18:23], aligned[20, 18:23])
    assert np.all(np.diff(opacity[20, :20].astype(int)) >= 0)


@settings(max_examples=25)
@given(
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    values=st.data(),
    sensitivity=st.floats(0, 1),
    grow=st.integers(-64, 64),
    feather=st.integers(0, 64),
)
def test_any_two_pictures_of_a_size_will_do(
    sides: tuple[int, int], values: st.DataObject, sensitivity: float, grow: int, feather: int
) -> None:
    pictures = arrays.arrays(np.uint8, (*sides, 3))
    source, result = values.draw(pictures), values.draw(pictures)
    changes = found_changes(source, result, sensitivity)
    laid, opacity = laid_over(source, changes.aligned, changes.mask, grow, feather)
    assert laid.shape == source.shape
    assert np.array_equal(laid[opacity == 0], source[opacity == 0])
