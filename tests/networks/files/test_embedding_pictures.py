"""Embeddings inside pictures: written here as A1111's training does, and read back."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.base.errors import WebuiError
from modules.networks.embeddings import read_vectors
from modules.networks.files.embedding_pictures import _sequence  # pyright: ignore[reportPrivateUsage]
from modules.networks.files.embeddings import EmbeddingFiles, describe

VECTORS = np.linspace(-1, 1, 3 * 16).reshape(3, 16).astype(np.float32)
# The first numbers of the generator, as recorded in A1111's own test, before they are cut to four bits.
RECORDED = [253, 242, 127, 44, 157, 27, 239, 133, 38, 79, 167, 4, 177, 95, 130, 79, 78, 14, 52, 215, 220, 194, 126, 28]


def trained(vectors: NDArray[np.float32] = VECTORS) -> dict[str, Any]:
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": {"TORCHTENSOR": vectors.tolist()}},
        "name": "fox",
        "step": 500,
        "sd_checkpoint_name": "good",
    }


def preview() -> Image.Image:
    drawn = np.random.default_rng(1).integers(1, 256, (64, 48, 3)).astype(np.uint8)
    drawn[:, 20] = 0x40  # the picture may have columns whose lower bits are 0
    return Image.fromarray(drawn)


def in_chunk(path: Path, content: dict[str, Any]) -> None:
    notes = PngInfo()
    notes.add_text("sd-ti-embedding", base64.b64encode(json.dumps(content).encode()).decode())
    preview().save(path, pnginfo=notes)


def in_pixels(path: Path, content: dict[str, Any]) -> None:
    """A black line and a block of pixels on both sides of the picture; the blocks' upper bits are decoration."""
    data = np.frombuffer(zlib.compress(json.dumps(content).encode(), 9), np.uint8)
    image = np.asarray(preview())
    height = len(image)
    size = -(-(len(data) + 1) // (3 * height)) * 3 * height
    blocks: list[NDArray[np.uint8]] = []
    state = 0
    numbers: list[int] = []
    for _ in range(size):
        state = (1664525 * state + 1013904223) % 2**32
        numbers.append(state % 255 & 0x0F)
    ornament = np.random.default_rng(2).integers(1, 16, size).astype(np.uint8) << 4
    for half in (data & 0x0F, data >> 4):
        block = np.resize(half, size) ^ np.array(numbers, np.uint8) | ornament
        blocks.append(block.reshape(height, -1, 3).astype(np.uint8))
    line = np.zeros((height, 1, 3), np.uint8)
    whole = np.concatenate([blocks[0], line, image, line, blocks[1]], axis=1)
    Image.fromarray(whole).save(path, lossless=True)


def test_the_sequence_is_the_recorded_one() -> None:
    assert _sequence(len(RECORDED)).tolist() == [number & 0x0F for number in RECORDED]


@pytest.mark.parametrize(("write", "name"), [(in_chunk, "a.png"), (in_pixels, "a.png"), (in_pixels, "a.webp")])
def test_both_readers_see_the_same_vectors(write: Any, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path, trained())
    (found,) = EmbeddingFiles([tmp_path]).found()
    assert (found.name, found.vectors, found.width, found.reason) == ("fox", 3, 16, "")
    assert (found.step, found.sd_checkpoint_name) == (500, "good")
    torch.testing.assert_close(read_vectors(found), torch.from_numpy(VECTORS))


def test_both_widths_of_xl_stand_in_a_picture(tmp_path: Path) -> None:
    halves = {"clip_l": VECTORS[:, :4], "clip_g": VECTORS[:, 4:]}
    in_chunk(tmp_path / "a.png", {key: {"TORCHTENSOR": half.tolist()} for key, half in halves.items()})
    (found,) = EmbeddingFiles([tmp_path]).found()
    assert (found.name, found.vectors, found.width, found.widths) == ("a", 3, 16, (4, 12))
    torch.testing.assert_close(read_vectors(found), torch.from_numpy(VECTORS))


def test_other_pictures_are_not_listed(tmp_path: Path) -> None:
    in_chunk(tmp_path / "fox.png", trained())
    in_chunk(tmp_path / "deer.preview.png", trained())
    torch.save({"*": torch.ones(2, 16)}, tmp_path / "fox.pt")  # fox.png shows what it does
    preview().save(tmp_path / "holiday.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "black.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    files = EmbeddingFiles([tmp_path])
    assert [(each.name, each.path.name) for each in files.found()] == [("fox", "fox.pt")]
    assert files.found() == files.found()
    assert describe(tmp_path / "holiday.png").reason == "holiday.png is a picture without an embedding in it."


RAGGED = b'{"a": {"TORCHTENSOR": [[1], [1, 2]]}}'


@pytest.mark.parametrize("text", ["not base64!", *(base64.b64encode(each).decode() for each in (b"{", RAGGED))])
def test_a_damaged_one_is_told(text: str, tmp_path: Path) -> None:
    notes = PngInfo()
    notes.add_text("sd-ti-embedding", text)
    preview().save(tmp_path / "a.png", pnginfo=notes)
    (found,) = EmbeddingFiles([tmp_path]).found()
    assert found.reason == "a.png holds an embedding that is damaged."
    with pytest.raises(WebuiError, match="embedding that is damaged"):
        read_vectors(found)
