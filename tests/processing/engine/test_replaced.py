"""Model files replaced while a job runs: all its pictures come from one model, or it says why not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from modules.base.events import EngineState, Event, Failed, ImageDone, Stepped
from modules.infotext.parse import parse
from modules.processing.engine import Engine, create_engine
from modules.schema.catalog import Checkpoint
from modules.schema.request import Txt2ImgRequest
from modules.schema.settings import Settings
from tests.admitted import Folders
from tests.tiny import TINY_YAML, tiny_tensors, write_tiny_checkpoint

THREE: dict[str, Any] = {
    "prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 7, "subseed": 1, "sampler_name": "Euler",
    "n_iter": 3,
}  # fmt: skip


def weaker(key: str, value: Any) -> Any:
    return (value * np.float16(0.9)).astype(value.dtype) if value.dtype == np.float16 else value


def write_other(path: Path, only: str = "") -> Path:
    """Another checkpoint, or a VAE if `only` is the prefix of its keys."""
    tensors = {
        key.removeprefix(only): weaker(key, value) for key, value in tiny_tensors().items() if key.startswith(only)
    }
    save_file(tensors, path, metadata={"format": "pt"})
    path.with_suffix(".yaml").write_text(TINY_YAML, encoding="utf-8")
    return path


class Studio:
    def __init__(self, folder: Path) -> None:
        self.path = write_tiny_checkpoint(folder / "tiny.safetensors")
        self.vae = folder / "VAE" / "soft.safetensors"
        self.lora = folder / "Lora" / "ink.safetensors"
        self.other = write_other(folder / "other.safetensors")
        for file in (self.vae, self.lora):
            file.parent.mkdir()
        write_other(self.vae, "first_stage_model.")
        self.write_lora(0.01)
        self.folders = Folders(folder / "cache", loras=(self.lora.parent,), vaes=(self.vae.parent,))
        self.engine: Engine = create_engine("cpu", "full", str(folder / "cache"))

    def write_lora(self, size: float) -> None:
        key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
        weight = tiny_tensors()["model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"]
        rows, columns = weight.shape
        pair = {
            ".lora_up.weight": np.full((rows, 1), size, np.float32),
            ".lora_down.weight": np.ones((1, columns), np.float32),
        }
        draft = self.lora.with_suffix(".new")
        save_file({key + name: value for name, value in pair.items()}, draft)
        draft.replace(self.lora)

    def run(
        self,
        request: Txt2ImgRequest,
        after: type[Event] = ImageDone,
        act: Callable[[], object] | None = None,
        **settings: Any,
    ) -> list[Event | EngineState]:
        """The events of a job; `act` is called after its first event of the kind `after`."""
        found: list[Event | EngineState] = []
        options = Settings(live_previews_enable=False, **settings)
        for event in self.folders.run(self.engine, request, options, Checkpoint("tiny", self.path)):
            found.append(event)
            if act is not None and isinstance(event, after):
                act()
                act = None
        return found


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def pictures(events: list[Event | EngineState]) -> list[ImageDone]:
    return [event for event in events if isinstance(event, ImageDone)]


def pixels(events: list[Event | EngineState]) -> list[bytes]:
    return [picture.pixels for picture in pictures(events)]


def hashes(events: list[Event | EngineState], key: str) -> set[str]:
    return {parse(picture.infotext).pairs[key] for picture in pictures(events)}


def test_a_job_keeps_to_the_checkpoint_it_began_with(studio: Studio) -> None:
    request = Txt2ImgRequest(**THREE)
    calm = studio.run(request)
    disturbed = studio.run(
        request, act=lambda: Path(shutil.copy(studio.other, studio.path.with_suffix(".new"))).replace(studio.path)
    )
    later = studio.run(request)
    assert pixels(disturbed) == pixels(calm)
    assert hashes(disturbed, "Model hash") == hashes(calm, "Model hash") != hashes(later, "Model hash")
    assert not set(pixels(later)) & set(pixels(calm))


def test_a_job_keeps_to_the_vae_it_began_with(studio: Studio) -> None:
    request = Txt2ImgRequest(**THREE)

    def replace() -> None:
        tensors = {
            key.removeprefix("first_stage_model."): value
            for key, value in tiny_tensors().items()
            if key.startswith("first_stage_model.")
        }
        save_file(tensors, studio.vae.with_suffix(".new"))
        studio.vae.with_suffix(".new").replace(studio.vae)

    calm = studio.run(request, sd_vae="soft.safetensors")
    disturbed = studio.run(request, act=replace, sd_vae="soft.safetensors")
    later = studio.run(request, sd_vae="soft.safetensors")
    assert pixels(disturbed) == pixels(calm)
    assert hashes(disturbed, "VAE hash") == hashes(calm, "VAE hash") != hashes(later, "VAE hash")
    assert not set(pixels(later)) & set(pixels(calm))


def test_a_file_that_is_written_to_in_its_place_is_told(studio: Studio) -> None:
    events = studio.run(Txt2ImgRequest(**THREE), act=lambda: studio.path.write_bytes(studio.other.read_bytes()))
    assert len(pictures(events)) == 1
    assert isinstance(events[-1], Failed)
    assert events[-1].message.startswith("The file tiny was replaced while the job ran")


def test_a_lora_that_is_replaced_before_the_pass_that_wants_it_is_told(studio: Studio) -> None:
    request = Txt2ImgRequest(
        **{**THREE, "n_iter": 1}, enable_hr=True, hr_scale=1.5, denoising_strength=0.9, hr_prompt="a cat <lora:ink:1>"
    )
    assert len(pictures(studio.run(request))) == 1
    events = studio.run(request, Stepped, lambda: studio.write_lora(0.5))
    assert isinstance(events[-1], Failed)
    assert events[-1].message == "prompt: the LoRA 'ink' was replaced while the job ran."
