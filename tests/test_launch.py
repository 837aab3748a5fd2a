"""The launcher, without a package index: the commands it would run are recorded instead."""

import os
import socket
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

import launch
from modules.base.errors import WebuiError
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
Usage = namedtuple("Usage", "total used free")  # the result of shutil.disk_usage
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]


class Machine:
    """A separate environment for `set_up`: packages by version, and the commands that were run in it."""

    def __init__(self) -> None:
        self.packages: dict[str, str] = {}
        self.programs: set[str] = set()
        self.commands: list[list[str]] = []
        self.refused: set[str] = set()  # a command that contains one of these words fails

    def run(self, command: list[str]) -> bool:
        self.commands.append(command)
        if self.refused & set(command):
            return False
        for word in command:
            if "==" in word:
                name, _, version = word.partition("==")
                self.packages[name] = version
        return True


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """No packages, no uv, enough disk, an empty virtual environment in tmp_path."""
    machine = Machine()
    monkeypatch.setattr(launch, "ran", machine.run)
    monkeypatch.setattr(launch, "installed", lambda package: machine.packages.get(package, ""))
    monkeypatch.setattr(launch.shutil, "which", lambda name: name if name in machine.programs else None)
    monkeypatch.setattr(launch.shutil, "disk_usage", lambda folder: Usage(100e9, 0, 100e9))
    monkeypatch.setattr(launch.sys, "prefix", str(tmp_path))
    monkeypatch.delenv("TORCH_COMMAND", raising=False)
    monkeypatch.delenv("CHROMIUM", raising=False)
    return machine


def test_torch_comes_first_then_the_rest_bound_to_it(machine: Machine) -> None:
    launch.set_up("palimpsest.stamp", "")
    torch, rest, alone = machine.commands
    assert torch == [*PIP, "torch==2.13.0"]
    assert rest[:7] == [*PIP, "diffusers==0.42.1"]
    assert [Path(word).name for word in rest[-4:]] == ["-c", "constraints.txt", "-c", "torch.txt"]
    assert not [word for word in rest if word.startswith("torch==")]
    assert alone == [*PIP, "--no-deps", "spandrel==0.4.2"]


def test_some_of_the_tests_packages_come_last_without_their_requirements(machine: Machine) -> None:
    launch.set_up("palimpsest-test.stamp", "")
    assert machine.commands[-1] == [
        *PIP, "--no-deps", "spandrel==0.4.2", "torchsde==0.2.6", "trampoline==0.1.2", "sd-prompt-reader==1.3.5"
    ]  # fmt: skip


def test_a_second_start_does_no_package_work(machine: Machine) -> None:
    launch.set_up("palimpsest.stamp", "")
    machine.commands.clear()
    launch.set_up("palimpsest.stamp", "")
    assert machine.commands == []


def test_the_tests_installation_serves_the_program_too_but_not_the_other_way_round(machine: Machine) -> None:
    launch.set_up("palimpsest.stamp", "")
    machine.commands.clear()
    launch.set_up("palimpsest-test.stamp", "")
    assert "pytest==9.2.0" in machine.commands[0]
    machine.commands.clear()
    launch.set_up("palimpsest.stamp", "")
    assert machine.commands == []


@pytest.mark.parametrize("changed", ["torch", "torchvision"])
def test_a_changed_torch_is_looked_at_again(machine: Machine, changed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "check_torchvision", lambda: None)
    launch.set_up("palimpsest.stamp", "")
    machine.packages[changed] = "0.1"
    machine.commands.clear()
    launch.set_up("palimpsest.stamp", "")
    assert machine.commands


def test_a_failed_installation_leaves_no_stamp_and_is_told_in_one_sentence(machine: Machine) -> None:
    machine.refused = {"gradio==6.31.0"}
    with pytest.raises(
        WebuiError, match=r"^the requirements could not be installed .* packages that are already installed are kept\.$"
    ):
        launch.set_up("palimpsest.stamp", "")
    machine.refused = set()
    machine.commands.clear()
    launch.set_up("palimpsest.stamp", "")
    assert [*PIP, "torch==2.13.0"] not in machine.commands, "torch was there already"
    assert len(machine.commands) == 2, "the requirements, and those without their own"


def test_a_torch_of_another_build_stays(machine: Machine) -> None:
    machine.packages["torch"] = "2.13.0+rocm7"
    launch.install_torch("")
    assert machine.commands == []


def test_the_user_chooses_where_torch_comes_from(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    launch.install_torch("https://example.invalid/cpu")
    machine.packages.clear()
    monkeypatch.setenv("TORCH_COMMAND", "pip install torch==2.14.0 --pre")
    launch.install_torch("")
    assert machine.commands == [
        [*PIP, "--index-url", "https://example.invalid/cpu", "torch==2.13.0"],
        [*PIP, "torch==2.14.0", "--pre"],
    ]


def test_uv_installs_the_rest_where_it_can_serve_and_pip_where_it_cannot(machine: Machine) -> None:
    machine.programs = {"uv"}
    uv = ["uv", "pip", "install", "--python", sys.executable]
    launch.install("x", ["gradio==6.31.0"])
    machine.refused = {"uv"}
    launch.install("x", ["gradio==6.31.0"])
    assert machine.commands == [[*uv, "gradio==6.31.0"], [*uv, "gradio==6.31.0"], [*PIP, "gradio==6.31.0"]]


def test_too_little_disk_is_told_before_anything_is_fetched(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.shutil, "disk_usage", lambda folder: Usage(100e9, 97e9, 3e9))
    with pytest.raises(WebuiError, match=r"has 3\.0 GB free and a first installation needs 4: make room\.$"):
        launch.set_up("palimpsest.stamp", "")
    assert machine.commands == []


def test_a_torchvision_that_does_not_fit_is_told_with_the_command_that_removes_it(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    machine.packages |= {"torch": "2.13.0+cpu", "torchvision": "0.28.0"}
    with pytest.raises(WebuiError) as told:
        launch.check_torchvision()
    assert str(told.value) == (
        "torchvision 0.28.0 does not match torch 2.13.0+cpu: "
        f"remove it with `{sys.executable} -m pip uninstall --yes torchvision`."
    )
    (package / "__init__.py").write_text("")
    launch.check_torchvision()


def test_the_checks_of_the_scripts_are_installed_once(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    (tmp_path / "package-lock.json").write_text("{}")
    machine.refused = {"ci"}
    launch.set_up_node()  # without a network: the tests run anyway
    assert len(machine.commands) == launch.NPM_TRIES
    machine.refused = set()
    machine.commands.clear()
    launch.set_up_node()
    (command,) = machine.commands
    assert [Path(word).name for word in command[:2]] == ["node.exe" if os.name == "nt" else "node", "npm-cli.js"]
    assert command[2:5] == ["--prefix", str(tmp_path), "ci"]
    assert all(Path(word).is_file() for word in command[:2])
    launch.set_up_node()
    assert len(machine.commands) == 1, "nothing has changed"
    (tmp_path / "package-lock.json").write_text('{"lockfileVersion": 3}')
    launch.set_up_node()
    assert len(machine.commands) == 2, "other versions are wanted"


def test_a_system_python_is_left_alone(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(launch.sysconfig, "get_path", lambda name: str(tmp_path))
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    with pytest.raises(WebuiError, match=r"which forbids pip: leave --no-venv out\.$"):
        launch.set_up("palimpsest.stamp", "")


def test_a_chromium_is_found_or_installed_or_asked_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.programs = {"google-chrome"}
    assert launch.chromium() == "google-chrome"
    machine.programs = set()
    with pytest.raises(WebuiError, match="install Chromium or Chrome, or set CHROMIUM to one"):
        launch.chromium()
    machine.programs = {"apt-get"}
    monkeypatch.setattr(launch.os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(launch, "ran", lambda command: machine.programs.add("chromium") or machine.run(command))
    assert launch.chromium() == "chromium"
    assert [command[:2] for command in machine.commands] == [["apt-get", "update"], ["apt-get", "install"]]


@pytest.mark.parametrize("words", [["--torch-index", "u", "--port", "1"], ["--port", "1", "--torch-index=u"]])
def test_the_launchers_own_flags_do_not_go_on_to_webui(words: list[str]) -> None:
    ours, rest = launch.own_flags().parse_known_args(words)
    assert (ours.torch_index, rest) == ("u", ["--port", "1"])


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a copy of launch.py, whose webui.py only prints its flags, with this environment's Python."""
    for name in (
        "launch.py",
        "modules/__init__.py",
        *(f"modules/flags/{path.name}" for path in (ROOT / "modules" / "flags").glob("*.py")),
        "modules/base/errors.py",
        "modules/base/names.py",
        "modules/base/root.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "webui.py").write_text("import sys; print(sys.argv[1:])")
    environ = {key: value for key, value in os.environ.items() if key != "COMMANDLINE_ARGS"}

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(tmp_path / "launch.py"), *words]
        return subprocess.run(command, env=environ | more, capture_output=True, text=True)

    return run


def test_webui_gets_the_other_flags(start: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    port = str(free_port())
    ran = start("--skip-install", "--no-venv", "--theme", "dark", COMMANDLINE_ARGS=f"--port {port}")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.strip() == str(["--port", port, "--theme", "dark"])


def test_mistakes_end_with_one_sentence_and_code_1(start: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = start("--skip-install", "--no-venv", "--port", str(taken.getsockname()[1]))
    mistyped = start("--skip-install", "--no-venv", "--prot", "1")
    for ran, words in ((busy, "is in use: another Palimpsest"), (mistyped, "did you mean --port?")):
        assert (ran.returncode, ran.stdout) == (1, "")
        assert words in ran.stderr
        assert len(ran.stderr.splitlines()) == 1


def test_help_needs_no_installation(start: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    ran = start("--help")
    assert ran.returncode == 0
    assert "--torch-index URL" in ran.stdout
    assert "--ckpt-dir" in ran.stdout


@pytest.mark.parametrize("version", [(3, 10, 12), (3, 14, 0)])
def test_another_python_is_told_which_ones_will_do(version: tuple[int, int, int]) -> None:
    """The version check comes first in launch.py: it is run here with another version, up to the next import."""
    check = (ROOT / "launch.py").read_text().split("import hashlib")[0]
    program = f"import sys; sys.version_info = {version}\n{check}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.startswith(
        f"Python {version[0]}.{version[1]} cannot run Palimpsest, which needs 3.11, 3.12 or 3.13"
    )
    assert len(ran.stderr.splitlines()) == 1


def test_every_requirement_is_pinned_and_none_brings_torchvision() -> None:
    listed = [line for names in launch.LISTS.values() for name in names for line in launch.lines(name)]
    assert not [line for line in listed if "==" not in line]
    assert not [line for line in listed if line.startswith(("torchvision", "timm", "open_clip"))]
    resolved = {name for names in launch.LISTS.values() for name in names} - set(launch.NO_DEPS)
    lines = [line for name in resolved for line in launch.lines(name)]
    assert not [line for line in lines if line.startswith("spandrel")], "it would bring torchvision"
