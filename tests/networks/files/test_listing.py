import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from modules.base.errors import WebuiError
from modules.networks.files.listing import (
    HashCache,
    TensorInfo,
    find_checkpoints,
    find_vaes,
    read_defaults,
    read_header,
    size_in_bytes,
)

ROOT = Path(__file__).resolve().parents[3]


def touch(path: Path, content: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A well-formed safetensors file of two tensors."""
    file = tmp_path / "model.safetensors"
    save_file({"a": np.zeros((2, 3), np.float16), "b": np.zeros(5, np.float32)}, file, metadata={"format": "pt"})
    return file


def test_files_and_diffusers_folders_are_found_below_the_folders_and_named_by_their_path(tmp_path: Path) -> None:
    touch(tmp_path / "one" / "Zebra.safetensors")
    touch(tmp_path / "one" / "style" / "apple.ckpt")
    touch(tmp_path / "one" / "style" / "notes.txt")
    touch(tmp_path / "one" / ".hidden.safetensors")
    touch(tmp_path / "one" / "folder" / "model_index.json")
    touch(tmp_path / "one" / "folder" / "unet" / "diffusion_pytorch_model.safetensors")
    touch(tmp_path / "two" / "other.safetensors")
    (tmp_path / "one" / "loop").symlink_to(tmp_path / "one")
    found = find_checkpoints([tmp_path / "one", tmp_path / "two", tmp_path / "absent"])
    assert [file.name for file in found] == ["folder", "other.safetensors", "style/apple.ckpt", "Zebra.safetensors"]
    assert [file.stem for file in found] == ["folder", "other", "apple", "Zebra"]
    assert [file.hash for file in found] == [""] * 4


def test_vaes_lie_in_their_folders_or_beside_checkpoints(tmp_path: Path) -> None:
    touch(tmp_path / "VAE" / "deep" / "soft.pt")
    touch(tmp_path / "VAE" / "Hard.safetensors")
    touch(tmp_path / "VAE" / "read.me")
    touch(tmp_path / "models" / "fox.safetensors")
    file = touch(tmp_path / "models" / "fox.vae.safetensors")
    hashes = HashCache(tmp_path / "hashes.json")
    sha256 = hashes.sha256(file)
    found = find_vaes([tmp_path / "VAE", tmp_path / "absent"], [tmp_path / "models"], hashes)
    assert [(vae.name, vae.hash) for vae in found] == [
        ("fox.vae.safetensors", sha256), ("Hard.safetensors", ""), ("soft.pt", ""),
    ]  # fmt: skip
    assert [checkpoint.name for checkpoint in find_checkpoints([tmp_path / "models"])] == ["fox.safetensors"]


def test_a_known_hash_is_told(tmp_path: Path) -> None:
    file = touch(tmp_path / "models" / "fox.safetensors")
    hashes = HashCache(tmp_path / "hashes.json")
    assert hashes.sha256(file) == hashlib.sha256(b"weights").hexdigest()
    (found,) = find_checkpoints([tmp_path / "models"], hashes)
    assert found.hash.startswith("9a129038d9")
    assert hashes.short(file) == "9a129038d9"


def test_the_json_beside_a_checkpoint_gives_its_defaults(tmp_path: Path) -> None:
    touch(tmp_path / "fox.safetensors")
    (tmp_path / "fox.json").write_text('{"width": 256, "steps": 12}')
    (found,) = find_checkpoints([tmp_path])
    assert found.defaults == {"width": 256, "steps": 12}


def test_a_hash_is_computed_once_and_again_only_after_a_change(tmp_path: Path) -> None:
    file = touch(tmp_path / "fox.safetensors")
    first = HashCache(tmp_path / "cache" / "hashes.json").sha256(file)
    later = HashCache(tmp_path / "cache" / "hashes.json")
    assert later.known(file) == first
    before = file.stat()
    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size and time: the same file to our key
    assert later.sha256(file) == first
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert later.known(file) == ""
    assert later.sha256(file) == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_a_damaged_hash_cache_is_left_aside_with_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, cache = touch(tmp_path / "fox.safetensors"), touch(tmp_path / "hashes.json", b"{broken")
    with caplog.at_level(logging.WARNING):
        assert HashCache(cache).sha256(file) == hashlib.sha256(b"weights").hexdigest()
    assert "cannot be read" in caplog.text
    assert len(json.loads(cache.read_text())) == 1


@pytest.mark.parametrize("content", [b"5", b"[" * 100_000, b"\xff", b"[]"])
def test_a_hash_cache_of_another_kind_is_put_aside(tmp_path: Path, content: bytes) -> None:
    file, cache = touch(tmp_path / "fox.safetensors"), touch(tmp_path / "cache" / "hashes.json", content)
    assert HashCache(cache).known(file) == ""
    [aside] = [each for each in cache.parent.iterdir() if each.is_file() and ".damaged-" in each.name]
    assert aside.read_bytes() == content
    assert HashCache(cache).sha256(file) == hashlib.sha256(b"weights").hexdigest()


def test_one_damaged_hash_costs_none_of_the_others(tmp_path: Path) -> None:
    fox, hare = touch(tmp_path / "fox.safetensors"), touch(tmp_path / "hare.safetensors", b"hare")
    cache = tmp_path / "cache" / "hashes.json"
    for file in (fox, hare):
        HashCache(cache).sha256(file)
    entries = json.loads(cache.read_text())
    for wrong in (5, [1, 2], [1, 2, 3], ["1", 2, "ab" * 32], {}, [1, 2, "zz" * 32]):
        cache.write_text(json.dumps(entries | {str(fox.resolve()): wrong}))
        hashes = HashCache(cache)
        assert hashes.known(fox) == ""
        assert hashes.known(hare) == hashlib.sha256(b"hare").hexdigest()


def test_a_hash_that_another_process_adds_meanwhile_is_kept(tmp_path: Path) -> None:
    fox, hare = touch(tmp_path / "fox.safetensors"), touch(tmp_path / "hare.safetensors", b"hare")
    cache = tmp_path / "hashes.json"
    ours, theirs = HashCache(cache), HashCache(cache)
    theirs.sha256(hare)
    ours.sha256(fox)
    assert HashCache(cache).known(fox)
    assert HashCache(cache).known(hare)


def test_of_two_who_want_the_same_hash_one_reads_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = touch(tmp_path / "fox.safetensors")
    caches = [HashCache(tmp_path / "hashes.json") for _ in range(4)]
    together = threading.Barrier(len(caches))
    read: list[object] = []
    digest = hashlib.file_digest

    def counted(stream: Any, name: str) -> object:
        read.append(stream)
        return digest(stream, name)

    def wanted(cache: HashCache) -> str:
        together.wait()
        return cache.sha256(file)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    with ThreadPoolExecutor(len(caches)) as threads:
        found = set(threads.map(wanted, caches))
    assert found == {hashlib.sha256(b"weights").hexdigest()}
    assert len(read) == 1


ADDS = """
import sys
from pathlib import Path
from modules.networks.files.listing import HashCache
for file in sorted(Path(sys.argv[1]).glob(sys.argv[2])):
    HashCache(Path(sys.argv[3])).sha256(file)
"""


def test_two_processes_lose_no_hash_of_each_other(tmp_path: Path) -> None:
    files = [touch(tmp_path / "m" / f"{kind}{number}.safetensors") for kind in "ab" for number in range(20)]
    cache = tmp_path / "cache" / "hashes.json"
    running = [
        subprocess.Popen([sys.executable, "-c", ADDS, str(tmp_path / "m"), f"{kind}*", str(cache)], cwd=ROOT)
        for kind in "ab"
    ]
    assert [each.wait() for each in running] == [0, 0]
    hashes = HashCache(cache)
    assert all(hashes.known(file) for file in files)


def test_a_file_whose_name_is_not_utf8_has_its_hash_kept(tmp_path: Path) -> None:
    file = touch(tmp_path / os.fsdecode(b"f\xffx.safetensors"))
    HashCache(tmp_path / "hashes.json").sha256(file)
    assert HashCache(tmp_path / "hashes.json").known(file) == hashlib.sha256(b"weights").hexdigest()


def test_a_header_tells_names_types_and_shapes(saved: Path) -> None:
    header = read_header(saved)
    assert header == {"a": TensorInfo("F16", (2, 3)), "b": TensorInfo("F32", (5,))}
    assert size_in_bytes(header) == 12 + 20


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (slice(0, 0), "model.safetensors is empty (0 bytes)."),
        (slice(0, 5), "model.safetensors is truncated: it has 5 bytes and should have at least 10."),
        (slice(0, 40), "model.safetensors is truncated: it has 40 bytes and should have at least {header}."),
        (slice(0, -1), "model.safetensors is truncated: it has {short} bytes and should have {full}."),
    ],
)
def test_a_truncated_file_is_told_with_expected_and_actual_bytes(keep: slice, said: str, saved: Path) -> None:
    content = saved.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    saved.write_bytes(content[keep])
    with pytest.raises(WebuiError) as error:
        read_header(saved)
    assert error.value.message == said.format(header=header, full=len(content), short=len(content) - 1)
    assert error.value.field == "sd_model_checkpoint"


@pytest.mark.parametrize(
    "content",
    [b"<html>not found</html>", b"\x10" + b"\0" * 7 + b"not json at all!", b"\x02" + b"\0" * 7 + b"[]",
     b"\x09" + b"\0" * 7 + b'{"a":{}} '],
)  # fmt: skip
def test_what_is_no_safetensors_file_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(WebuiError, match="is not a safetensors file"):
        read_header(touch(tmp_path / "x.safetensors", content))


def test_defaults_are_the_known_keys_of_the_json_beside_the_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {
        "width": 256,
        "cfg_scale": 4.5,
        "sampler_name": "Euler",
        "steps": "many",
        "description": "mine",
        "height": True,
    }
    (tmp_path / "fox.json").write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        assert read_defaults(tmp_path / "fox.safetensors") == {"width": 256, "cfg_scale": 4.5, "sampler_name": "Euler"}
    assert "steps='many'" in caplog.text
    assert read_defaults(tmp_path / "other.safetensors") == {}


def test_defaults_that_the_form_does_not_take_are_passed_over_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {
        "hr_upscaler": "lanczos", "hr_scale": 1.5, "hr_denoising_strength": 0.3, "hr_second_pass_steps": 1000,
        "width": 3, "scheduler": "Karras", "sampler_name": "Warp 9",
    }  # fmt: skip
    (tmp_path / "fox.json").write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        found = read_defaults(tmp_path / "fox.safetensors")
    assert found == {
        "hr_upscaler": "Lanczos", "hr_scale": 1.5, "hr_denoising_strength": 0.3, "scheduler": "Karras",
    }  # fmt: skip
    for told in ("hr_second_pass_steps=1000", "width=3", "'Warp 9'"):
        assert told in caplog.text
