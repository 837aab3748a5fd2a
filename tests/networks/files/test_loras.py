"""LoRA files, without loading them."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modules.networks.files import loras
from modules.networks.files.listing import HashCache, read_metadata
from modules.networks.files.loras import LoraFiles, full_metadata, lora_hash

TENSORS = {"a.lora_up.weight": np.ones((2, 1), np.float32)}


def lora(path: Path, **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(TENSORS, path, metadata=metadata or None)
    return path


@pytest.fixture
def hashes(tmp_path: Path) -> HashCache:
    return HashCache(tmp_path / "hashes.json")


def test_files_are_found_with_what_they_tell_of_themselves(tmp_path: Path, hashes: HashCache) -> None:
    lora(tmp_path / "one" / "deep" / "Wash.safetensors", ss_output_name="None", ss_network_dim="8")
    lora(
        tmp_path / "one" / "ink.safetensors",
        ss_output_name="India", sshs_model_hash="ab" * 32, ss_tag="{\"a\": [1]}", ss_bad="{\"a\": NaN}",
        ssmd_cover_images="[]",
    )  # fmt: skip
    lora(tmp_path / "two" / "ink.safetensors", ss_output_name="another of the same name")
    (tmp_path / "two" / "torn.safetensors").write_bytes(b"torn")
    (tmp_path / "two" / "notes.txt").write_bytes(b"")
    found = LoraFiles([tmp_path / "one", tmp_path / "two", tmp_path / "absent"]).found(hashes)
    assert [(each.name, each.alias, each.hash) for each in found] == [
        ("ink", "India", "abababababab"), ("torn", "", ""), ("Wash", "", "")
    ]  # fmt: skip
    assert found[0].path == tmp_path / "one" / "ink.safetensors"
    assert full_metadata(found[0].path) == {
        "ss_output_name": "India", "sshs_model_hash": "ab" * 32, "ss_tag": {"a": [1]}, "ss_bad": '{"a": NaN}'
    }  # fmt: skip
    assert found[0].metadata == {"ss_output_name": "India", "sshs_model_hash": "ab" * 32}  # the one that lists show
    assert full_metadata(found[1].path) == {}


def test_a_header_is_read_again_only_when_the_file_has_changed(
    tmp_path: Path, hashes: HashCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lora(tmp_path / "ink.safetensors", ss_output_name="one")
    reads: list[Path] = []
    monkeypatch.setattr(loras, "read_metadata", lambda path: reads.append(path) or read_metadata(path))
    files = LoraFiles([tmp_path])
    assert [files.found(hashes)[0].alias for _ in range(3)] == ["one"] * 3
    assert reads == [path]
    lora(path, ss_output_name="two")
    os.utime(path, ns=(1, 1))
    assert files.found(hashes)[0].alias == "two"
    assert reads == [path] * 2
    path.unlink()
    assert files.found(hashes) == ()


def test_the_hash_is_that_of_the_tensors_whatever_the_header_says(tmp_path: Path, hashes: HashCache) -> None:
    paths = [lora(tmp_path / "a.safetensors"), lora(tmp_path / "b.safetensors", note="another header")]
    expected = hashlib.sha256(TENSORS["a.lora_up.weight"].tobytes()).hexdigest()[:12]
    assert [lora_hash(each, hashes) for each in LoraFiles([tmp_path]).found(hashes)] == [expected] * 2
    again = HashCache(tmp_path / "hashes.json")
    assert [again.known_tensors(path)[:12] for path in paths] == [expected] * 2
    assert [each.hash for each in LoraFiles([tmp_path]).found(again)] == [expected] * 2
    assert again.known(paths[0]) == ""  # the whole file has another
