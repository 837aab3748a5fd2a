"""The command line, A1111's names included."""

import socket
from pathlib import Path

import pytest

from modules.errors import WebuiError
from modules.flags import NOT_NEEDED, ROOT, Flags, parse, port_is_free, require_free_port

SCREEN = {"DISPLAY": ":0"}


def test_without_flags_everything_has_its_default() -> None:
    assert parse([], SCREEN) == Flags(
        port=7860,
        server_name="127.0.0.1",
        data_dir=ROOT,
        models_dir=ROOT / "models",
        ckpt=None,
        ckpt_dir=None,
        precision="auto",
        use_cpu=False,
        theme="auto",
        autolaunch=True,
        loglevel="INFO",
        remarks=(),
    )


def test_relative_paths_count_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("more").mkdir()
    Path("a.safetensors").touch()
    read = parse(["--data-dir", "data", "--ckpt", "a.safetensors", "--ckpt-dir", "more"], SCREEN)
    assert (read.data_dir, read.models_dir) == (tmp_path / "data", tmp_path / "data/models")
    assert (read.ckpt, read.ckpt_dir) == (tmp_path / "a.safetensors", tmp_path / "more")
    assert read.outputs_dir == tmp_path / "data/outputs"
    assert parse(["--data-dir", "data", "--models-dir", "m"], SCREEN).models_dir == tmp_path / "m"


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("--port 8000", "port", 8000),
        ("--port=8000", "port", 8000),
        ("--server-name localhost", "server_name", "localhost"),
        ("--no-half", "precision", "full"),
        ("--precision full", "precision", "full"),
        ("--precision autocast", "precision", "auto"),
        ("--use-cpu all", "use_cpu", True),
        ("--use-cpu", "use_cpu", True),
        ("--use-cpu all --no-half", "use_cpu", True),
        ("--theme dark", "theme", "dark"),
        ("--no-autolaunch", "autolaunch", False),
        ("--autolaunch", "autolaunch", True),
        ("--loglevel debug", "loglevel", "DEBUG"),
    ],
)
def test_a_flag_sets_its_field(words: str, field: str, value: object) -> None:
    assert getattr(parse(words.split(), SCREEN), field) == value


@pytest.mark.parametrize("flag", sorted(NOT_NEEDED))
def test_a_flag_that_needs_nothing_here_is_taken_with_one_line(flag: str) -> None:
    words, meaning = NOT_NEEDED[flag]
    read = parse([flag, *["1"] * words, "--port", "8000"], SCREEN)
    assert read.port == 8000
    assert read.remarks == (f"{flag} does nothing here: {meaning}.",)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--port x", "--port x: expected a number from 1 to 65535."),
        ("--port 0", "--port 0: expected a number from 1 to 65535."),
        ("--prot 1", "--prot is no flag of Palimpsest; did you mean --port?"),
        ("--wholly-other", "--wholly-other is no flag of Palimpsest; --help lists all flags."),
        ("--ckpt nowhere.safetensors", "--ckpt nowhere.safetensors: there is no such file or folder; check the path."),
        ("--ckpt-dir setup.txt", "--ckpt-dir setup.txt: expected a folder; --ckpt takes a single file."),
        (
            "--server-name 0.0.0.0",
            "--server-name 0.0.0.0: expected 127.0.0.1, ::1 or localhost; Palimpsest answers only on this machine, "
            "as it has no passwords yet; reach it by an SSH tunnel.",
        ),
        (
            "--listen",
            "--listen is not offered: Palimpsest answers only on this machine, as it has no passwords yet; "
            "reach it by an SSH tunnel.",
        ),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("setup.txt").touch()
    with pytest.raises(WebuiError) as told:
        parse(words.split(), SCREEN)
    assert str(told.value) == sentence


def test_no_browser_is_opened_where_nobody_could_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert not parse([], {}).autolaunch
    assert parse([], {"WAYLAND_DISPLAY": "wayland-0"}).autolaunch
    assert parse(["--autolaunch"], {}).autolaunch


def test_a_taken_port_is_told_with_a_free_one_as_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not port_is_free("127.0.0.1", port)
        with pytest.raises(WebuiError) as told:
            require_free_port(Flags(port=port))
    assert str(told.value).startswith(
        f"port {port} is in use: another Palimpsest may be running at http://127.0.0.1:{port}; "
        "open that page, or start with --port "
    )
    assert port_is_free("127.0.0.1", port)
