"""What is beyond a picture's edges before the model paints there."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from modules.images.geometry import Margins, Size
from modules.images.outward import BLUR, NOISE, STRETCHED, continued, distance


def picture(width: int, height: int) -> Image.Image:
    """A ramp from left to right with fine noise, redder below."""
    rng = np.random.default_rng(1)
    pixels = np.stack(
        [
            np.linspace(90, 160, height)[:, None] + np.zeros((1, width)),
            np.linspace(40, 200, width)[None, :] + np.zeros((height, 1)),
            np.full((height, width), 80.0),
        ],
        axis=-1,
    )
    return Image.fromarray((pixels + rng.normal(0, 6, (height, width, 1))).clip(0, 255).astype(np.uint8), "RGB")


@pytest.mark.parametrize("fill", [STRETCHED, BLUR, NOISE])
@pytest.mark.parametrize("margins", [Margins(8, 0, 0, 0), Margins(0, 3, 5, 0), Margins(40, 24, 17, 64)])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (33, 71)])
def test_the_old_pixels_keep_every_byte(fill: int, margins: Margins, width: int, height: int) -> None:
    old = picture(width, height)
    new = continued(old, margins, fill)
    assert new.size == margins.around(Size(width, height))
    assert new.mode == "RGB"
    box = (margins.left, margins.top, margins.left + width, margins.top + height)
    assert new.crop(box).tobytes() == old.tobytes()
    assert continued(old, margins, fill).tobytes() == new.tobytes()


def test_edges_are_stretched_by_their_last_pixel() -> None:
    old = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "RGB")
    new = np.asarray(continued(old, Margins(1, 0, 2, 1), STRETCHED))
    first, second = [[0, 1, 2]] * 2, [[3, 4, 5]] * 3
    third, fourth = [[6, 7, 8]] * 2, [[9, 10, 11]] * 3
    assert new.tolist() == [[*first, *second], [*third, *fourth], [*third, *fourth]]


def test_blurred_edges_lose_their_lines_with_the_distance() -> None:
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[::2] = 200
    new = np.asarray(continued(Image.fromarray(lines, "RGB"), Margins(0, 0, 64, 0), BLUR)).astype(float)
    contrast = [float(np.abs(np.diff(new[:, 64 + x, 0])).mean()) for x in (0, 4, 63)]
    assert contrast[0] > 100 > contrast[1] >= contrast[2]
    assert contrast[2] < 3


def test_shaped_noise_has_the_pictures_colors_and_contrast() -> None:
    old = picture(192, 192)
    new = np.asarray(continued(old, Margins(0, 0, 384, 0), NOISE)).astype(float)
    far = new[:, 192 + 192 :].reshape(-1, 3)  # beyond the reach of the edge
    old_pixels = np.asarray(old).astype(float).reshape(-1, 3)
    assert np.abs(far.mean(0) - old_pixels.mean(0)).max() < 25
    assert (far.std(0) > 0.3 * old_pixels.std(0)).all()
    assert (far.std(0) < 2 * old_pixels.std(0)).all()
    near = new[:, 192:194].mean(0) - np.asarray(old).astype(float)[:, -2:].mean(0)
    assert np.abs(near).max() < 8  # it starts with the edge's own colors


def test_shaped_noise_is_as_coarse_as_the_picture() -> None:
    rng = np.random.default_rng(4)

    def likeness(gray: NDArray[np.float64], lag: int) -> float:
        """The correlation of pixels with the pixels `lag` to the right."""
        return float(np.corrcoef(gray[:, lag:].ravel(), gray[:, :-lag].ravel())[0, 1])

    for sigma in (1.0, 4.0):
        grains = cv2.GaussianBlur(rng.normal(0, 40 * sigma, (192, 192, 3)), (0, 0), sigma) + 128
        new = np.asarray(continued(Image.fromarray(grains.clip(0, 255).astype(np.uint8)), Margins(0, 0, 384, 0), NOISE))
        for lag in (1, 3, 6):
            assert abs(likeness(new[:, 384:, 0].astype(float), lag) - likeness(grains[..., 0], lag)) < 0.2


def test_distances_count_from_the_old_edge() -> None:
    expected = [[5**0.5, 2**0.5, 1, 1, 2**0.5], [2, 1, 0, 0, 1]]
    np.testing.assert_allclose(distance((2, 1), Margins(2, 1, 1, 0)), expected, rtol=1e-6)
