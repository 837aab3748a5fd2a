"""The linter, the formatter and the type checker report nothing, and no function is too long to understand at once."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FUNCTION = 80  # lines


def complaints(*command: str) -> str:
    """What `python -m command` reports about the project; empty if it finds nothing."""
    ran = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def test_the_linter_is_content() -> None:
    assert not (said := complaints("ruff", "check", "--no-cache", "--output-format", "concise", ".")), "\n" + said


def test_the_formatter_is_content() -> None:
    assert not (said := complaints("ruff", "format", "--check", "--no-cache", ".")), "\n" + said


@pytest.mark.slow
def test_the_type_checker_is_content() -> None:
    assert not (said := complaints("basedpyright", "--pythonpath", sys.executable)), "\n" + said


@pytest.mark.slow
def test_the_type_checker_is_content_with_the_tests() -> None:
    """Looser rules, in tests/pyrightconfig.json: tests pass values that the program would refuse."""
    said = complaints("basedpyright", "--pythonpath", sys.executable, "--project", "tests/pyrightconfig.json")
    assert not said, "\n" + said


@pytest.mark.parametrize("folder", ["modules", "tests", ".ci"])
def test_a_function_is_one_thought(folder: str) -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "starter" not in path.parts  # a separate program
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long, f"more than {LONGEST_FUNCTION} lines:\n" + "\n".join(long)
