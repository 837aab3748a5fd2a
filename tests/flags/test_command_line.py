"""The command line, including A1111's names."""

import socket
from base64 import b64encode
from dataclasses import asdict
from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.base.root import ROOT
from modules.flags.checks import port_is_free, require_free_port
from modules.flags.command_line import parse
from modules.flags.credentials import Credentials
from modules.flags.flags import Flags
from modules.flags.tables import NOT_NEEDED

SCREEN = {"DISPLAY": ":0"}


def test_without_flags_everything_has_its_default() -> None:
    assert parse([], SCREEN) == Flags(
        port=7860,
        server_name="127.0.0.1",
        data_dir=ROOT,
        models_dir=ROOT / "models",
        ckpt=None,
        ckpt_dirs=(),
        precision="auto",
        use_cpu=False,
        memory="auto",
        tiled_vae=False,
        theme="auto",
        autolaunch=True,
        loglevel="INFO",
        log_json=False,
        auth=Credentials(),
        allow_hosts=(),
        cors_origins=(),
        tls_keyfile=None,
        tls_certfile=None,
        allow_url_fetch=False,
        max_queued_jobs=100,
        remarks=(),
    )


def test_relative_paths_count_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("more").mkdir()
    Path("a.safetensors").touch()
    read = parse(["--data-dir", "data", "--ckpt", "a.safetensors", "--ckpt-dir", "more"], SCREEN)
    assert (read.data_dir, read.models_dir) == (tmp_path / "data", tmp_path / "data/models")
    assert (read.ckpt, read.ckpt_dirs) == (tmp_path / "a.safetensors", (tmp_path / "more",))
    assert read.outputs_dir == tmp_path / "data/outputs"
    Path("m").mkdir()
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
        ("--highvram", "memory", "whole"),
        ("--always-gpu", "memory", "whole"),
        ("--medvram", "memory", "parts"),
        ("--always-normal-vram", "memory", "parts"),
        ("--medvram-sdxl", "memory", "parts-sdxl"),
        ("--lowvram", "memory", "layers"),
        ("--always-no-vram", "memory", "layers"),
        ("--tiled-vae", "tiled_vae", True),
        ("--always-cpu", "use_cpu", True),
        ("--theme dark", "theme", "dark"),
        ("--no-autolaunch", "autolaunch", False),
        ("--autolaunch", "autolaunch", True),
        ("--loglevel debug", "loglevel", "DEBUG"),
        ("--log-json", "log_json", True),
        ("--listen --auth ann:secret", "server_name", "0.0.0.0"),
        ("--listen --auth ann:secret --server-name 10.0.0.2", "server_name", "10.0.0.2"),
        ("--listen-without-auth", "server_name", "0.0.0.0"),
        ("--auth ann:secret", "server_name", "127.0.0.1"),
        ("--allow-host Studio.example --allow-host b", "allow_hosts", ("studio.example", "b")),
        (
            "--cors-allow-origins https://A.example/,http://b:3000",
            "cors_origins",
            ("https://a.example", "http://b:3000"),
        ),
        ("--cors-allow-origins * --auth ann:secret", "cors_origins", ("*",)),
        ("--allow-url-fetch", "allow_url_fetch", True),
        ("--max-queued-jobs 3", "max_queued_jobs", 3),
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
        ("--prot 1", "unknown flag --prot; did you mean --port?"),
        ("--wholly-other", "unknown flag --wholly-other; --help lists all flags."),
        ("--ckpt nowhere.safetensors", "--ckpt nowhere.safetensors: no such file or folder; check the path."),
        ("--ckpt-dir setup.txt", "--ckpt-dir setup.txt: expected a folder, not a file; use --ckpt for a single file."),
        (
            "--server-name 0.0.0.0",
            "Palimpsest needs a password to listen to other machines (on 0.0.0.0): add --auth user:password or "
            "--auth-file FILE, or --listen-without-auth if you really want none.",
        ),
        (
            "--listen",
            "Palimpsest needs a password to listen to other machines (on 0.0.0.0): add --auth user:password or "
            "--auth-file FILE, or --listen-without-auth if you really want none.",
        ),
        (
            "--cors-allow-origins *",
            "--cors-allow-origins * would let any website use this server without a password; "
            "list the origins, or add --auth user:password.",
        ),
        (
            "--cors-allow-origins studio.example",
            "--cors-allow-origins studio.example: expected an origin such as https://studio.example.",
        ),
        ("--tls-certfile setup.txt", "--tls-certfile also needs --tls-keyfile."),
        (
            "--share",
            "--share is not supported: Palimpsest uses no third-party server; use --listen with --auth, "
            "or an SSH tunnel.",
        ),
        ("--allow-host http://a", "--allow-host http://a: expected a host name without scheme or port."),
        ("--max-queued-jobs 0", "--max-queued-jobs 0: expected a number from 1 to 100000."),
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


def basic(pair: str) -> str:
    return "Basic " + b64encode(pair.encode()).decode()


@pytest.mark.parametrize(
    ("words", "environ", "admitted"),
    [
        ("--auth ann:secret", {}, ["ann:secret"]),
        ("--auth ann:secret,bob:b:c", {}, ["ann:secret", "bob:b:c"]),
        ("--gradio-auth ann:secret --api-auth bob:other", {}, ["ann:secret", "bob:other"]),
        ("--auth-file users.txt", {}, ["eve:with, a comma", "dan:ü"]),
        ("--gradio-auth-path users.txt --auth ann:secret", {}, ["eve:with, a comma", "ann:secret"]),
        ("", {"PALIMPSEST_AUTH": "env:word"}, ["env:word"]),
    ],
)
def test_who_is_let_in(
    words: str, environ: dict[str, str], admitted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("users.txt").write_text("# who\n\neve:with, a comma\ndan:ü\n", "utf-8")
    auth = parse(words.split(), environ).auth
    assert auth
    for pair in admitted:
        assert auth.admit(basic(pair))
        assert not auth.admit(basic(pair + "x"))
    for wrong in (
        "",
        "Basic",
        "Basic ",
        "Basic !",
        basic(""),
        basic(":"),
        basic("ann:"),
        "Bearer x",
        basic("mallory:m"),
    ):
        assert not auth.admit(wrong)


def test_without_passwords_nobody_is_admitted_by_one() -> None:
    assert not parse([], {}).auth
    assert not parse([], {}).auth.admit(basic("ann:secret"))


@pytest.mark.parametrize(
    "words",
    ["--auth secretword", "--auth :secretword", "--auth=secretword",
     "--auth ann:half secretword", "--auth=", "--auth-file users.txt"],
)  # fmt: skip
def test_a_password_is_shown_in_no_error(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("users.txt").write_text("secretword\n", "utf-8")
    with pytest.raises(WebuiError) as told:
        parse(words.split(), {})
    assert "secretword" not in str(told.value)


def test_a_password_is_shown_in_no_view_of_the_flags() -> None:
    read = parse(["--auth", "ann:secret", "--listen"], {})
    views = [repr(read), str(read), str(asdict(read)), str(vars(read)), str(vars(read.auth)), repr(read.remarks)]
    assert not [view for view in views if "secret" in view or "ann" in view]
    assert repr(read.auth) == "***"


def test_what_no_password_means_is_told() -> None:
    (remark,) = parse(["--listen-without-auth"], {}).remarks
    assert remark.startswith("--listen-without-auth: anyone who can reach this machine over the network can use ")
    assert parse(["--listen", "--auth", "a:b"], {}).remarks == (
        "Passwords cross the network unencrypted: add --tls-certfile, or put a proxy with TLS in front.",
    )


@pytest.mark.parametrize(
    ("flags", "url", "is_local"),
    [
        (Flags(), "http://127.0.0.1:7860", True),
        (Flags(server_name="::1"), "http://[::1]:7860", True),
        (Flags(server_name="0.0.0.0", tls_certfile=Path("c")), "https://127.0.0.1:7860", False),
        (Flags(server_name="10.0.0.2"), "http://10.0.0.2:7860", False),
    ],
)
def test_where_the_page_is(flags: Flags, url: str, is_local: bool) -> None:
    assert (flags.url, flags.is_local) == (url, is_local)


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        ("--ckpt-dir", "ckpt_dirs"),
        ("--lora-dir", "lora_dirs"),
        ("--embeddings-dir", "embeddings_dirs"),
        ("--hypernetwork-dir", "hypernetwork_dirs"),
        ("--vae-dir", "vae_dirs"),
    ],
)
def test_a_folder_more_is_one_more_each_time(flag: str, field: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    read = parse([flag, str(one), flag, str(two), flag, str(one)], SCREEN)
    assert getattr(read, field) == (one, two)
    with pytest.raises(WebuiError, match="no such file or folder"):
        parse([flag, str(one), flag, str(tmp_path / "typo")], SCREEN)


def test_a_models_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WebuiError, match=r"--models-dir .*modles: no such file or folder; check the path"):
        parse(["--models-dir", str(tmp_path / "modles")], SCREEN)


def test_a_models_folder_without_any_that_is_read_is_told(tmp_path: Path) -> None:
    (remark,) = parse(["--models-dir", str(tmp_path)], SCREEN).remarks
    assert "it has none of the folders Stable-diffusion, Lora, LyCORIS, VAE, embeddings" in remark
    (tmp_path / "VAE").mkdir()
    assert parse(["--models-dir", str(tmp_path)], SCREEN).remarks == ()


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(WebuiError, match=r"--data-dir .*data: expected a folder"):
        parse(["--data-dir", str(tmp_path / "data")], SCREEN)
    with pytest.raises(WebuiError, match=r"--data-dir .*inside: expected a folder, but .*data is a file"):
        parse(["--data-dir", str(tmp_path / "data" / "inside")], SCREEN)


def test_the_last_of_two_data_folders_counts_and_that_is_told(tmp_path: Path) -> None:
    read = parse(["--data-dir", str(tmp_path / "a"), f"--data-dir={tmp_path / 'b'}"], SCREEN)
    assert read.data_dir == tmp_path / "b"
    assert read.remarks == ("--data-dir was given more than once; the last one counts.",)
