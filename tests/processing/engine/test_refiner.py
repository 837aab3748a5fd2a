"""Checkpoints that take over partway, and one for the second pass of hires fix, on tiny random checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from modules.base.events import EngineState, Event, Failed, ImageDone
from modules.clip.bpe import ClipBPE
from modules.infotext.parse import parse
from modules.infotext.read import to_fields
from modules.networks import model_cache
from modules.networks.device import choose_placement
from modules.networks.files.listing import HashCache
from modules.networks.model_cache import ModelCache
from modules.processing.denoise.guidance import Guided
from modules.processing.denoise.refiner import Refiner
from modules.processing.engine import create_engine
from modules.sampling.discrete import DiscreteNoise
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import GenerationRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from tests.admitted import Folders
from tests.tiny import TINY_YAML, tiny_tensors, write_tiny_checkpoint

SMALL: dict[str, Any] = {
    "prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7, "subseed": 1, "sampler_name": "Euler",
}  # fmt: skip
HIRES: dict[str, Any] = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6}

Run = Callable[..., list[Event | EngineState]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints: tiny, and sharp, all of whose weights are 0.9 times as large."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_checkpoint(folder / "tiny.safetensors")
    weaker = {
        key: (value * np.float16(0.9)).astype(value.dtype) if value.dtype == np.float16 else value
        for key, value in tiny_tensors().items()
    }
    save_file(weaker, folder / "sharp.safetensors", metadata={"format": "pt"})
    (folder / "sharp.yaml").write_text(TINY_YAML, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    cache = tmp_path_factory.mktemp("cache")
    folders, engine = Folders(cache, (folder,)), create_engine("cpu", "full", str(cache))

    def events(request: GenerationRequest, name: str = "tiny", **settings: Any) -> list[Event | EngineState]:
        checkpoint = Checkpoint(f"{name}.safetensors", folder / f"{name}.safetensors")
        options = Settings(live_previews_enable=False, **settings)
        return list(folders.run(engine, request, options, checkpoint))

    return events


def picture(events: list[Event | EngineState]) -> ImageDone:
    (done,) = [event for event in events if isinstance(event, ImageDone)]
    return done


def test_a_refiner_that_takes_over_at_once_makes_its_own_picture(run: Run) -> None:
    refined = picture(run(Txt2ImgRequest(refiner_checkpoint="sharp", **SMALL)))
    assert refined.pixels == picture(run(Txt2ImgRequest(**SMALL), "sharp")).pixels
    assert parse(refined.infotext).pairs["Refiner"].startswith("sharp [")


def test_a_refiner_that_never_takes_over_is_not_told(run: Run) -> None:
    refined = picture(run(Txt2ImgRequest(refiner_checkpoint="sharp", refiner_switch_at=1.0, **SMALL)))
    assert refined.pixels == picture(run(Txt2ImgRequest(**SMALL))).pixels
    assert not {"Refiner", "Refiner switch at"} & set(parse(refined.infotext).pairs)


@pytest.mark.parametrize("sampler", ["Euler", "Heun", "DDIM", "LCM"])
def test_a_refiner_takes_over_on_the_way_and_the_text_says_so(run: Run, folder: Path, sampler: str) -> None:
    request = Txt2ImgRequest(refiner_checkpoint="Sharp", refiner_switch_at=0.5, **{**SMALL, "sampler_name": sampler})
    refined = picture(run(request))
    alone = [picture(run(Txt2ImgRequest(**{**SMALL, "sampler_name": sampler}), name)) for name in ("tiny", "sharp")]
    assert refined.pixels != alone[0].pixels
    # A1111 compares with LCM's 50 levels as if they were 1000: the refiner takes over immediately.
    assert (refined.pixels == alone[1].pixels) == (sampler == "LCM")
    pairs = parse(refined.infotext).pairs
    assert (pairs["Model"], pairs["Refiner switch at"]) == ("tiny", "0.5")
    catalog = Catalog(tuple(Checkpoint(f"{n}.safetensors", folder / f"{n}.safetensors") for n in ("tiny", "sharp")))
    fields = to_fields(parse(refined.infotext), catalog=catalog).fields
    assert picture(run(Txt2ImgRequest(**{**fields, "subseed": 1}))).pixels == refined.pixels


SHARES = [  # (at, by steps, share of calls, sigma, levels are timesteps, takes over)
    (None, False, 0.0, 14.6, False, True),
    (0.8, True, 0.79, 0.03, False, False),
    (0.8, True, 0.8, 14.6, False, True),
    (0.5, False, 0.99, DiscreteNoise.scaled_linear().sigmas[500], False, False),
    (0.5, False, 0.0, DiscreteNoise.scaled_linear().sigmas[499], False, True),
    (0.5, False, 0.0, DiscreteNoise.scaled_linear().sigmas[499], True, True),
    (0.5, False, 0.0, DiscreteNoise.scaled_linear().sigmas[500], True, False),
    (0.999, False, 0.0, DiscreteNoise.scaled_linear().sigmas[0], False, True),
    (1.0, False, 0.0, DiscreteNoise.scaled_linear().sigmas[0], False, False),
]


@pytest.mark.parametrize(("at", "by_steps", "share", "sigma", "timesteps", "due"), SHARES)
def test_when_a_refiner_takes_over(
    at: float | None, by_steps: bool, share: float, sigma: Any, timesteps: bool, due: bool
) -> None:
    def take(calls: int) -> Guided:
        raise AssertionError("only asked")

    refiner = Refiner(at, by_steps, take)
    assert refiner.is_due(share, DiscreteNoise.scaled_linear(), torch.tensor([float(sigma)]), timesteps) == due


def test_by_sampling_steps_is_told(run: Run) -> None:
    request = Txt2ImgRequest(refiner_checkpoint="sharp", refiner_switch_at=0.5, **SMALL)
    by_steps = picture(run(request, refiner_switch_by_sample_steps=True))
    assert parse(by_steps.infotext).pairs["Refiner switch by sampling steps"] == "True"
    assert by_steps.pixels != picture(run(Txt2ImgRequest(**SMALL))).pixels


def test_the_setting_says_in_which_pass_of_hires_fix_a_refiner_takes_over(run: Run) -> None:
    def made(which: str) -> ImageDone:
        request = Txt2ImgRequest(refiner_checkpoint="sharp", refiner_switch_at=0.3, **SMALL, **HIRES)
        return picture(run(request, hires_fix_refiner_pass=which))

    passes = ("first pass", "second pass", "both passes")
    pictures = [made(which) for which in passes]
    assert len({done.pixels for done in pictures}) == 3
    told = [parse(done.infotext).pairs.get("Hires refiner") for done in pictures]
    assert told == ["first pass", None, "both passes"]


def test_the_second_pass_may_have_a_checkpoint_of_its_own(run: Run) -> None:
    base = {**SMALL, **HIRES, "hr_upscaler": "Lanczos"}
    one, other = (picture(run(Txt2ImgRequest(hr_checkpoint_name=name, **base))) for name in ("", "sharp"))
    assert one.pixels != other.pixels
    assert "Hires checkpoint" not in parse(one.infotext).pairs
    text = parse(other.infotext)
    assert text.pairs["Hires checkpoint"].startswith("sharp [")
    again = run(Txt2ImgRequest(**{**to_fields(text).fields, "subseed": 1}))
    assert picture(again).pixels == other.pixels


@pytest.mark.parametrize(
    ("field", "more"), [("refiner_checkpoint", {}), ("hr_checkpoint_name", {"enable_hr": True})]
)  # fmt: skip
def test_an_unknown_checkpoint_is_refused_with_the_nearest_name(run: Run, field: str, more: dict[str, Any]) -> None:
    events = run(Txt2ImgRequest(**{field: "sharpp"}, **more, **SMALL))
    assert events == [Failed(f"{field}: no checkpoint named 'sharpp'; did you mean 'sharp.safetensors'?", field=field)]


def test_the_old_way_of_hires_fix_takes_width_and_height_for_the_result(run: Run) -> None:
    request = Txt2ImgRequest(**{**SMALL, **HIRES, "width": 128, "height": 64, "steps": 1})
    done = picture(run(request, use_old_hires_fix_width_height=True))
    pairs = parse(done.infotext).pairs
    assert (done.width, done.height) == (128, 64)
    assert {key: pairs[key] for key in ("Size-1", "Size-2", "Hires resize-1", "Hires resize-2")} == {
        "Size-1": "768", "Size-2": "384", "Hires resize-1": "128", "Hires resize-2": "64",
    }  # fmt: skip
    # The infotext's sizes are those after it, so it must not act on them again.
    again = to_fields(parse(done.infotext), settings=Settings(use_old_hires_fix_width_height=True))
    assert again.settings == {"use_old_hires_fix_width_height": False}


def test_a_model_cache_lets_go_of_what_was_used_longest_ago(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ModelCache(choose_placement(use_cpu=True, precision="full"), ClipBPE(), HashCache(tmp_path / "hashes.json"))
    tiny, sharp = (Checkpoint(name, folder / f"{name}.safetensors") for name in ("tiny", "sharp"))
    first = cache.take(tiny)
    cache.take(sharp)
    assert cache.take(tiny) is first
    monkeypatch.setattr(model_cache, "available_bytes", lambda device: 0)
    copy = folder.parent / "copy.safetensors"
    copy.write_bytes(tiny.path.read_bytes())
    copy.with_suffix(".yaml").write_text(TINY_YAML, encoding="utf-8")
    cache.take(Checkpoint("copy", copy))
    assert (len(cache), tiny in cache, sharp in cache) == (1, False, False)
