"""Textual inversions: the contents of files, read with and without torch, and vectors that replace words."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.clip.chunks import EMPTY_CHUNK
from modules.networks.embeddings import EmbeddingCache, read_vectors
from modules.networks.files.embeddings import EmbeddingFiles, bundled_in, describe
from modules.networks.ldm.text import encode_old, encode_prompt
from modules.networks.sd1.model import StableDiffusion
from modules.schema.catalog import Embedding

WIDTH = 16  # the tiny text encoder's


def vectors(count: int = 2, width: int = WIDTH) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count))


def trained(tensor: Tensor, **more: Any) -> dict[str, Any]:
    """A file as saved by A1111's training."""
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": tensor}, "name": "fox", "step": 500, **more}


def saved(path: Path, content: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


FILES: list[tuple[str, Any]] = [
    ("a.safetensors", {"emb_params": vectors()}),
    ("a.safetensors", {"<fox>": vectors().half()}),
    ("a.pt", trained(vectors(), sd_checkpoint="abc", sd_checkpoint_name="good")),
    ("a.pt", {"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors())})}),
    ("a.pt", OrderedDict([("*", vectors())])),
    ("a.bin", {"<fox>": vectors()}),
    ("a.bin", {"<fox>": vectors(1)[0]}),
]


@pytest.mark.parametrize(("name", "content"), FILES, ids=lambda value: str(value)[:30])
def test_both_readers_see_the_same_vectors(name: str, content: Any, tmp_path: Path) -> None:
    described = describe(saved(tmp_path / name, content))
    assert described.reason == ""
    read = read_vectors(described)
    assert (read.shape, read.dtype) == ((described.vectors, described.width), torch.float32)
    torch.testing.assert_close(read, vectors(described.vectors), rtol=1e-3, atol=1e-3)


def test_what_its_trainer_noted_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "fox.pt", trained(vectors(3), sd_checkpoint="abc", sd_checkpoint_name="good"))
    assert describe(path) == Embedding(
        "fox", path, path.stat().st_mtime_ns, 3, WIDTH, "", step=500, sd_checkpoint="abc", sd_checkpoint_name="good"
    )


class Evil:
    def __reduce__(self) -> Any:
        return (exec, ("ran.append(1)", {"ran": RAN}))


RAN: list[int] = []
BAD: list[tuple[str, Any, str]] = [
    ("a.safetensors", {"clip_l": vectors(2), "clip_g": vectors(3)}, "not as many for both"),
    ("a.safetensors", {"clip_l": vectors()[None], "clip_g": vectors()}, "holds a tensor of the shape [1, 2, 16]"),
    ("a.safetensors", {"a": vectors(), "b": vectors()}, "holds 2 tensors, an embedding one"),
    ("a.safetensors", {"a": torch.ones(2, 2, 2)}, "holds a tensor of the shape [2, 2, 2]"),
    ("a.safetensors", {"a": vectors(76)}, "has 76 vectors, at most 75"),
    ("a.pt", trained(vectors(), extra=Evil()), "a pickle that holds more than weights; no code of it was run"),
    ("a.pt", [1, 2], "is no embedding"),
    ("a.pt", {"string_to_param": 7}, "holds 0 tensors"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD, ids=lambda value: str(value)[:30])
def test_what_cannot_be_used_is_skipped_with_its_reason(name: str, content: Any, reason: str, tmp_path: Path) -> None:
    path = saved(tmp_path / name, content)
    (found,) = EmbeddingFiles([tmp_path]).found()
    assert found == describe(path)
    assert reason in found.reason
    assert RAN == []


def test_damaged_files_are_skipped_with_their_reasons(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pt", trained(vectors())).read_bytes()
    (tmp_path / "torn.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "odd.pt", "w") as archive:
        archive.writestr("odd/data.pkl", pickle.dumps({"*": 1})[:-3])
    with zipfile.ZipFile(tmp_path / "vast.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vast/data.pkl", b"\0" * (5 * 2**20))
    reasons = {each.name: each.reason for each in EmbeddingFiles([tmp_path]).found()}
    assert {name: bool(reason) for name, reason in reasons.items()} == {
        "empty": True, "odd": True, "torn": True, "vast": True, "whole": False
    }  # fmt: skip
    assert reasons["torn"] == "torn.pt is damaged or truncated."
    assert reasons["vast"] == "vast.bin holds more than a model file of its kind does."


def test_a_file_that_lies_about_itself_by_now_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "fox.pt", {"*": vectors(2)})
    described = describe(path)
    saved(path, {"*": vectors(3)})
    with pytest.raises(WebuiError, match="'fox' contains NaN or infinite numbers, or has just changed"):
        read_vectors(described)
    saved(path, {"*": torch.full((2, WIDTH), torch.nan)})
    with pytest.raises(WebuiError, match="contains NaN or infinite numbers"):
        read_vectors(described)
    path.write_bytes(b"PK")
    with pytest.raises(WebuiError, match=r"prompt: the embedding 'fox': fox.pt is damaged"):
        read_vectors(described)
    path.unlink()
    with pytest.raises(WebuiError, match=r"prompt: the embedding 'fox' cannot be read"):
        read_vectors(described)


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    saved(tmp_path / "fox.pt", trained(vectors(2)))
    saved(tmp_path / "wide.pt", trained(vectors(2, 2 * WIDTH)))
    cache = EmbeddingCache()
    cache.offer(EmbeddingFiles([tmp_path]).found())
    return cache


def test_the_vectors_stand_where_the_word_was(cache: EmbeddingCache, tiny: StableDiffusion, bpe: ClipBPE) -> None:
    """Against a vocabulary whose own entries are those vectors."""
    words = cache.words(WIDTH, bpe)
    spoken = encode_prompt(tiny.text_encoder, bpe, [("a fox, ", 1.0), ("Fox", 1.4)], words=words)
    two = bpe.encode("one two")
    assert len(two) == 2
    table = tiny.text_encoder.get_parameter("embeddings.token_embedding.weight")
    before = table.data
    try:
        table.data = before.clone()
        table.data[two] = vectors(2)
        expected = encode_prompt(tiny.text_encoder, bpe, [("a one two, ", 1.0), ("one two", 1.4)])
    finally:
        table.data = before
    torch.testing.assert_close(spoken, expected)
    assert not torch.equal(spoken, encode_prompt(tiny.text_encoder, bpe, [("a fox, ", 1.0), ("Fox", 1.4)]))
    without = encode_prompt(tiny.text_encoder, bpe, [("a cat", 1.0)])
    assert torch.equal(encode_prompt(tiny.text_encoder, bpe, [("a cat", 1.0)], words=words), without)


def test_the_old_emphasis_knows_them_too(cache: EmbeddingCache, tiny: StableDiffusion, bpe: ClipBPE) -> None:
    words = cache.words(WIDTH, bpe)
    old = encode_old(tiny.text_encoder, bpe, ["a fox"], 1, "Original", words)
    torch.testing.assert_close(old[0], encode_prompt(tiny.text_encoder, bpe, [("a fox", 1.0)], words=words))
    full = encode_old(tiny.text_encoder, bpe, ["cat " * 74 + "fox fox"], 1, "Original", words)
    assert full.shape == (1, len(EMPTY_CHUNK.tokens), WIDTH)


def test_another_width_has_other_words(cache: EmbeddingCache, bpe: ClipBPE) -> None:
    assert [each.name for each in cache.words(WIDTH, bpe).of] == ["fox"]
    assert [each.name for each in cache.words(2 * WIDTH, bpe).of] == ["wide"]


def test_xls_vectors_stand_side_by_side(bpe: ClipBPE, tmp_path: Path) -> None:
    """Each text encoder uses its own columns; a checkpoint with one text encoder is refused with the reason."""
    small, large = vectors(2, 4), vectors(2, 6)
    saved(tmp_path / "style.safetensors", {"clip_g": large, "clip_l": small, "t5xxl": vectors(2, 8)})
    cache = EmbeddingCache()
    cache.offer(EmbeddingFiles([tmp_path]).found())
    words = cache.words(10, bpe)
    assert [(each.name, each.width, each.widths) for each in words.of] == [("style", 10, (4, 6))]
    assert torch.equal(words.columns(0, 4).read("style"), small)
    assert torch.equal(words.columns(4, 10).read("style"), large)
    (unusable,) = cache.words(WIDTH, bpe).unusable
    assert (
        unusable.unusable_with(WIDTH)
        == "style.safetensors is made for Stable Diffusion XL, which has two text encoders."
    )


def test_what_is_new_is_a_word_after_a_look(cache: EmbeddingCache, bpe: ClipBPE, tmp_path: Path) -> None:
    first = cache.words(WIDTH, bpe)
    cache.offer(EmbeddingFiles([tmp_path]).found())
    assert cache.words(WIDTH, bpe) is first
    saved(tmp_path / "deer.bin", {"<deer>": vectors(4)})
    cache.offer(EmbeddingFiles([tmp_path]).found())
    assert [each.name for each in cache.words(WIDTH, bpe).of] == ["deer", "fox"]
    assert first.read("fox") is cache.words(WIDTH, bpe).read("fox")


def test_a_file_that_cannot_be_read_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = EmbeddingFiles([tmp_path])

    def warned() -> int:
        caplog.clear()
        assert files.found() == ()
        return len([record for record in caplog.records if record.levelname == "WARNING"])

    odd = tmp_path / "odd.pt"
    odd.symlink_to(tmp_path / "nothing")
    assert [warned(), warned(), warned()] == [1, 0, 0]
    odd.unlink()
    assert warned() == 0
    odd.symlink_to(odd)  # for another reason
    assert [warned(), warned()] == [1, 0]


def test_a_lora_brings_embeddings_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "ink.safetensors"
    xl = {"bundle_emb.deer.clip_g": vectors(2, 6), "bundle_emb.deer.clip_l": vectors(2, 4)}
    odd = {"bundle_emb.odd.a": vectors(), "bundle_emb.odd.b": vectors()}
    fox = {"bundle_emb.fox.string_to_param.*": vectors(3), "bundle_emb.long.string_to_param.*": vectors(76)}
    save_file(fox | xl | odd | {"lora_unet_x.alpha": torch.ones(1)}, path)
    found = {each.name: each for each in bundled_in(path)}
    told = {name: (each.vectors, each.width, each.widths, bool(each.reason)) for name, each in found.items()}
    assert told == {
        "fox": (3, WIDTH, (), False),
        "deer": (2, 10, (4, 6), False),
        "odd": (0, 0, (), True),
        "long": (76, WIDTH, (), True),
    }
    torch.testing.assert_close(read_vectors(found["fox"]), vectors(3))
    torch.testing.assert_close(read_vectors(found["deer"]), torch.cat([vectors(2, 4), vectors(2, 6)], dim=1))
