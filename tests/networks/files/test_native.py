"""The size a checkpoint was trained at."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modules.networks.files.native import NativeSizes
from modules.schema.catalog import Checkpoint


def write_header(path: Path, **shapes: list[int]) -> Checkpoint:
    """A safetensors file of tensors that are nothing but zeros."""
    save_file({name: np.zeros(shape, np.float16) for name, shape in shapes.items()}, path)
    return Checkpoint(path.name, path)


@pytest.mark.parametrize(
    ("shapes", "side"),
    [
        ({"model.diffusion_model.input_blocks.0.0.weight": [320, 4, 3, 3]}, 512),
        ({"model.diffusion_model.label_emb.0.0.weight": [1, 1]}, 1024),
        ({"double_blocks.0.img_attn.qkv.weight": [1, 1]}, 1024),
        ({"something.else": [1]}, 512),
    ],
)
def test_without_a_word_of_its_own_it_is_the_familys(tmp_path: Path, shapes: dict[str, list[int]], side: int) -> None:
    assert NativeSizes().of(write_header(tmp_path / "a.safetensors", **shapes)) == (side, side)


def test_of_a_folder_too(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    assert NativeSizes().of(Checkpoint("a", tmp_path)) == (1024, 1024)


@pytest.mark.parametrize(
    ("defaults", "size"),
    [({"width": 256, "height": 192}, (256, 192)), ({"height": 640}, (640, 640)), ({"steps": 4}, (512, 512))],
)
def test_what_stands_beside_the_file_counts_first(defaults: dict[str, int], size: tuple[int, int]) -> None:
    assert NativeSizes().of(Checkpoint("a", Path("a.safetensors"), defaults=defaults)) == size


def test_a_damaged_file_has_a_size_and_a_replaced_one_another(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"no header")
    sizes = NativeSizes()
    assert sizes.of(Checkpoint("a", path)) == (512, 512)
    path.unlink()
    assert sizes.of(write_header(path, **{"model.diffusion_model.label_emb.0.0.weight": [1, 1]})) == (1024, 1024)
