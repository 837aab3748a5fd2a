"""Checkpoints that declare that their noise levels end in pure noise."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from modules.base.events import Failed, ImageDone, Stop
from modules.clip.bpe import ClipBPE
from modules.networks.device import Placement
from modules.networks.files.listing import HashCache
from modules.networks.files.own_notes import chosen_prediction, save_prediction
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.processing.engine import create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.tiny import write_tiny_checkpoint

REQUEST = Txt2ImgRequest(
    prompt="a cat", width=64, height=64, steps=2, seed=7, subseed=1, sampler_name="Euler", scheduler="SGM Uniform"
)


def pixels(path: Path, cache: Path, **settings: Any) -> bytes:
    engine = create_engine("cpu", "full", str(cache))
    options = Settings(live_previews_enable=False, **settings)
    events = list(engine.run(REQUEST, options, Resources(Checkpoint(path.name, path)), lambda: Stop.NONE))
    (done,) = [event for event in events if isinstance(event, ImageDone)]
    assert not any(isinstance(event, Failed) for event in events)
    return done.pixels


def test_a_tensor_named_ztsnr_acts_as_the_setting_does(tmp_path: Path) -> None:
    plain = write_tiny_checkpoint(tmp_path / "plain.safetensors")
    marked = write_tiny_checkpoint(tmp_path / "marked.safetensors")
    save_file(load_file(marked) | {"ztsnr": torch.tensor(1.0)}, marked)
    rescaled = pixels(plain, tmp_path / "cache", sd_noise_schedule="Zero Terminal SNR")
    assert pixels(marked, tmp_path / "cache") == rescaled
    assert pixels(plain, tmp_path / "cache") != rescaled


def test_so_does_the_key_of_a_diffusers_scheduler(tmp_path: Path) -> None:
    plain = write_tiny_checkpoint(tmp_path / "plain.safetensors")
    place = Placement(torch.device("cpu"), torch.float32, torch.float32, torch.float32)
    model = load_checkpoint(Checkpoint("plain", plain), place, ClipBPE(), HashCache(tmp_path / "h.json"))
    folder = tmp_path / "folder"
    for name, part in (("unet", model.unet), ("vae", model.vae), ("text_encoder", model.text_encoder)):
        part.save_pretrained(folder / name)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (folder / "scheduler").mkdir()
    made: list[bytes] = []
    for is_rescaled in (False, True):
        config = {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": is_rescaled}
        (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
        made.append(pixels(folder, tmp_path / "cache"))
    assert made == [
        pixels(plain, tmp_path / "cache"),
        pixels(plain, tmp_path / "cache", sd_noise_schedule="Zero Terminal SNR"),
    ]


def test_a_prediction_that_is_chosen_counts_from_the_next_job_on(tmp_path: Path) -> None:
    path = write_tiny_checkpoint(tmp_path / "x.safetensors")
    engine, options = create_engine("cpu", "full", str(tmp_path / "cache")), Settings(live_previews_enable=False)
    made: list[bytes] = []
    for choice in ("", "v_prediction", "v_prediction_zero_snr", "epsilon", ""):
        save_prediction(path, choice)
        assert chosen_prediction(path) == choice
        events = engine.run(REQUEST, options, Resources(Checkpoint(path.name, path)), lambda: Stop.NONE)
        made += [event.pixels for event in events if isinstance(event, ImageDone)]
    plain, v, zero, epsilon, again = made
    assert plain == epsilon == again
    assert len({plain, v, zero}) == 3
