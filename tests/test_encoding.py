"""Every text file is opened with an explicit encoding: the default on Windows is not UTF-8."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    *(ROOT / name for name in ("launch.py", "webui.py")),
    *(path for folder in ("modules", "extensions", ".ci") for path in sorted((ROOT / folder).rglob("*.py"))),
]


def unnamed(source: str) -> list[int]:
    """The lines that read or write text without naming an encoding."""
    found: list[int] = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        positional = len(node.args)
        if (called == "read_text" and positional == 0) or (called == "write_text" and positional == 1):
            found.append(node.lineno)
        elif called == "open" and (isinstance(node.func, ast.Name) or is_text_mode(node.args[:1])):
            mode = node.args[1:2] if isinstance(node.func, ast.Name) else node.args[:1]
            if not mode or is_text_mode(mode):
                found.append(node.lineno)
    return found


def is_text_mode(arguments: list[ast.expr]) -> bool:
    """Whether the first argument is a mode such as "w" or "a+" (and not the name of a file in an archive)."""
    mode = arguments[0].value if arguments and isinstance(arguments[0], ast.Constant) else None
    return isinstance(mode, str) and bool(mode) and set(mode) <= set("rwaxt+")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_files_are_opened_with_their_encoding(path: Path) -> None:
    assert unnamed(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ("path.read_text()", True),
        ("path.write_text(text, newline='\\n')", True),
        ("open(name)", True),
        ("path.open('a')", True),
        ("open(name, 'rb')", False),
        ("path.open('a', encoding='utf-8')", False),
        ("picture.open()", False),
        ("archive.open('name.txt')", False),
        ("path.read_text('ascii')", False),
    ],
)
def test_the_rule_catches(source: str, is_found: bool) -> None:
    assert bool(unnamed(source)) == is_found
