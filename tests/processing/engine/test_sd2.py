"""Stable Diffusion 2 through the real engine, with and without a mask."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.base.events import Failed, ImageDone
from modules.base.picture import Picture
from modules.infotext.parse import parse
from modules.processing.engine import create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from tests.admitted import Folders
from tests.tiny_line import save_single, tiny_sd2

SMALL: dict[str, Any] = {
    "prompt": "a (cat:1.2)", "width": 64, "height": 64, "steps": 2, "seed": 7, "subseed": 1, "sampler_name": "Euler",
}  # fmt: skip


def png(pixels: np.ndarray) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Picture.from_bytes(buffer.getvalue())


@pytest.mark.parametrize("channels", [4, 9])
def test_it_draws_redraws_and_keeps_what_lies_outside_a_mask(channels: int, tmp_path: Path) -> None:
    checkpoint = Checkpoint("two.safetensors", save_single(tiny_sd2(channels), tmp_path / "two.safetensors"))
    cache = tmp_path / "cache"
    folders, engine = Folders(cache, (tmp_path,)), create_engine("cpu", "full", str(cache))

    def picture(request: GenerationRequest) -> ImageDone:
        events = list(folders.run(engine, request, Settings(live_previews_enable=False), checkpoint))
        assert not [event for event in events if isinstance(event, Failed)], events[-1]
        (done,) = [event for event in events if isinstance(event, ImageDone)]
        return done

    drawn = picture(Txt2ImgRequest(**SMALL))
    assert picture(Txt2ImgRequest(**SMALL)).pixels == drawn.pixels
    assert parse(drawn.infotext).pairs["Model"] == "two"
    before = np.random.default_rng(3).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    redrawn = picture(Img2ImgRequest(init_images=(png(before),), denoising_strength=0.8, **SMALL))
    assert redrawn.pixels != drawn.pixels
    masked = picture(
        Img2ImgRequest(
            init_images=(png(before),),
            mask=png(mask),
            denoising_strength=0.8,
            mask_blur=0,
            inpaint_full_res=False,
            **SMALL,
        )
    )
    after = np.frombuffer(masked.pixels, np.uint8).reshape(64, 64, 3)
    assert np.array_equal(after[:, :28], before[:, :28])
    assert not np.array_equal(after[:, 36:], before[:, 36:])
