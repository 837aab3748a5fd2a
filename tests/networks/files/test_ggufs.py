"""GGUF files are read as the `gguf` package writes them, and damaged ones are one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from numpy.typing import NDArray

from modules.base.errors import WebuiError
from modules.networks.device import Placement
from modules.networks.files.checkpoints import look_into
from modules.networks.files.ggufs import is_gguf, open_gguf
from modules.networks.memory import needs_of
from modules.networks.weights import open_weights

TYPES = {"Q8_0": 0.01, "Q5_0": 0.06, "Q4_0": 0.11, "Q4_1": 0.1, "BF16": 0.003, "F16": 0.001, "F32": 0.0}


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(0, 0.05, shape).astype(np.float32)


def write(path: Path, tensors: dict[str, NDArray[np.float32]], kind: str, **shapes: list[int]) -> Path:
    writer: Any = GGUFWriter(path, "lumina2")
    own = GGMLQuantizationType[kind]
    for name, shape in shapes.items():
        writer.add_array(f"comfy.gguf.orig_shape.{name}", shape)
    for name, tensor in tensors.items():
        is_matrix = tensor.ndim == 2 and tensor.shape[1] % 32 == 0
        stored = own if is_matrix else GGMLQuantizationType.F32
        data = tensor if stored == GGMLQuantizationType.F32 else quantize(tensor, stored)
        if stored == GGMLQuantizationType.F16:
            data = tensor.astype(np.float16)
        writer.add_tensor(name, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(("kind", "error"), TYPES.items())
def test_tensors_are_restored(tmp_path: Path, kind: str, error: float) -> None:
    matrix, norm = drawn(48, 64), drawn(7)
    path = write(tmp_path / "x.gguf", {"layers.0.weight": matrix, "norm.weight": norm}, kind)
    weights = open_weights(path)
    assert {key: tuple(info.shape) for key, info in weights.header.items()} == {
        "layers.0.weight": (48, 64),
        "norm.weight": (7,),
    }
    found = weights.read("layers.0.weight").float().numpy()
    assert np.linalg.norm(found - matrix) <= error * np.linalg.norm(matrix)
    assert torch.equal(weights.read("norm.weight"), torch.from_numpy(norm))


def test_a_reshaped_tensor_gets_its_shape_back(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf", {"conv": drawn(8, 64)}, "Q8_0", conv=[16, 2, 4, 4])
    assert open_gguf(path).header["conv"].shape == (16, 2, 4, 4)
    assert open_gguf(path).read("conv").shape == (16, 2, 4, 4)


def test_it_is_recognized_and_its_memory_known(tmp_path: Path, place: Placement) -> None:
    path = write(tmp_path / "x.gguf", {"x_pad_token": drawn(1, 64), "cap_embedder.0.weight": drawn(64)}, "F32")
    assert is_gguf(path)
    assert look_into(path)[:3] == ("a Z-Image model", "z-image", "")
    assert needs_of(path, place).whole == 4 * 128


def test_of_another_family_it_is_refused(tmp_path: Path) -> None:
    name = "model.diffusion_model.input_blocks.0.0.weight"
    path = write(tmp_path / "x.gguf", {name: drawn(8, 36)}, "F32", **{name: [8, 4, 3, 3]})
    assert look_into(path).reason.startswith("x.gguf is a Stable Diffusion 1 model as GGUF, a format that is read for")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:40],
        lambda data: b"GGUF" + (999).to_bytes(4, "little") + data[8:],
        lambda data: data[:8] + (2**62).to_bytes(8, "little") + data[16:],
        lambda data: data[:16] + (2**62).to_bytes(8, "little") + data[24:],
        lambda data: data[: len(data) - 200],
        lambda data: b"GGUF",
    ],
    ids=["cut header", "version", "count of tensors", "count of notes", "cut tensors", "nothing more"],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, change: Any) -> None:
    path = write(tmp_path / "x.gguf", {"layers.0.weight": drawn(48, 64)}, "Q8_0")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(WebuiError, match=r"x\.gguf is damaged or of an unknown version"):
        open_gguf(path)
    assert look_into(path).reason.startswith("x.gguf is damaged")
