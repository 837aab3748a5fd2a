"""The checks of `webui.py doctor` that need no server."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

from modules.base.root import ROOT
from modules.flags.flags import Flags
from modules.server.folders import ModelFolders

OLDEST: Final = (3, 11)
FREE_BYTES: Final = 2 * 10**9  # a day's pictures and a checkpoint


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    check: str
    passed: bool
    sentence: str


def installation(flags: Flags) -> Iterator[Finding]:
    """All checks that need no server."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("Python", sys.version_info >= OLDEST, f"{version}; 3.11 or newer is needed")
    lists = ("requirements.txt", "requirements-nodeps.txt")
    yield packages("\n".join((ROOT / name).read_text(encoding="utf-8") for name in lists))
    yield writable(flags.data_dir)
    free = shutil.disk_usage(flags.data_dir).free
    yield Finding("disk", free >= FREE_BYTES, f"{free / 1e9:.1f} GB are free in {flags.data_dir}")
    folders = ModelFolders.of(flags).checkpoints
    yield checkpoints({path.resolve() for folder in folders for path in folder.rglob("*.safetensors")})
    yield device()


def packages(requirements: str) -> Finding:
    """Whether every `name==version` of `requirements` is installed in that version."""
    wrong: list[str] = []
    for name, pinned in re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;]+)", requirements, re.MULTILINE):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found.partition("+")[0] != pinned:
            wrong.append(f"{name} is {found}, not {pinned}")
    return Finding("packages", not wrong, "; ".join(wrong) or "as pinned in requirements.txt")


def writable(folder: Path) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("data folder", False, f"{folder} cannot be written: {error.strerror}")
    return Finding("data folder", True, f"{folder} can be written")


def checkpoints(files: set[Path]) -> Finding:
    """Whether the header of each file can be read."""
    damaged: list[str] = []
    for path in sorted(files):
        try:
            with safe_open(path, framework="numpy") as content:  # pyright: ignore[reportUnknownVariableType]
                content.keys()
        except (SafetensorError, OSError) as error:
            damaged.append(f"{path.name} cannot be read: {error}")
    if not files:
        return Finding("checkpoints", False, "none found: put a .safetensors file in models/Stable-diffusion")
    return Finding("checkpoints", not damaged, "; ".join(damaged) or f"{len(files)} can be read")


def device() -> Finding:
    """The device that torch uses, read in a separate process so that this one does not have to import torch."""
    program = (
        "import torch; print(torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU')"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    last = (ran.stdout or ran.stderr).strip().splitlines()
    return Finding("device", ran.returncode == 0, f"torch {last[-1]}" if last else "torch printed nothing")
