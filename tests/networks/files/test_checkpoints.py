"""What the list says about files that cannot be loaded, and which file is chosen at the first start."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from modules.networks.files.checkpoints import CheckpointFiles, look_into
from modules.networks.files.listing import HashCache
from modules.schema.catalog import Catalog

SD1 = {"model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3)}
OTHERS = {
    "a-upscaler": ({"conv_first.weight": (8, 3, 3, 3)}, "an upscaler", "models/ESRGAN"),
    "b-controlnet": ({"control_model.input_hint_block.0.weight": (1, 3, 3, 3)}, "a ControlNet", "models/ControlNet"),
    "c-lora": ({"lora_unet_x.lora_down.weight": (4, 8)}, "a LoRA", "models/Lora"),
    "d-sd3": ({"joint_blocks.0.x_block.attn.qkv.weight": (4, 8)}, "a Stable Diffusion 3 model", "not supported yet"),
    "e-words": ({"emb_params": (2, 8)}, "a textual inversion embedding", "models/embeddings"),
}


def tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float16) for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    for name, (shapes, _, _) in OTHERS.items():
        save_file(tensors(shapes), models / f"{name}.safetensors")
    (models / "0-page.safetensors").write_bytes(b"<html>not found</html>")
    (models / "1-cut.safetensors").write_bytes((models / "c-lora.safetensors").read_bytes()[:-1])
    (models / "2-old.ckpt").write_bytes(b"\x80\x02}q\x00.")
    save_file(tensors(SD1), models / "z-good.safetensors")
    return models


def found(folder: Path, tmp_path: Path) -> Catalog:
    return Catalog(CheckpointFiles([folder]).found(HashCache(tmp_path / "hashes.json")))


def test_the_first_that_can_be_loaded_is_the_one_to_begin_with(folder: Path, tmp_path: Path) -> None:
    catalog = found(folder, tmp_path)
    assert catalog.checkpoint("").name == "z-good.safetensors"
    (folder / "z-good.safetensors").unlink()
    assert found(folder, tmp_path).checkpoint("").name == "2-old.ckpt"  # nobody has read it
    (folder / "2-old.ckpt").unlink()
    assert found(folder, tmp_path).checkpoint("").reason  # which is reported when it is loaded


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_loaded_is_marked_with_its_reason(name: str, folder: Path, tmp_path: Path) -> None:
    _, label, cure = OTHERS[name]
    row = found(folder, tmp_path).checkpoint(name)
    assert (row.what, row.label) == (label, f"{name}.safetensors (cannot be loaded: {label})")
    assert cure in row.reason


def test_damaged_files_are_marked_and_sound_ones_are_not(folder: Path, tmp_path: Path) -> None:
    rows = {row.name: row for row in found(folder, tmp_path).checkpoints}
    assert "web page" in rows["0-page.safetensors"].reason
    assert "truncated" in rows["1-cut.safetensors"].reason
    assert rows["1-cut.safetensors"].label == "1-cut.safetensors (cannot be loaded: damaged)"
    assert (rows["z-good.safetensors"].reason, rows["2-old.ckpt"].reason) == ("", "")


def test_a_file_is_looked_into_again_when_it_has_changed(folder: Path, tmp_path: Path) -> None:
    files, hashes = CheckpointFiles([folder]), HashCache(tmp_path / "hashes.json")
    assert Catalog(files.found(hashes)).checkpoint("c-lora").reason
    save_file(tensors(SD1 | {"more": (2, 2)}), folder / "c-lora.safetensors")
    assert not Catalog(files.found(hashes)).checkpoint("c-lora").reason


@pytest.mark.parametrize(
    ("pipeline", "parts", "reason"),
    [
        ("FluxPipeline", (), "x is a Flux model, a family that is not supported yet."),
        ("KolorsPipeline", (), "x is of no kind that is known here (KolorsPipeline)."),
        ("ZImagePipeline", ("transformer",), "x lacks text_encoder/config.json."),
        ("StableDiffusionPipeline", ("unet",), "x lacks text_encoder/config.json."),
        ("StableDiffusionPipeline", ("unet", "text_encoder"), ""),
    ],
)
def test_a_folder_is_told_by_its_pipeline(pipeline: str, parts: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    for part in parts:
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
    folder.mkdir(exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    assert look_into(folder).reason.startswith(reason)
    assert bool(look_into(folder).reason) == bool(reason)


class Code:
    """What a pickle runs when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def test_pickles_are_followed_later_and_then_marked_too(tmp_path: Path) -> None:
    torch.save({"state_dict": {name: torch.zeros(shape) for name, shape in SD1.items()}}, tmp_path / "good.ckpt")
    torch.save({"state_dict": {"conv_first.weight": torch.zeros(8, 3, 3, 3)}}, tmp_path / "upscaler.ckpt")
    torch.save({"state_dict": {}, "callback": Code()}, tmp_path / "code.ckpt")
    torch.save({"step": 5}, tmp_path / "empty.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "good.ckpt").read_bytes()[:-30])
    files, hashes = CheckpointFiles([tmp_path]), HashCache(tmp_path / "hashes.json")
    assert {row.label for row in files.found(hashes)} == {row.name for row in files.found(hashes)}  # nobody has read it
    assert files.look_further()
    labels = {row.name: row.label.removeprefix(row.name) for row in files.found(hashes)}
    assert labels == {
        "good.ckpt": "",
        "upscaler.ckpt": " (cannot be loaded: an upscaler)",
        "code.ckpt": " (cannot be loaded: a pickle with code)",
        "empty.ckpt": " (cannot be loaded: damaged)",
        "cut.ckpt": " (cannot be loaded: damaged)",
    }
    reasons = {row.name: row.reason for row in files.found(hashes)}
    assert "more than weights" in reasons["code.ckpt"]
    assert not files.look_further()  # once is enough
    assert Catalog(files.found(hashes)).checkpoint("").name == "good.ckpt"


def test_a_pickle_is_followed_again_when_it_has_changed(tmp_path: Path) -> None:
    files, hashes = CheckpointFiles([tmp_path]), HashCache(tmp_path / "hashes.json")
    torch.save({"callback": Code()}, tmp_path / "a.ckpt")
    files.found(hashes)
    files.look_further()
    assert files.found(hashes)[0].reason
    torch.save({name: torch.zeros(shape) for name, shape in SD1.items()}, tmp_path / "a.ckpt")
    assert not files.found(hashes)[0].reason
    files.look_further()
    row = files.found(hashes)[0]
    assert (row.what, row.family, row.reason) == ("a Stable Diffusion 1 model", "sd1", "")
