"""The sizes of a listed checkpoint: from the file beside it, else from its family."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modules.networks.families import FAMILIES
from modules.networks.files.checkpoints import CheckpointFiles
from modules.networks.files.detect import FAMILIES as FILE_TYPES
from modules.networks.files.listing import HashCache
from modules.schema.catalog import Checkpoint
from modules.schema.families import FAMILY_TRAITS, SDXL_TRAITS, FamilyTraits, traits_of
from modules.schema.sizes import Resolution


def write_header(path: Path, **shapes: list[int]) -> None:
    """A safetensors file of tensors that contain only zeros."""
    save_file({name: np.zeros(shape, np.float16) for name, shape in shapes.items()}, path)


def listed(folder: Path) -> Checkpoint:
    [row] = CheckpointFiles([folder]).found(HashCache(folder / "cache" / "hashes.json"))
    return row


@pytest.mark.parametrize(
    ("shapes", "family", "side"),
    [
        ({"model.diffusion_model.input_blocks.0.0.weight": [320, 4, 3, 3]}, "sd1", 512),
        ({"model.diffusion_model.input_blocks.0.0.weight": [320, 9, 3, 3]}, "sd1", 512),
        ({"model.diffusion_model.label_emb.0.0.weight": [1, 1]}, "sdxl", 1024),
        ({"double_blocks.0.img_attn.qkv.weight": [1, 1]}, "flux", 1024),
        ({"something.else": [1]}, "", 512),
    ],
)
def test_without_a_word_of_its_own_they_are_the_familys(
    tmp_path: Path, shapes: dict[str, list[int]], family: str, side: int
) -> None:
    write_header(tmp_path / "a.safetensors", **shapes)
    row = listed(tmp_path)
    assert (row.family, row.sizes.native, row.sizes.rule) == (family, (side, side), traits_of(family).sizes)


def test_of_a_folder_too(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for part in ("unet", "text_encoder_2"):
        (tmp_path / "a" / part).mkdir()
        (tmp_path / "a" / part / "config.json").write_text("{}")
    (tmp_path / "a" / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    assert listed(tmp_path).sizes.trained_on == SDXL_TRAITS.trained_on


@pytest.mark.parametrize(
    ("defaults", "size"),
    [({"width": 256, "height": 192}, (256, 192)), ({"height": 640}, (640, 640)), ({"steps": 4}, (1024, 1024))],
)
def test_what_stands_beside_the_file_counts_first(defaults: dict[str, int], size: tuple[int, int]) -> None:
    checkpoint = Checkpoint("a", Path("a.safetensors"), defaults=defaults, family="sdxl")
    assert checkpoint.sizes.native == size
    assert [checkpoint.form_defaults("img2img")[side] for side in ("width", "height")] == [*size]


def test_a_damaged_file_has_sizes_and_a_replaced_one_others(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"no header")
    assert listed(tmp_path).sizes.native == (512, 512)
    path.unlink()
    write_header(path, **{"model.diffusion_model.label_emb.0.0.weight": [1, 1]})
    assert listed(tmp_path).sizes.native == (1024, 1024)


def test_every_family_named_by_a_file_or_a_loader_has_its_row() -> None:
    names = {row.name for row in FAMILY_TRAITS}
    assert {each.family for each in FILE_TYPES if each.kind == "checkpoint"} <= names
    assert all(family.traits is traits_of(family.name) for family in FAMILIES)


@pytest.mark.parametrize("row", FAMILY_TRAITS, ids=lambda row: row.name)
def test_the_sizes_that_a_family_was_trained_on_keep_its_rule(row: FamilyTraits) -> None:
    rule = row.sizes
    assert rule.multiple_of % rule.cell == 0
    for size in row.trained_on:
        assert size == Resolution(rule.floor(size.width), rule.floor(size.height))
        assert 0.8 < size.width * size.height / rule.native**2 < 1.2
