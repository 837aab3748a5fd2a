"""Our PNG files, read by two independent readers."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.store import png
from modules.store.png import png_bytes

CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


def picture(mode: str, width: int, height: int, seed: int, smooth: bool) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = (2, 2) if smooth else (height, width)
    values = rng.integers(0, 256, (*small, CHANNELS[mode]), dtype=np.uint8)
    image = Image.fromarray(values.squeeze(-1) if mode == "L" else values, mode)
    return image.resize((width, height), Image.Resampling.BICUBIC) if smooth else image


@given(
    st.sampled_from(list(CHANNELS)), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99), st.booleans(),
    st.sampled_from((1, 100, 1 << 17)),
)  # fmt: skip
def test_pixels_come_back(mode: str, width: int, height: int, seed: int, smooth: bool, block: int) -> None:
    image = picture(mode, width, height, seed, smooth)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "BLOCK", block)  # rows at a time: one, a few, all
        data = png_bytes(image, PngInfo())

    back = Image.open(io.BytesIO(data))
    assert (back.format, back.mode, back.size, back.tobytes()) == ("PNG", mode, image.size, image.tobytes())
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    order = {"L": [0], "RGB": [2, 1, 0], "RGBA": [2, 1, 0, 3]}[mode]
    np.testing.assert_array_equal(theirs.reshape(height, width, -1)[:, :, order].squeeze(), np.asarray(image).squeeze())


def test_texts_stand_in_front_of_the_pixels() -> None:
    texts = PngInfo()
    texts.add_text("parameters", "a cat\nSteps: 1")
    texts.add_itxt("other", "猫")
    back = Image.open(io.BytesIO(png_bytes(picture("RGB", 9, 7, 0, True), texts)))
    assert dict(back.info) == {"parameters": "a cat\nSteps: 1", "other": "猫"}  # read without the pixels


def test_it_is_no_larger_than_pillows_for_what_models_make() -> None:
    image = picture("RGB", 256, 256, 1, True)
    theirs = io.BytesIO()
    image.save(theirs, "PNG", compress_level=png.LEVEL, compress_type=png.STRATEGY)
    assert len(png_bytes(image, PngInfo())) <= len(theirs.getvalue()) * 1.02
