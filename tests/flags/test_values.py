"""What each kind of flag takes, and the sentence for what it does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modules.base.errors import WebuiError
from modules.flags.values import (
    allowed_host,
    existing,
    folders,
    is_loopback,
    origins,
    port_number,
    queued_jobs,
    server_address,
)


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
        ("0.0.0.0", False), ("192.168.1.5", False), ("::", False), ("studio.example", False), ("", False),
    ],
)  # fmt: skip
def test_only_loopback_addresses_are_this_machine_alone(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own


@pytest.mark.parametrize(
    ("check", "text", "value"),
    [
        (port_number, "1", 1), (port_number, "65535", 65535), (queued_jobs, "100000", 100_000),
        (server_address, "fe80::1", "fe80::1"), (allowed_host, "Studio.Example", "studio.example"),
        (origins, "https://A.example/, http://b.example:8080 ,", ("https://a.example", "http://b.example:8080")),
        (origins, "*", ("*",)), (origins, "", ()),
    ],
)  # fmt: skip
def test_what_is_right_is_taken(check: Callable[[str], Any], text: str, value: Any) -> None:
    assert check(text) == value


@pytest.mark.parametrize(
    ("check", "text", "flag"),
    [
        (port_number, "0", "--port"), (port_number, "65536", "--port"), (port_number, "-1", "--port"),
        (port_number, "７８６０x", "--port"), (queued_jobs, "0", "--max-queued-jobs"),
        (queued_jobs, "1e3", "--max-queued-jobs"), (server_address, "a b", "--server-name"),
        (server_address, "", "--server-name"), (allowed_host, "http://a", "--allow-host"),
        (allowed_host, "a:80", "--allow-host"), (origins, "studio.example", "--cors-allow-origins"),
        (origins, "https://a.example/path", "--cors-allow-origins"), (origins, "ftp://a", "--cors-allow-origins"),
    ],
)  # fmt: skip
def test_what_is_wrong_names_flag_and_value(check: Callable[[str], Any], text: str, flag: str) -> None:
    with pytest.raises(WebuiError, match="expected") as refused:
        check(text)
    assert refused.value.field == flag
    assert text in str(refused.value)


def test_paths_become_absolute_and_are_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert folders("--lora-dir", [Path("models"), tmp_path / "models"]) == (tmp_path / "models",)
    assert existing("--ckpt-dir", None) is None


def test_a_path_that_is_missing_or_a_file_is_one_sentence_with_the_cure(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    assert existing("--ckpt", file) == file
    with pytest.raises(WebuiError, match="no such file or folder; check the path"):
        existing("--ckpt", tmp_path / "gone")
    with pytest.raises(WebuiError, match="expected a folder, not a file; use --ckpt for a single file"):
        existing("--ckpt-dir", file)
    with pytest.raises(WebuiError, match="expected a folder, not a file; give the folder that holds it"):
        existing("--lora-dir", file)
