"""Jobs in every memory mode: the same bytes, including with LoRAs, and the reported mode."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from modules.base.events import EngineState, Failed, ImageDone, Staged
from modules.infotext.parse import parse
from modules.networks import model_cache
from modules.networks.memory import MemoryMode
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from tests.admitted import Folders
from tests.processing.engine.test_engine import source
from tests.tiny import write_tiny_checkpoint
from tests.tiny_line import save_single, tiny_xl

MODES: tuple[MemoryMode, ...] = ("whole", "parts", "layers")
SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 3, "seed": 7, "prompt": "a cat"}
LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
TEXT_LAYER = "lora_te_text_model_encoder_layers_0_mlp_fc1"

Engines = Callable[..., Engine]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, another one with the same weights, and a LoRA for both."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("tiny", "other"):
        write_tiny_checkpoint(folder / f"{name}.safetensors")
    generator = torch.Generator().manual_seed(4)
    tensors = {}
    for layer, outer, inner in ((LAYER, 32, 32), (TEXT_LAYER, 64, 16)):
        tensors[f"{layer}.lora_up.weight"] = torch.randn(outer, 2, generator=generator)
        tensors[f"{layer}.lora_down.weight"] = torch.randn(2, inner, generator=generator)
    (folder / "loras").mkdir()
    save_file(tensors, folder / "loras" / "ink.safetensors")
    return folder


@pytest.fixture
def engine(folder: Path, tmp_path: Path) -> Engines:
    def make(memory: MemoryMode) -> Engine:
        return create_engine("cpu", "full", str(tmp_path), memory=memory)

    return make


def run(engine: Engine, folder: Path, request: Any = None, name: str = "tiny", **settings: Any) -> list[Any]:
    checkpoint = Checkpoint(name, folder / f"{name}.safetensors")
    folders = Folders(folder / "cache", (folder,), (folder / "loras",))
    events = list(folders.run(engine, request or Txt2ImgRequest(**SMALL), Settings(**settings), checkpoint))
    assert not [each for each in events if isinstance(each, Failed)], events
    return events


def pixels(events: list[Any]) -> list[bytes]:
    return [each.pixels for each in events if isinstance(each, ImageDone)]


def stages(events: list[Any]) -> list[str]:
    return [each.stage for each in events if isinstance(each, Staged)]


REQUESTS = {
    "txt2img": Txt2ImgRequest(**SMALL),
    "img2img": Img2ImgRequest(init_images=(source(),), denoising_strength=0.7, **SMALL),
    "LoRA": Txt2ImgRequest(**{**SMALL, "prompt": "a cat <lora:ink:0.8>"}),
    "LoRA in some steps": Txt2ImgRequest(**{**SMALL, "prompt": "a cat <lora:ink:1:start=1>"}),
    "two passes of two checkpoints": Txt2ImgRequest(**SMALL, enable_hr=True, hr_checkpoint_name="other"),
    "plain again": Txt2ImgRequest(**SMALL),
}


@pytest.mark.slow
def test_every_mode_makes_the_same_bytes(engine: Engines, folder: Path) -> None:
    made: dict[MemoryMode, dict[str, list[bytes]]] = {}
    for mode in MODES:
        one = engine(mode)
        made[mode] = {name: pixels(run(one, folder, request)) for name, request in REQUESTS.items()}
    assert made["parts"] == made["whole"]
    assert made["layers"] == made["whole"]
    assert made["whole"]["plain again"] == made["whole"]["txt2img"]
    assert made["whole"]["LoRA"] != made["whole"]["txt2img"]


def test_weights_rest_as_they_lie_in_the_file(engine: Engines, folder: Path) -> None:
    for mode, types in (("whole", {torch.float32}), ("parts", {torch.float16}), ("layers", {torch.float16})):
        one = engine(mode)
        run(one, folder, REQUESTS["LoRA"])
        run(one, folder)
        cache = one._model_cache
        cache._offloading.rest()
        model = cache.take(Checkpoint("tiny", folder / "tiny.safetensors")).model
        cache._offloading.rest()
        assert {each.dtype for part in model.parts.values() for each in part.parameters()} == types, mode


def test_a_job_says_how_its_checkpoint_is_held(engine: Engines, folder: Path) -> None:
    events = run(engine("layers"), folder)
    assert stages(events)[0].startswith("tiny: layer by layer (0.0 GB of weights, ")
    state = [each for each in events if isinstance(each, EngineState)][-1]
    assert (state.state, state.device) == ("ready", "CPU, fp32, layer by layer")
    assert stages(run(engine("auto"), folder))[0] == "loading tiny"


def test_without_the_memory_for_all_of_it_a_checkpoint_goes_in_pieces(
    engine: Engines, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pixels(run(engine("whole"), folder))
    monkeypatch.setattr(model_cache, "available_bytes", lambda device: 10**8)
    events = run(engine("auto"), folder)
    assert "layer by layer" in stages(events)[0]
    assert pixels(events) == whole


@pytest.mark.slow
def test_fp8_weights_are_near_the_others_and_in_the_infotext(engine: Engines, folder: Path) -> None:
    """Three bits for the fraction: each weight is off by up to 6 %, the picture of random weights by a few of 255."""
    one = engine("auto")
    plain = run(one, folder)
    rounded = run(one, folder, fp8_storage="Enable")
    apart = np.abs(np.frombuffer(pixels(plain)[0], np.uint8).astype(int) - np.frombuffer(pixels(rounded)[0], np.uint8))
    assert 0 < apart.mean() < 8
    done = next(each for each in rounded if isinstance(each, ImageDone))
    assert parse(done.infotext).pairs["FP8 weight"] == "Enable"
    assert pixels(run(one, folder)) == pixels(plain)
    assert pixels(run(one, folder, fp8_storage="Enable for SDXL")) == pixels(plain)


@pytest.mark.parametrize("settings", [{"sd_checkpoints_limit": 1}, {"sd_checkpoints_ram": 0.001}])
def test_a_job_says_what_it_lets_go_of_for_the_sake_of_a_limit(
    engine: Engines, folder: Path, settings: dict[str, Any]
) -> None:
    one = engine("auto")
    run(one, folder)
    assert not stages(run(one, folder, name="other"))[0].startswith("other: unloads")
    assert len(one._model_cache) == 2
    copy = folder / "third.safetensors"
    copy.write_bytes((folder / "tiny.safetensors").read_bytes())
    copy.with_suffix(".yaml").write_bytes((folder / "tiny.yaml").read_bytes())
    told = stages(run(one, folder, name="third", **settings))
    assert told[0].startswith("third: unloads tiny, other (")
    assert len(one._model_cache) == 1


@pytest.mark.slow
def test_two_text_encoders_work_in_every_mode(engine: Engines, tmp_path: Path) -> None:
    save_single(tiny_xl(), tmp_path / "xl.safetensors", torch.float16)
    made = [pixels(run(engine(mode), tmp_path, name="xl")) for mode in MODES]
    assert made[0] == made[1] == made[2]
    assert made[0]
