"""Stable Diffusion XL through the real engine: txt2img and img2img, masks, two passes, the refiner, and its
settings.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from modules.base.events import EngineState, Event, Failed, Finished, ImageDone, Stop, Warned
from modules.base.picture import Picture
from modules.infotext.parse import parse
from modules.processing.engine import create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from tests.admitted import Folders
from tests.tiny import write_tiny_checkpoint
from tests.tiny_line import save_single, tiny_refiner, tiny_xl

SMALL: dict[str, Any] = {
    "prompt": "a cat", "width": 64, "height": 64, "steps": 3, "seed": 7, "subseed": 1, "sampler_name": "Euler",
}  # fmt: skip
Run = Callable[..., list[Event | EngineState]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_single(tiny_xl(), folder / "xl.safetensors")
    save_single(tiny_xl(in_channels=9), folder / "paint.safetensors")
    save_single(tiny_refiner(), folder / "refiner.safetensors")
    (folder / "loras").mkdir()
    return folder


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    cache = tmp_path_factory.mktemp("cache")
    folders, engine = Folders(cache, (folder,), (folder / "loras",)), create_engine("cpu", "full", str(cache))

    def events(
        request: GenerationRequest, name: str = "xl", stops: Iterator[Stop] | None = None, **settings: Any
    ) -> list[Event | EngineState]:
        checkpoint = Checkpoint(f"{name}.safetensors", folder / f"{name}.safetensors")
        requested = (lambda: next(stops)) if stops else (lambda: Stop.NONE)
        options = Settings(live_previews_enable=False, **settings)
        return list(folders.run(engine, request, options, checkpoint, requested))

    return events


def small(**changes: Any) -> dict[str, Any]:
    return {**SMALL, **changes}


def picture(events: list[Event | EngineState]) -> ImageDone:
    assert not [event for event in events if isinstance(event, Failed)], events[-1]
    (done,) = [event for event in events if isinstance(event, ImageDone)]
    return done


def png(pixels: np.ndarray) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Picture.from_bytes(buffer.getvalue())


@pytest.fixture(scope="module")
def source() -> Picture:
    return png(np.random.default_rng(3).integers(0, 255, (64, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def mask() -> Picture:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    return png(mask)


@pytest.mark.slow
def test_a_prompt_becomes_a_picture_that_repeats(run: Run) -> None:
    first = picture(run(Txt2ImgRequest(**SMALL)))
    assert (first.width, first.height) == (64, 64)
    assert picture(run(Txt2ImgRequest(**SMALL))).pixels == first.pixels
    for change in ({"prompt": "a dog"}, {"negative_prompt": "a dog"}, {"width": 128}):
        assert picture(run(Txt2ImgRequest(**small(**change)))).pixels != first.pixels


def test_a_batch_is_its_singles(run: Run) -> None:
    pictures = [event for event in run(Txt2ImgRequest(**small(batch_size=2))) if isinstance(event, ImageDone)]
    for seed, done in zip((7, 8), pictures, strict=True):
        alone = picture(run(Txt2ImgRequest(**small(seed=seed)))).pixels
        difference = np.frombuffer(done.pixels, np.uint8).astype(int) - np.frombuffer(alone, np.uint8)
        assert abs(difference).max() <= 1


@pytest.mark.parametrize("name", ["xl", "paint"])
def test_masks_keep_what_lies_outside(name: str, run: Run, source: Picture, mask: Picture) -> None:
    request = Img2ImgRequest(
        init_images=(source,), mask=mask, denoising_strength=0.7, mask_blur=0, inpaint_full_res=False, **SMALL
    )
    done = picture(run(request, name))
    before = np.asarray(Image.open(io.BytesIO(source.data)))
    after = np.frombuffer(done.pixels, np.uint8).reshape(64, 64, 3)
    assert np.array_equal(after[:, :28], before[:, :28])
    assert not np.array_equal(after[:, 36:], before[:, 36:])


def test_two_passes_with_another_size(run: Run) -> None:
    hires = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6}
    done = picture(run(Txt2ImgRequest(**small(**hires))))
    assert (done.width, done.height) == (96, 96)


def test_the_refiner_takes_over(run: Run) -> None:
    plain = picture(run(Txt2ImgRequest(**SMALL)))
    events = run(Txt2ImgRequest(**SMALL, refiner_checkpoint="refiner", refiner_switch_at=0.4))
    refined = picture(events)
    assert refined.pixels != plain.pixels
    assert parse(refined.infotext).pairs["Refiner"].startswith("refiner [")
    again = Txt2ImgRequest(**SMALL, refiner_checkpoint="refiner", refiner_switch_at=0.4)
    score = picture(run(again, sdxl_refiner_high_aesthetic_score=1.0))
    assert score.pixels != refined.pixels
    assert parse(score.infotext).pairs["XL high aesthetic score"] == "1.0"


def test_loras_change_the_base_model_and_leave_the_refiner(run: Run, folder: Path) -> None:
    layer = "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q"
    generator = torch.Generator().manual_seed(5)
    up, down = torch.randn(32, 2, generator=generator), torch.randn(2, 32, generator=generator)
    factors = {f"{layer}.lora_up.weight": up, f"{layer}.lora_down.weight": down, f"{layer}.alpha": torch.tensor(2.0)}
    save_file(factors, folder / "loras" / "style.safetensors")
    plain = picture(run(Txt2ImgRequest(**SMALL)))
    styled = run(Txt2ImgRequest(**small(prompt="a cat <lora:style:1>"), refiner_checkpoint="refiner"))
    assert picture(styled).pixels != plain.pixels
    alone = run(Txt2ImgRequest(**small(prompt="a cat <lora:style:1>")), "refiner")
    assert picture(alone).pixels == picture(run(Txt2ImgRequest(**SMALL), "refiner")).pixels
    notes = [event.message for event in alone if isinstance(event, Warned)]
    assert notes == ["The LoRAs 'style' have no effect with the checkpoint refiner: refiners take none."]


def test_crops_that_it_is_told_change_the_picture_and_are_written_down(run: Run) -> None:
    plain, cropped = picture(run(Txt2ImgRequest(**SMALL))), picture(run(Txt2ImgRequest(**SMALL), sdxl_crop_top=500))
    assert cropped.pixels != plain.pixels
    assert parse(cropped.infotext).pairs["XL crop top"] == "500"
    assert "XL crop top" not in parse(plain.infotext).pairs


def test_the_schedule_that_was_found_for_it_is_used(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Txt2ImgRequest(**SMALL, scheduler="Align Your Steps")
    before = picture(run(request)).pixels
    monkeypatch.setattr("modules.sampling.schedules.AYS_SD1", (1.0,) * 11)
    assert picture(run(request)).pixels == before
    monkeypatch.setattr("modules.sampling.schedules.AYS_SDXL", tuple(range(11, 0, -1)))
    assert picture(run(request)).pixels != before


def test_an_interrupt_ends_it(run: Run) -> None:
    stops = iter([Stop.NONE] * 2 + [Stop.INTERRUPT] * 50)
    *_, last = run(Txt2ImgRequest(**SMALL), stops=stops)
    assert isinstance(last, Finished)
    assert last.interrupted


def test_a_checkpoint_of_another_family_cannot_go_on(run: Run, folder: Path) -> None:
    write_tiny_checkpoint(folder / "one.safetensors")
    events = run(Txt2ImgRequest(**SMALL, refiner_checkpoint="one", refiner_switch_at=0.0))
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert "one is a Stable Diffusion 1 checkpoint, xl a Stable Diffusion XL one" in failed.message
