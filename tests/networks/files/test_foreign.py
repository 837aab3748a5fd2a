"""Files made by others can contain anything. None may stop, fill or kill the process that reads it."""

import io
import json
import os
import pickle
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks.device import Placement
from modules.networks.files.detect import detect
from modules.networks.files.embeddings import EmbeddingFiles
from modules.networks.files.foreign import format_of, parse_json
from modules.networks.files.listing import (
    HashCache,
    TensorInfo,
    find_checkpoints,
    find_vaes,
    read_defaults,
    read_header,
)
from modules.networks.files.loras import LoraFiles, lora_hash
from modules.networks.files.pickle_machine import Bounds
from modules.networks.files.pickles import PickleReader
from modules.networks.files.torch_pickle import CHECKPOINT, EMBEDDING, read_content
from modules.networks.ldm.building import load_vae
from modules.networks.ldm.layout import scaling_factor, scheduler_config, text_config, vae_config
from modules.networks.ldm.sidecar import LARGEST_YAML, read_sidecar
from modules.networks.ldm.unet_layout import unet_config
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.networks.weights import open_weights
from modules.schema.catalog import Checkpoint

DEPTH = 400_000  # of nested values: the C stack overflows long before


def zipped(data: bytes, path: Path, method: int = zipfile.ZIP_STORED, storage: bytes = b"") -> Path:
    """A file as saved by torch, with `data` as its pickle."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x/data.pkl", data)
        archive.writestr("x/byteorder", "little")
        archive.writestr("x/data/0", storage)
    return path


def header(path: Path, text: str, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + data)
    return path


def tensor_named(*key: bytes) -> bytes:
    """A pickle of {key: a tensor of 2 x 8}; `key` are the instructions that create it."""
    buffer = io.BytesIO()
    torch.save({"KEY": torch.ones(2, 8)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        data = archive.read("archive/data.pkl")
    return data.replace(b"X\x03\x00\x00\x00KEY", b"".join(key), 1)


DEEP_TUPLES = b")" + b"\x85" * DEPTH  # EMPTY_TUPLE, TUPLE1 …

# What a pickle may try, and a part of the reported reason.
PICKLES: dict[str, tuple[bytes, str]] = {
    "a dict's key of a deep tuple": (tensor_named(DEEP_TUPLES), "holds more than a model file of its kind does"),
    "a shallower one": (tensor_named(b")" + b"\x85" * 50_000), "holds 0 tensors"),
    "deep lists": (b"\x80\x02" + b"]" * 40_000 + b"a" * 39_999 + b".", "is no embedding"),
    "deep dicts": (b"\x80\x02" + b"}" + b"X\x01\x00\x00\x00*}" * 20_000 + b"s" * 20_000 + b".", "holds 0 tensors"),
    "objects in objects": (
        b"\x80\x02" + b"cargparse\nNamespace\n)\x81" * 9_000 + b"b" * 8_999 + b".", "is no embedding"
    ),
    "code": (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "no code of it was run. It names os.system"),
    "a name that is a deep tuple": (b"\x80\x04" + b")" + b"\x85" * 50_000 + b"\x8c\x01x\x93.", "is damaged"),
    "a memo of a billion": (b"\x80\x02Nr\xff\xff\xff\x7f.", "is no embedding"),
    "a number of a million digits": (b"\x80\x02L" + b"9" * 1_000_000 + b"L\n.", "is damaged"),
    "a text longer than the file": (b"\x80\x02X\xff\xff\xff\x7f.", "is damaged"),
    "no end": (b"\x80\x02N", "is damaged"),
    "nothing on the stack": (b"\x80\x02.", "is damaged"),
    "no mark": (b"\x80\x02t.", "is damaged"),
    "a tuple of one list again and again": (
        b"\x80\x02ctorch\nSize\nq\x00](" + b"N" * 40_000 + b"e\x85q\x01" + b"0h\x00h\x01R" * 5_000 + b".",
        "holds more than a model file of its kind does",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_a_hostile_pickle_is_one_marked_row(name: str, tmp_path: Path) -> None:
    data, reason = PICKLES[name]
    zipped(data, tmp_path / "bad.pt")
    torch.save({"*": torch.ones(2, 8)}, tmp_path / "good.pt")
    found = {each.name: each for each in EmbeddingFiles([tmp_path]).found()}
    assert reason in found["bad"].reason
    assert (found["good"].reason, found["good"].width) == ("", 8)


HEADERS = [
    '{"a":{"dtype":"F32","shape":[null,2],"data_offsets":[0,8]}}',
    '{"a":{"dtype":"F32","shape":["a",2],"data_offsets":[0,8]}}',
    '{"a":{"dtype":"F32","shape":[NaN,2],"data_offsets":[0,8]}}',
    '{"a":{"dtype":"F32","shape":[1e999,2],"data_offsets":[0,8]}}',
    '{"a":{"dtype":"F32","shape":[1.0,2],"data_offsets":[0,8]}}',
    '{"a":{"dtype":"F32","shape":[true,2],"data_offsets":[0,8]}}',
    '{"a":{"dtype":"F32","shape":[-1,-2],"data_offsets":[0,8]}}',
    '{"a":{"dtype":"F32","shape":"ab","data_offsets":[0,8]}}',
    '{"a":{"dtype":"F32","shape":[1,2],"data_offsets":["0","8"]}}',
    '{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8,9]}}',
    '{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[8,0]}}',
    '{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,12]}}',
    '{"a":{"dtype":7,"shape":[1,2],"data_offsets":[0,8]}}',
    '{"a":{"dtype":"F32","shape":[[1],2],"data_offsets":[0,8]}}',
    '{"a":7}',
    '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"__metadata__":7}',
    "{" + ",".join(f'"{n}":0' for n in range(600_000)) + "}",
]


@pytest.mark.parametrize("text", HEADERS, ids=lambda text: text[:60])
def test_a_hostile_header_is_one_marked_row(text: str, tmp_path: Path) -> None:
    header(tmp_path / "bad.safetensors", text, bytes(64))
    save_file({"a": torch.ones(2, 8)}, tmp_path / "good.safetensors")
    found = {each.name: each.reason for each in EmbeddingFiles([tmp_path]).found()}
    assert "bad.safetensors" in found["bad"]
    assert found["good"] == ""
    loras = {each.name: each.reason for each in LoraFiles([tmp_path]).found(HashCache(tmp_path / "h.json"))}
    assert "header is damaged" in loras["bad"]
    assert loras["good"] == ""
    with pytest.raises(WebuiError, match=r"bad\.safetensors is not a safetensors file"):
        open_weights(tmp_path / "bad.safetensors")


def test_a_header_of_a_hundred_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "vast.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 10**8) + b"{")
        file.truncate(10**8 + 8)
    (found,) = EmbeddingFiles([tmp_path]).found()
    assert found.reason == "vast.safetensors has a header of 100000000 bytes, expected at most 1048576."
    (lora,) = LoraFiles([tmp_path]).found(HashCache(tmp_path / "h.json"))
    assert "expected at most 33554432" in lora.reason


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors", ".ckpt"])
@pytest.mark.parametrize("kind", ["pipe", "socket's place", "folder", "link to itself", "link to nothing", "device"])
def test_what_is_no_file_keeps_nobody_waiting(suffix: str, kind: str, tmp_path: Path, place: Placement) -> None:
    path = tmp_path / f"odd{suffix}"
    {
        "pipe": lambda: os.mkfifo(path),
        "socket's place": lambda: os.mknod(path, 0o600 | 0o140000),
        "folder": path.mkdir,
        "link to itself": lambda: path.symlink_to(path),
        "link to nothing": lambda: path.symlink_to(tmp_path / "gone"),
        "device": lambda: path.symlink_to("/dev/zero"),
    }[kind]()
    torch.save({"*": torch.ones(2, 8)}, tmp_path / "good.pt")
    hashes = HashCache(tmp_path / "hashes.json")
    found = {each.name: each for each in EmbeddingFiles([tmp_path]).found()}
    assert found["good"].reason == ""
    assert "odd" not in found or found["odd"].reason
    LoraFiles([tmp_path]).found(hashes)
    find_checkpoints([tmp_path], hashes)
    find_vaes([tmp_path], [tmp_path], hashes)
    for look in (format_of, open_weights, read_header, hashes.sha256, hashes.tensors_sha256):
        with pytest.raises((WebuiError, OSError)):
            look(path)
    with pytest.raises(WebuiError):
        load_vae(path, place)


def test_a_pipe_beside_a_checkpoint_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "fox.safetensors").write_bytes(b"weights")
    os.mkfifo(tmp_path / "fox.json")
    os.mkfifo(tmp_path / "fox.yaml")
    (found,) = find_checkpoints([tmp_path])
    assert found.defaults == {}
    read_sidecar(tmp_path / "fox.safetensors")


@pytest.mark.parametrize(
    "text",
    [
        '{"width": ' + "[" * 100_000,
        '{"width": ' + "[" * 500 + "]" * 500 + "}",
        "[" * 100 + "]" * 100,
        '{"a": "' + "x" * 2**21 + '"}',
        "7",
    ],
    ids=lambda text: text[:20],
)
def test_a_json_beside_a_checkpoint_cannot_hinder_the_list(text: str, tmp_path: Path) -> None:
    (tmp_path / "fox.safetensors").write_bytes(b"weights")
    (tmp_path / "fox.json").write_text(text)
    (found,) = find_checkpoints([tmp_path])
    assert (found.name, found.defaults) == ("fox.safetensors", {})


LAUGHS = "a: &a0 {k: v}\n" + "".join(f"b{n}: &a{n} {{<<: [{f'*a{n - 1},' * 9}]}}\n" for n in range(1, 12))


@pytest.mark.parametrize(
    "text",
    ["[" * 60_000, "a: " * 5_000, "- " * 20_000, LAUGHS, "x" * (LARGEST_YAML + 1), "\x00", "model: !!python/x 1"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_hostile_yaml_is_told_in_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "fox.yaml").write_text(text)
    with pytest.raises(WebuiError, match=r"fox\.yaml is no model configuration"):
        read_sidecar(tmp_path / "fox.safetensors")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("timesteps: 1000000000000", "timesteps=1000000000000"),
        ("timesteps: many", "timesteps='many'"),
        ("linear_start: .nan", "linear_start=nan"),
        ("linear_end: [1]", r"linear_end=\[1\]"),
        ("scale_factor: .inf", "scale_factor=inf"),
    ],
)
def test_a_number_of_a_yaml_that_makes_no_sense_is_named(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "fox.yaml").write_text(f"model:\n  params:\n    {line}\n")
    sidecar = read_sidecar(tmp_path / "fox.safetensors")
    read = scaling_factor if "scale" in line else partial(scheduler_config, {})
    with pytest.raises(WebuiError, match=rf"fox\.yaml: {said}: expected a"):
        read(sidecar, "fox.safetensors")


def test_a_bomb_of_zeros_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """Its weights unpack to a gigabyte; its pickle, in another file, to a hundred megabytes."""
    buffer = io.BytesIO()
    torch.save({"a.weight": torch.ones(4)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        data = archive.read("archive/data.pkl").replace(b"K\x04", b"J\x00\x00\x00\x10")
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x/data.pkl", data)
        with archive.open("x/data/0", "w", force_zip64=True) as inside:
            for _ in range(64):
                inside.write(bytes(2**24))
    with pytest.raises(WebuiError, match=r"bomb\.ckpt is a zip archive whose weights are compressed"):
        open_weights(path)
    zipped(b"\x80\x02" + b"N" * 100_000_000, path, zipfile.ZIP_DEFLATED)
    with pytest.raises(WebuiError, match="holds more than a model file of its kind does"):
        open_weights(path)


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    """torch allocates 300 GB for such a file with one number: its strides are 0."""
    torch.save({"*": torch.ones(1).expand(75, 10**9)}, tmp_path / "wide.pt")
    (found,) = EmbeddingFiles([tmp_path]).found()
    assert found.reason == "wide.pt is damaged or truncated."


def test_a_reader_that_dies_or_hangs_costs_its_file_alone(tmp_path: Path) -> None:
    """Three commands for the reading process: one exits, one never answers, and one is the real one."""
    path = tmp_path / "fox.pt"
    torch.save({"*": torch.ones(2, 8)}, path)
    for command in (("-c", "import os; input(); os.abort()"), ("-c", "input(); input()")):
        with PickleReader(0.5, command) as reader:
            for _ in range(2):
                with pytest.raises(WebuiError, match=r"fox\.pt cannot be read: it ended the process"):
                    reader.read(path, EMBEDDING)
    with PickleReader() as reader:
        first = reader.read(path, EMBEDDING)
        reader._process.kill()  # pyright: ignore[reportPrivateUsage, reportOptionalMemberAccess]
        with pytest.raises(WebuiError, match="cannot be read"):
            reader.read(path, EMBEDDING)
        assert reader.read(path, EMBEDDING) == first


def test_many_pickles_are_read_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    start = PickleReader._start  # pyright: ignore[reportPrivateUsage]

    def counted(reader: PickleReader) -> Any:
        started.append(1)
        return start(reader)

    monkeypatch.setattr(PickleReader, "_start", counted)
    for number in range(20):
        torch.save({"*": torch.ones(1 + number, 8)}, tmp_path / f"{number}.pt")
    files = EmbeddingFiles([tmp_path])
    assert [each.vectors for each in sorted(files.found(), key=lambda each: each.vectors)] == list(range(1, 21))
    files.found()  # nothing has changed
    assert started == [1]


# ---- the true cause ----

OTHERS: list[tuple[bytes, str]] = [
    (b"", "is empty (0 bytes)."),
    *((bytes([16] + [0] * (size - 1)), f"is truncated: it has {size} bytes and should have at least 10.")
      for size in range(1, 8)),
    (b"<!DOCTYPE html><html>log in</html>", "is not a safetensors file but a web page (HTML)."),
    (b"\n  <html lang=en>", "is not a safetensors file but a web page (HTML)."),
    (b'{"error": "Unauthorized", "detail": "log in"}', "is not a safetensors file but a JSON text."),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
     "is not a safetensors file but a Git LFS pointer to the file."),
    (b"\x89PNG\r\n\x1a\n" + bytes(99), "is not a safetensors file but a picture (PNG)."),
    (b"GGUF" + bytes(99), "is not a safetensors file but a GGUF file."),
    (b"\x1f\x8b\x08" + bytes(99), "is not a safetensors file but a gzip archive."),
    (bytes(5000), "is not a safetensors file: it begins with nothing but zeros."),
    (b"some words that somebody has written", "is not a safetensors file."),
]  # fmt: skip


@pytest.mark.parametrize(("content", "said"), OTHERS, ids=[said[:40] for _, said in OTHERS])
def test_every_reader_tells_what_a_file_is(
    content: bytes, said: str, tmp_path: Path, place: Placement, bpe: ClipBPE
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    hashes = HashCache(tmp_path / "h.json")
    sentence = f"x.safetensors {said}"
    for read in (read_header, open_weights, hashes.tensors_sha256, lambda path: load_vae(path, place)):
        with pytest.raises(WebuiError) as error:
            read(path)
        assert error.value.message == sentence
    with pytest.raises(WebuiError) as error:
        load_checkpoint(Checkpoint(path.name, path), place, bpe, hashes)
    assert error.value.message == sentence
    assert EmbeddingFiles([tmp_path]).found()[0].reason == sentence
    assert LoraFiles([tmp_path]).found(hashes)[0].reason == sentence


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("written", ["safetensors", "zip", "pickle"])
def test_a_file_is_what_it_holds_and_not_what_it_is_called(suffix: str, written: str, tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).half()}
    path = tmp_path / f"x{suffix}"
    if written == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=written == "zip")
    weights = open_weights(path)
    assert torch.equal(weights.read("a"), tensors["a"])
    assert weights.header["a"] == TensorInfo("F16", (2, 3))
    hashes = HashCache(tmp_path / "h.json")
    assert hashes.tensors_sha256(path)
    if suffix != ".ckpt":
        (found,) = EmbeddingFiles([tmp_path]).found()
        assert (found.reason, found.vectors, found.width) == ("", 2, 3)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24.0).reshape(4, 6)[1:, ::2], torch.arange(6.0).reshape(2, 3).T, torch.tensor(7.0),
        torch.empty(0, 3), torch.arange(4).to(torch.bfloat16), torch.tensor([True, False]),
        torch.arange(4.0).to(torch.float8_e4m3fn), torch.nn.Parameter(torch.ones(2)),
        torch.arange(3, dtype=torch.uint8),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_are_those_that_were_saved(tensor: torch.Tensor, is_zip: bool, tmp_path: Path) -> None:
    """Views, scalars, odd types; also after an odd number of bytes."""
    path = tmp_path / "x.pt"
    saved = {"odd": torch.ones(3, dtype=torch.int8), "a": tensor}
    torch.save(saved, path, _use_new_zipfile_serialization=is_zip)
    weights = open_weights(path)
    for key, theirs in saved.items():
        ours = weights.read(key)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert torch.equal(ours.float(), theirs.detach().float())


# ---- any bytes at all ----


def whole_files(folder: Path) -> list[bytes]:
    """One good file of each kind, to be damaged."""
    tensors = {"a.weight": torch.ones(3, 5), "b": torch.zeros(7, dtype=torch.float16)}
    save_file(tensors, folder / "w.safetensors", {"format": "pt", "ss_tag": '{"a": [1]}'})
    torch.save({"state_dict": tensors, "step": 5}, folder / "w.pt")
    torch.save({"string_to_param": {"*": torch.ones(2, 8)}}, folder / "w.ckpt", _use_new_zipfile_serialization=False)
    (folder / "w.bin").write_bytes(pickle.dumps({"a": [1, (2, {"b": None})]}, protocol=4))
    return [(folder / f"w.{suffix}").read_bytes() for suffix in ("safetensors", "pt", "ckpt", "bin")]


with tempfile.TemporaryDirectory() as _folder:
    WHOLE = whole_files(Path(_folder))

Damage = list[tuple[int, bytes]]


@st.composite
def foreign_bytes(draw: st.DrawFn) -> bytes:
    """Random bytes, some after the start of a known kind; or a whole file with some of its bytes changed."""
    if draw(st.booleans()):
        return draw(st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x02" + bytes(7) + b"{"])) + draw(st.binary())
    data = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 12))):
        at = draw(st.integers(0, len(data) - 1))
        new = draw(st.binary(min_size=1, max_size=4))
        data[at : at + len(new)] = new
    return bytes(data[: draw(st.integers(1, len(data)))] if draw(st.booleans()) else data)


def looked_at(path: Path) -> None:
    """Everything that is done to a file before anyone selects it, but in this process: starting a thousand takes too
    long.
    """
    if format_of(path) == "safetensors":
        detect(read_header(path))
    else:
        read_content(path, Bounds(2**20, 20_000, 5_000))


@contextmanager
def only_sentences_about(name: str) -> Iterator[None]:
    """Whatever is raised starts with `name` and has one line."""
    try:
        yield
    except WebuiError as error:
        if not error.message.startswith(name) or "\n" in error.message:
            raise AssertionError(error.message) from error


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=foreign_bytes())
def test_any_bytes_are_a_model_file_or_a_sentence(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".pt", ".safetensors"):
            path = Path(folder, f"x{suffix}")
            path.write_bytes(data)
            with only_sentences_about(path.name):
                looked_at(path)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=st.lists(foreign_bytes(), min_size=4, max_size=12))
def test_lists_are_whole_whatever_lies_in_the_folders(files: list[bytes]) -> None:
    suffixes = (".pt", ".bin", ".safetensors", ".ckpt", ".json", ".yaml")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, data in enumerate(files):
            for suffix in suffixes:
                (folder / f"{number}{suffix}").write_bytes(data)
        hashes = HashCache(folder / "h")
        assert len(EmbeddingFiles([folder]).found()) == len(files)
        loras = LoraFiles([folder]).found(hashes)
        assert len(loras) == len(files)
        for lora in loras:
            json.dumps(dict(lora.metadata), allow_nan=False).encode()
            try:
                lora_hash(lora, hashes)
            except WebuiError:
                assert lora.reason
        assert len(find_checkpoints([folder])) == 2 * len(files)
        assert len(find_vaes([folder])) == 3 * len(files)


@settings(max_examples=100, deadline=None)
@given(data=st.one_of(st.binary(), st.text(alphabet='{}[]:,"*&<-! \n0aew.').map(str.encode)))
def test_any_side_file_is_read_or_told(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x.json").write_bytes(data)
        Path(folder, "x.yaml").write_bytes(data)
        assert isinstance(read_defaults(Path(folder, "x.safetensors")), dict)
        with only_sentences_about("x.yaml"):
            read_sidecar(Path(folder, "x.safetensors"))


sides = st.lists(st.integers(0, 12), max_size=5)
keys = st.sampled_from([
    "model.diffusion_model.input_blocks.0.0.weight", "model.diffusion_model.input_blocks.1.0.out_layers.3.weight",
    "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    "model.diffusion_model.out.2.weight", "model.diffusion_model.middle_block.1.proj_in.weight",
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", "conv_first.weight",
    "first_stage_model.decoder.conv_in.weight", "first_stage_model.encoder.down.0.block.0.conv2.weight",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(shapes=st.dictionaries(keys, sides))
def test_tensors_of_any_shape_make_a_configuration_or_a_sentence(shapes: dict[str, list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        save_file({key: torch.zeros(*shape) if shape else torch.tensor(0.0) for key, shape in shapes.items()}, path)
        found = read_header(path)
        detect(found)
        with only_sentences_about("x.safetensors"):
            sidecar = read_sidecar(path)
            unet_config(found, sidecar, path.name)
            vae_config(found, sidecar, path.name)
            text_config(found, sidecar.text_encoder, path.name)
            scheduler_config(found, sidecar, path.name)


CONFIGS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("unet", lambda config: config | {"layers_per_block": 10**7}),
    ("unet", lambda config: config | {"block_out_channels": [32] * 10_000}),
    ("unet", lambda config: config | {"block_out_channels": "wide"}),
    ("unet", lambda config: config | {"down_block_types": ["Nothing"]}),
    ("vae", lambda config: config | {"norm_num_groups": 0}),
    ("text_encoder", lambda config: config | {"num_hidden_layers": 10**9}),
    ("text_encoder", lambda config: config | {"hidden_act": "none"}),
]


@pytest.mark.parametrize(("part", "change"), CONFIGS, ids=range(len(CONFIGS)))
def test_a_configuration_that_makes_no_model_is_told(
    part: str, change: Callable[[dict[str, Any]], Any], tiny: Any, tmp_path: Path, place: Placement, bpe: ClipBPE
) -> None:
    folder = tmp_path / "folder"
    for name, model in (("unet", tiny.unet), ("vae", tiny.vae), ("text_encoder", tiny.text_encoder)):
        model.save_pretrained(folder / name)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    config = folder / part / "config.json"
    config.write_text(json.dumps(change(json.loads(config.read_text()))))
    with pytest.raises(WebuiError, match=r"config\.json in folder|has a configuration that makes no model"):
        load_checkpoint(Checkpoint("folder", folder), place, bpe, HashCache(tmp_path / "h.json"))


def test_a_json_is_measured_before_it_is_built() -> None:
    assert parse_json('{"a": "[[[[[[["}', deepest=1) == {"a": "[[[[[[["}
    assert parse_json('[["\\"[[["]]', deepest=2) == [['"[[[']]
    for text in ("[[[1]]]", '{"a": [[]]}', "[" * 10**6, "[NaN]", '{"a": 1e', ""):
        with pytest.raises(ValueError):
            parse_json(text, deepest=2)


def test_a_good_checkpoint_is_within_the_bounds() -> None:
    """SD 1's 1 100 tensors take 32 thousand instructions and 160 kB."""
    buffer = io.BytesIO()
    torch.save({f"model.diffusion_model.input_blocks.{n}.weight": torch.ones(1) for n in range(1100)}, buffer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.ckpt")
        path.write_bytes(buffer.getvalue())
        content = read_content(path, CHECKPOINT._replace(operations=40_000, values=1_200))
    assert isinstance(content, dict)
    assert len(content) == 1100


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode elsewhere")
def test_a_file_whose_name_is_not_utf_8_is_opened(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.safetensors"))
    save_file({"weight": torch.arange(4.0)}, tmp_path / "plain.safetensors")
    (tmp_path / "plain.safetensors").rename(path)
    assert open_weights(path).read("weight").tolist() == [0.0, 1.0, 2.0, 3.0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WebuiError, match=r"caf%E9\.safetensors is truncated"):
        open_weights(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_what_is_no_file_is_no_vae_beside_a_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fox.vae.pt")
    (tmp_path / "cat.vae.pt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "dog.vae.pt").write_bytes(b"")
    assert [vae.name for vae in find_vaes([], [tmp_path])] == ["dog.vae.pt"]
