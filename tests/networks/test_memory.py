"""How a checkpoint is kept in the available memory."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from modules.clip.bpe import ClipBPE
from modules.networks import weights
from modules.networks.device import CPU, Mode, Placement
from modules.networks.files.listing import HashCache
from modules.networks.memory import LARGE, LEFT_FREE, Fp8, MemoryMode, Needs, mode_for, needs_of, takes_fp8
from modules.networks.model_cache import ModelCache
from modules.schema.catalog import Checkpoint

PLACE = Placement(CPU, torch.bfloat16, torch.float32, torch.bfloat16)
GB = 10**9
SD1, SDXL = Needs(2 * GB, 2 * GB - 1, GB // 10), Needs(7 * GB, 2 * LARGE, GB // 10)


def test_a_header_tells_what_the_weights_take(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {
        "model.diffusion_model.a": np.zeros((10, 10), np.float32),
        "model.diffusion_model.b": np.zeros(7, np.float16),
        "first_stage_model.c": np.zeros(50, np.float16),
        "model_ema.a": np.zeros((10, 10), np.float32),
        "cond_stage_model.position_ids": np.zeros(77, np.int64),
    }
    save_file(tensors, path)
    assert needs_of(path, PLACE) == Needs(2 * 157, 2 * 107, 2 * 100)


def test_a_text_encoder_in_its_own_file_counts_as_a_part(tmp_path: Path, bpe: ClipBPE) -> None:
    """The largest that the checkpoint may use: with it, this one no longer fits as a whole."""
    sizes = {"model": 100, "small": 20, "large": 300}
    files = {name: tmp_path / f"{name}.safetensors" for name in sizes}
    for name, side in sizes.items():
        save_file({f"{name}.a": np.zeros((side, 10), np.float16)}, files[name])
    cache = ModelCache(PLACE, bpe, HashCache(tmp_path / "hashes.json"))
    alone = Checkpoint("alone", files["model"])
    split = Checkpoint("split", files["model"], text_encoders=(files["small"], files["large"]))
    assert cache.forecast(alone).needs == Needs(2000, 2000, 2000)
    cache = ModelCache(PLACE, bpe, HashCache(tmp_path / "hashes.json"))
    assert cache.forecast(split).needs == Needs(8000, 6000, 6000)


def test_folders_are_told_by_their_size_and_what_is_not_there_by_none(tmp_path: Path) -> None:
    (tmp_path / "folder" / "unet").mkdir(parents=True)
    (tmp_path / "folder" / "unet" / "weights.bin").write_bytes(bytes(1000))
    assert needs_of(tmp_path / "folder", PLACE) == Needs(1000, 800, 50)
    assert needs_of(tmp_path / "gone.safetensors", PLACE) == Needs(0, 0, 0)


@pytest.mark.parametrize(
    ("needs", "free", "asked", "mode"),
    [
        (SD1, 2 * GB + LEFT_FREE, "auto", "whole"),
        (SD1, 2 * GB + LEFT_FREE - 1, "auto", "parts"),
        (SD1, 2 * GB + LEFT_FREE - 2, "auto", "layers"),
        (SD1, 0, "auto", "layers"),
        (SD1, 0, "whole", "whole"),
        (SD1, 24 * GB, "parts", "parts"),
        (SD1, 24 * GB, "layers", "layers"),
        (SD1, 24 * GB, "parts-sdxl", "whole"),
        (SDXL, 24 * GB, "parts-sdxl", "parts"),
    ],
)
def test_a_checkpoint_is_held_as_it_fits_or_as_asked(needs: Needs, free: int, asked: MemoryMode, mode: Mode) -> None:
    assert mode_for(needs, free, asked, PLACE) == mode


@pytest.mark.parametrize(
    ("asked", "small", "large"),
    [("Disable", False, False), ("Enable for SDXL", False, True), ("Enable", True, True)],
)
def test_fp8_is_for_large_checkpoints_or_for_all(asked: Fp8, small: bool, large: bool) -> None:
    assert (takes_fp8(SD1, asked, PLACE), takes_fp8(SDXL, asked, PLACE)) == (small, large)


@pytest.mark.skipif(sys.platform != "linux", reason="a file is mapped anew on Linux alone")
def test_what_was_read_is_forgotten_once_nobody_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_MAPPED_AGAIN", 1000)
    path = tmp_path / "x.safetensors"
    save_file({"a": np.ones(500, np.float32), "b": np.full(10, 2, np.float32)}, path)
    opened = weights.open_weights(path)
    kept = opened.read("a")
    first = opened.read("b").data_ptr()
    opened.forget()
    path.unlink()
    assert opened.read("b").data_ptr() != first
    assert (opened.read("b").tolist(), kept.tolist()) == ([2.0] * 10, [1.0] * 500)
    again = opened.read("b").data_ptr()
    opened.forget()  # too little was read since then
    assert opened.read("b").data_ptr() == again
