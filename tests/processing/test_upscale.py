"""Extras: A1111's sizes and keys, the order of its steps, and the texts in the file."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.processing.kinds.extras import done
from modules.processing.upscale import processed, target_of
from modules.schema.request.extras import ExtrasRequest
from modules.schema.upscalers import UPSCALERS, Upscaler, named

INFOTEXT = "a cat\nSteps: 20, Sampler: Euler, Seed: 1, Size: 8x8"


def row(name: str) -> Upscaler:
    return named(name, UPSCALERS, "upscaler_1")


def made(image: Image.Image, **values: Any) -> tuple[Image.Image, dict[str, object]]:
    request = ExtrasRequest(**values)
    return processed(request, image, row(request.upscaler_1), row(request.upscaler_2), lambda: None)


@pytest.mark.parametrize(
    ("values", "size", "keys"),
    [
        ({"upscaling_resize": 3}, (96, 72), {"Postprocess upscale by": 3.0}),
        (
            {"upscaling_resize": 4, "max_side_length": 64},
            (64, 48),
            {"Postprocess upscale by": 4.0, "Max side length": 64},
        ),
        ({"upscaling_resize": 1.5, "max_side_length": 64}, (48, 32), {"Postprocess upscale by": 1.5}),
        (
            {"resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 64},
            (64, 64),
            {"Postprocess upscale to": "64x64", "Postprocess crop to": "64x64"},
        ),
        (
            {"resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 64, "upscaling_crop": False},
            (80, 64),
            {"Postprocess upscale to": "64x64"},
        ),
    ],
)
def test_sizes_and_keys_are_a1111s(values: dict[str, Any], size: tuple[int, int], keys: dict[str, object]) -> None:
    image, pairs = made(Image.new("RGB", (32, 24), "red"), upscaler_1="Nearest", **values)
    assert image.size == size
    assert pairs == {**keys, "Postprocess upscaler": "Nearest"}


def test_none_leaves_the_size_and_the_filters_work() -> None:
    image, pairs = made(Image.linear_gradient("L").resize((32, 24)), upscaler_1="None", denoise=0.5, sharpen=1)
    assert image.size == (32, 24)
    assert list(pairs) == ["Postprocess denoise", "Postprocess sharpen"]


def test_the_second_upscaler_is_blended_over_the_first() -> None:
    source = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
    blended, pairs = made(
        source, upscaler_1="Nearest", upscaler_2="Lanczos", extras_upscaler_2_visibility=0.25, upscaling_resize=2
    )
    first, second = (made(source, upscaler_1=name, upscaling_resize=2)[0] for name in ("Nearest", "Lanczos"))
    assert np.array_equal(np.asarray(blended), np.asarray(Image.blend(first, second, 0.25)))
    assert pairs["Postprocess upscaler 2"] == "Lanczos"


def test_denoise_comes_first_then_the_upscaler_then_colors_then_sharpen() -> None:
    _, pairs = made(
        Image.new("RGB", (16, 16), "teal"), upscaler_1="Lanczos", denoise=0.1, sharpen=0.5, color_fix="Wavelet"
    )
    assert list(pairs) == [
        "Postprocess denoise", "Postprocess upscale by", "Postprocess upscaler", "Postprocess color fix",
        "Postprocess sharpen",
    ]  # fmt: skip


def test_a_limit_holds_for_either_side() -> None:
    request = ExtrasRequest(upscaling_resize=8, max_side_length=256)
    assert target_of(request, Size(100, 50)).scale == 2.56
    assert target_of(request, Size(50, 100)).scale == 2.56
    assert target_of(request, Size(20, 10)).scale == 8


def test_a_png_keeps_its_texts_beside_what_was_done() -> None:
    info = PngInfo()
    info.add_text("parameters", INFOTEXT)
    info.add_text("Title", "kept")
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "png", pnginfo=info)
    source = Picture.from_bytes(file.getvalue(), "image")
    result = done(
        source, Image.new("RGB", (16, 16)), {"Postprocess upscale by": 2.0, "Postprocess upscaler": "Lanczos"}
    )
    text = "Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"
    assert result.texts == {
        "Title": "kept",
        "parameters": INFOTEXT,
        "postprocessing": text,
        "extras": f"{text}, Source hash: {source.sha256}",
    }
    assert result.infotext == f"{INFOTEXT}, {text}, Source hash: {source.sha256}"
