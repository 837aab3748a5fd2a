"""Every type of file, broken in several ways: one clear sentence each, from every reader, without much memory."""

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks.device import Placement
from modules.networks.files.checkpoints import CheckpointFiles
from modules.networks.files.embeddings import describe
from modules.networks.files.headers import stamp_of
from modules.networks.files.listing import HashCache, read_description
from modules.networks.files.loras import LoraRequest
from modules.networks.ldm.building import load_vae
from modules.networks.lora.layers import open_lora
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.networks.weights import open_weights
from modules.schema.catalog import Checkpoint
from tests.tiny import write_tiny_checkpoint

MOST_MEMORY = 8 * 2**20  # bytes that reading a hostile header may take


def raw(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file with this header, whatever it contains."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def tensor(start: int, stop: int, shape: list[int] | None = None, dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": [stop - start] if shape is None else shape, "data_offsets": [start, stop]}


HOSTILE: dict[str, tuple[dict[str, object], str]] = {
    "overlap": ({"a": tensor(0, 8), "b": tensor(4, 12)}, "its tensors a and b overlap"),
    "the same bytes": ({"a": tensor(0, 8), "b": tensor(0, 8)}, "its tensors a and b overlap"),
    "gap": ({"a": tensor(0, 4), "b": tensor(8, 12)}, "4 bytes before its tensor b belong to none"),
    "gap at the start": ({"a": tensor(4, 12)}, "4 bytes before its tensor a belong to none"),
    "beyond the file": ({"a": tensor(0, 8), "b": tensor(8, 10**12)}, "is truncated: it has"),
    "negative": ({"a": tensor(-8, 0, [8])}, "its header is damaged"),
    "backwards": ({"a": tensor(8, 0, [8])}, "its header is damaged"),
    "another size": ({"a": tensor(0, 8, [2], "F16")}, "its header is damaged"),
    "sides without end": ({"a": tensor(0, 0, [2**59] * 50_000 + [0])}, "its header is damaged"),
    "a name with controls": ({"a\n\x1b[31m": tensor(0, 8)}, "holds control characters"),
    "a long name": ({"a" * 5000: tensor(0, 8)}, "is too long"),
    "too many": ({f"{number}": tensor(0, 0) for number in range(50_001)}, "has 50001 tensors, expected at most"),
    "no tensors' places": ({"a": {"dtype": "U8", "shape": [1]}}, "its header is damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_before_anything_is_mapped(name: str, tmp_path: Path) -> None:
    header, sentence = HOSTILE[name]
    path = raw(tmp_path / "bad.safetensors", header, bytes(64))
    for read in (read_description, open_weights):
        with pytest.raises(WebuiError, match=sentence) as refused:
            read(path)
        assert refused.value.message.startswith("bad.safetensors ")


def test_a_header_that_claims_a_hundred_megabytes_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "vast.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100_000_000) + b'{"a":')
        file.truncate(100_000_100)
    tracemalloc.start()
    with pytest.raises(WebuiError, match="has a header of 100000000 bytes, expected at most"):
        open_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_MEMORY


# ---- each type of file, broken in five ways ----


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def halved(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def a_page(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><title>Log in</title>")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def garbled(path: Path) -> None:
    """Twelve bytes of the file's table of contents, or of its header, are overwritten."""
    data = bytearray(path.read_bytes())
    at = len(data) - 40 if data.startswith(b"PK") else 20
    data[at : at + 12] = b"\xff" * 12
    path.write_bytes(data)


BREAKS: tuple[Callable[[Path], None], ...] = (emptied, halved, a_page, zeros, garbled)


def lora_tensors() -> dict[str, torch.Tensor]:
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    return {f"{name}.lora_down.weight": torch.ones(2, 16), f"{name}.lora_up.weight": torch.ones(64, 2)}


def made(kind: str, folder: Path) -> Path:
    """A good file of this type; for a diffusers folder, the weights of its UNet."""
    path = folder / f"x{'.ckpt' if kind == 'ckpt' else '.pt' if 'pickle' in kind else '.safetensors'}"
    if kind in ("checkpoint", "ckpt"):
        tiny = write_tiny_checkpoint(folder)
        if kind == "ckpt":
            torch.save({"state_dict": load_file(tiny)}, path)
            tiny.unlink()
        else:
            tiny.rename(path)
        tiny.with_suffix(".yaml").rename(path.with_suffix(".yaml"))
        return path
    if kind == "diffusers":
        for part in ("unet", "vae", "text_encoder"):
            (folder / "x" / part).mkdir(parents=True)
            (folder / "x" / part / "config.json").write_text("{}")
            save_file({"a": torch.ones(64)}, folder / "x" / part / "diffusion_pytorch_model.safetensors")
        (folder / "x" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
        return folder / "x" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {"vae": {"decoder.conv_in.weight": torch.ones(32, 4, 3, 3)}, "lora": lora_tensors()}
    if "pickle" in kind:
        hypernetwork = {"name": "x", 320: [{"linear.0.weight": torch.ones(8, 4)}]}
        torch.save({"string_to_param": {"*": torch.ones(2, 16)}} if "embedding" in kind else hypernetwork, path)
    else:
        save_file(tensors.get(kind, {"emb_params": torch.ones(2, 16)}), path)
    return path


def reads(kind: str, path: Path, place: Placement, bpe: ClipBPE) -> None:
    """Pass the file to the reader of its type; raises WebuiError."""
    hashes = HashCache(path.parent / "hashes.json")
    if kind in ("checkpoint", "ckpt"):
        load_checkpoint(Checkpoint(path.name, path), place, bpe, hashes)
    elif kind == "diffusers":
        load_checkpoint(Checkpoint("x", path.parent.parent), place, bpe, hashes)
    elif kind == "vae":
        load_vae(path, place)
    elif kind == "lora":
        open_lora(LoraRequest("x", stamp_of(path), 1.0, 1.0))
    elif "embedding" in kind:
        reason = describe(path).reason
        if reason:
            raise WebuiError(reason)
    else:
        open_weights(path)


KINDS = (
    "checkpoint", "ckpt", "diffusers", "vae", "lora", "embedding", "embedding pickle", "hypernetwork pickle",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_file_of_each_type_is_one_sentence(kind: str, tmp_path: Path, place: Placement, bpe: ClipBPE) -> None:
    for number, damage in enumerate(BREAKS):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = made(kind, folder)
        damage(path)
        with pytest.raises(WebuiError) as refused:
            reads(kind, path, place, bpe)
        message = refused.value.message
        assert path.name in message, (damage.__name__, message)
        assert message.endswith("."), (damage.__name__, message)
        assert "\n" not in message
        assert "Traceback" not in message


def test_a_file_whose_name_has_control_characters_is_one_marked_row(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path).rename(tmp_path / "a\nb\x1b.safetensors")
    (row,) = CheckpointFiles([tmp_path]).found(HashCache(tmp_path / "hashes.json"))
    assert row.reason == "The file name 'a?b?.safetensors' holds control characters. Rename the file."


def test_a_link_out_of_a_diffusers_folder_is_refused_and_the_hubs_cache_is_not(
    tmp_path: Path, place: Placement, bpe: ClipBPE
) -> None:
    weights = made("diffusers", tmp_path)
    secret = tmp_path / "secret.safetensors"
    weights.rename(secret)
    weights.symlink_to(secret)
    (row,) = [each for each in CheckpointFiles([tmp_path]).found(HashCache(tmp_path / "h.json")) if each.name == "x"]
    sentence = "unet/diffusion_pytorch_model.safetensors in x is a link out of the folder."
    assert row.reason.startswith(sentence)
    with pytest.raises(WebuiError, match=sentence):
        load_checkpoint(Checkpoint("x", tmp_path / "x"), place, bpe, HashCache(tmp_path / "h.json"))

    cache = tmp_path / "hub" / "models--owner--x"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots").mkdir()
    weights.unlink()
    secret.rename(cache / "blobs" / "0123")
    (tmp_path / "x").rename(cache / "snapshots" / "abc")
    link = cache / "snapshots" / "abc" / "unet" / weights.name
    link.symlink_to(Path("..") / ".." / ".." / "blobs" / "0123")
    (row,) = CheckpointFiles([cache / "snapshots"]).found(HashCache(tmp_path / "h.json"))
    assert (row.name, row.reason) == ("abc", "")
