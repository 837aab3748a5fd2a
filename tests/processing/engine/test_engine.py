"""The engine on a tiny random checkpoint: its promises about events, repeatability, batches, stops and bad input."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.base.events import (
    EngineState,
    Event,
    Failed,
    Finished,
    ImageDone,
    Previewed,
    Started,
    Stepped,
    Stop,
    Warned,
)
from modules.base.picture import Picture
from modules.infotext.parse import parse
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.tiny import write_tiny_checkpoint

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 4, "seed": 7, "subseed": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny.safetensors")
    return Checkpoint(path.stem, path)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return create_engine("cpu", "full", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def run(engine: Engine, checkpoint: Checkpoint) -> Callable[..., list[Event | EngineState]]:
    def events(request: GenerationRequest, settings: Settings | None = None, stop: Iterator[Stop] | None = None) -> Any:
        requested = (lambda: next(stop)) if stop else (lambda: Stop.NONE)
        return list(engine.run(request, settings or Settings(), Resources(checkpoint), requested))

    return events


Run = Callable[..., list[Event | EngineState]]


def source(width: int = 80, height: int = 64, mode: str = "RGB") -> Picture:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 255, (height, width, len(mode)), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "PNG")
    return Picture.from_bytes(buffer.getvalue())


def pictures(events: list[Event | EngineState]) -> list[bytes]:
    return [event.pixels for event in events if isinstance(event, ImageDone)]


def largest_difference(one: bytes, other: bytes) -> int:
    return int(np.abs(np.frombuffer(one, np.uint8).astype(int) - np.frombuffer(other, np.uint8)).max())


def test_a_job_tells_its_steps_and_ends_with_a_picture(run: Run) -> None:
    events = run(Txt2ImgRequest(prompt="a cat", **SMALL))
    assert [e for e in events if isinstance(e, Started)] == [Started(1, 1, 4, 64, 64, 7)]
    assert [e for e in events if isinstance(e, Stepped)] == [Stepped(0, i, 4) for i in (1, 2, 3, 4)]
    (image,) = [e for e in events if isinstance(e, ImageDone)]
    assert (image.index, image.seed, image.width, image.height, len(image.pixels)) == (0, 7, 64, 64, 3 * 64 * 64)
    assert isinstance(events[-1], Finished)
    assert {"text_encoder", "unet", "vae_decode"} <= set(events[-1].timings) | {"text_encoder"}


def test_img2img_stepss_the_share_its_strength_says(run: Run) -> None:
    request = Img2ImgRequest(init_images=(source(),), denoising_strength=0.5, **{**SMALL, "steps": 10})
    steps = [e for e in run(request) if isinstance(e, Stepped)]
    assert steps[-1] == Stepped(0, 6, 6)


@pytest.mark.parametrize("strength", [0.0005, 1e-12])
@pytest.mark.parametrize(("sampler", "schedule"), [("Euler", "Beta"), ("DPM++ 2M", "Simple"), ("DPM++ 2M SDE", "DDIM")])
def test_hires_fix_of_hardly_any_strength_takes_its_steps(
    run: Run, sampler: str, schedule: str, strength: float
) -> None:
    request = Txt2ImgRequest(
        enable_hr=True, hr_scale=1.5, denoising_strength=strength, sampler_name=sampler, scheduler=schedule, **SMALL
    )
    events = run(request)
    assert len(pictures(events)) == 1
    assert [e for e in events if isinstance(e, Failed)] == []


@pytest.mark.parametrize(
    "sampler", ["Euler", "Euler a", "Heun", "LMS", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DDIM", "LCM"]
)
def test_the_same_request_gives_the_same_bytes(run: Run, sampler: str) -> None:
    request = Img2ImgRequest(
        prompt="a cat", init_images=(source(),), denoising_strength=0.8, sampler_name=sampler, **SMALL
    )
    first, second = pictures(run(request)), pictures(run(request))
    assert len(first) == 1
    assert first == second


def test_the_same_request_gives_the_same_bytes_in_a_fresh_engine(
    run: Run, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    request = Img2ImgRequest(prompt="a cat", init_images=(source(),), **SMALL)
    fresh = create_engine("cpu", "full", str(tmp_path))
    again = list(fresh.run(request, Settings(), Resources(checkpoint), lambda: Stop.NONE))
    assert pictures(again) == pictures(run(request))


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ SDE", "DDIM"])
def test_a_batch_equals_its_singles(run: Run, sampler: str) -> None:
    base = {**SMALL, "sampler_name": sampler, "init_images": (source(),), "prompt": "a cat"}
    together = pictures(run(Img2ImgRequest(**{**base, "batch_size": 2, "n_iter": 2})))
    alone = [pictures(run(Img2ImgRequest(**{**base, "seed": 7 + i})))[0] for i in range(4)]
    # Kernels sum in another order at another batch size; A1111 itself varies by 2 of 255.
    assert [largest_difference(a, b) <= 2 for a, b in zip(together, alone, strict=True)] == [True] * 4


def test_prompt_source_and_seed_all_matter(run: Run) -> None:
    base = {**SMALL, "init_images": (source(),), "prompt": "a cat", "denoising_strength": 0.9}
    changes: list[dict[str, Any]] = [
        {}, {"prompt": "a dog"}, {"seed": 8}, {"init_images": (source(64, 96),)}, {"negative_prompt": "blurry"},
        {"cfg_scale": 3.0}, {"resize_mode": 1},
    ]  # fmt: skip
    made = [pictures(run(Img2ImgRequest(**{**base, **change})))[0] for change in changes]
    assert len(set(made)) == len(changes)


def test_the_infotext_holds_what_was_asked(run: Run) -> None:
    picture = source()
    request = Img2ImgRequest(
        prompt="a cat, sitting", negative_prompt="dog", init_images=(picture,), resize_mode=1, **SMALL
    )
    (image,) = [e for e in run(request) if isinstance(e, ImageDone)]
    text = parse(image.infotext)
    assert (text.prompt, text.negative_prompt) == ("a cat, sitting", "dog")
    expected = {
        "Steps": "4", "Sampler": "DPM++ 2M", "Schedule type": "Karras", "CFG scale": "7.0", "Seed": "7", "Size-1": "64",
        "Size-2": "64", "Model": "tiny", "Denoising strength": "0.75", "Resize mode": "Crop and resize",
        "Source hash": picture.sha256,
    }  # fmt: skip
    assert {key: text.pairs.get(key) for key in expected} == expected


def test_interrupt_ends_the_job_and_keeps_finished_pictures(run: Run) -> None:
    requested = iter([Stop.NONE] * 5 + [Stop.INTERRUPT])
    events = run(Txt2ImgRequest(n_iter=3, **SMALL), stop=requested)
    assert len(pictures(events)) == 1
    assert isinstance(events[-1], Finished)
    assert events[-1].interrupted


def test_skip_ends_the_batch_and_goes_on(run: Run) -> None:
    requested = iter([Stop.NONE, Stop.SKIP] + [Stop.NONE] * 8)
    events = run(Txt2ImgRequest(n_iter=3, **SMALL), stop=requested)
    assert [e.index for e in events if isinstance(e, ImageDone)] == [1, 2]
    assert isinstance(events[-1], Finished)
    assert not events[-1].interrupted


def test_previews_are_small_pictures_of_the_latent(run: Run) -> None:
    shown = [
        e for e in run(Txt2ImgRequest(**SMALL), Settings(show_progress_every_n_steps=2)) if isinstance(e, Previewed)
    ]
    assert [(p.width, p.height) for p in shown] == [(8, 8), (8, 8)]
    assert Image.open(io.BytesIO(shown[0].data)).size == (8, 8)
    assert not [
        e for e in run(Txt2ImgRequest(**SMALL), Settings(live_previews_enable=False)) if isinstance(e, Previewed)
    ]


def test_a_transparent_source_stands_on_the_background(run: Run) -> None:
    request = Img2ImgRequest(init_images=(source(mode="RGBA"),), denoising_strength=0.3, **SMALL)
    white, black = (pictures(run(request, Settings(img2img_background_color=c))) for c in ("#ffffff", "#000000"))
    assert white != black


def test_exact_steps_at_strength_zero_give_the_source_back(run: Run) -> None:
    request = Img2ImgRequest(init_images=(source(64, 64),), denoising_strength=0.0, **SMALL)
    events = run(request, Settings(img2img_fix_steps=True))
    assert [e for e in events if isinstance(e, Stepped)] == []
    assert len(pictures(events)) == 1


def test_sizes_that_are_no_multiple_of_eight_are_cut(run: Run) -> None:
    (image,) = [e for e in run(Txt2ImgRequest(**{**SMALL, "width": 100, "height": 70})) if isinstance(e, ImageDone)]
    assert (image.width, image.height) == (96, 64)
    assert "Size: 100x70" in image.infotext


def test_latent_upscale_resizes_after_encoding(run: Run) -> None:
    request = Img2ImgRequest(init_images=(source(72, 40),), resize_mode=3, **SMALL)
    (image,) = [e for e in run(request) if isinstance(e, ImageDone)]
    assert (image.width, image.height) == (64, 64)


def test_a_bad_override_fails_in_one_sentence(run: Run) -> None:
    events = run(Txt2ImgRequest(override_settings={"emphasis": "loud"}, **SMALL))
    assert isinstance(events[-1], Failed)
    assert "emphasis" in events[-1].message


def test_a_damaged_checkpoint_fails_and_the_next_job_runs(engine: Engine, run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x00" * 100)
    events = list(
        engine.run(Txt2ImgRequest(**SMALL), Settings(), Resources(Checkpoint("broken", broken)), lambda: Stop.NONE)
    )
    assert isinstance(events[-1], Failed)
    assert "broken.safetensors" in events[-1].message
    assert len(pictures(run(Txt2ImgRequest(**SMALL)))) == 1


def test_notes_about_the_source_are_told(run: Run) -> None:
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    request = Img2ImgRequest(init_images=(Picture.from_bytes(buffer.getvalue()),), **SMALL)
    assert [e.message for e in run(request) if isinstance(e, Warned)] == [
        "The picture is animated; its first frame is used."
    ]


def test_a_tag_of_another_kind_is_told_and_is_no_word_of_the_prompt(run: Run) -> None:
    tagged = run(Txt2ImgRequest(prompt="a cat <hypernet:fox:0.8>", **SMALL))
    assert [e.message for e in tagged if isinstance(e, Warned)] == [
        "<hypernet:fox> has no effect: there is no hypernetwork of this name. The tag was removed."
    ]
    assert pictures(tagged) == pictures(run(Txt2ImgRequest(prompt="a cat ", **SMALL)))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"prompt": "a cat # <hypernet:fox:1>"}, 0),
        ({"prompt": "a cat # <lora:fox:1>\non a roof"}, 0),
        ({"hr_prompt": "<hypernet:fox:1>", "hr_checkpoint_name": "nowhere", "hr_sampler_name": "Eular"}, 0),
        ({"hr_prompt": "<lora:fox:1>"}, 0),
        ({"hr_prompt": "a cat <hypernet:fox:1>", "enable_hr": True, "hr_scale": 1.5}, 1),
        ({"hr_prompt": "a cat # <hypernet:fox:1>", "enable_hr": True, "hr_scale": 1.5}, 0),
    ],
)
def test_what_is_not_read_is_not_complained_about(run: Run, fields: dict[str, Any], told: int) -> None:
    events = run(Txt2ImgRequest.parse({**SMALL, **fields}))
    assert len([event for event in events if isinstance(event, Warned)]) == told
    assert len(pictures(events)) == 1


def test_a_lora_that_is_not_there_fails_the_job(run: Run) -> None:
    failed = run(Txt2ImgRequest(prompt="a cat <lora:fox:0.8>", **SMALL))[-1]
    assert isinstance(failed, Failed)
    assert (failed.message, failed.field) == ("prompt: there is no LoRA 'fox'; no LoRAs are installed.", "prompt")
