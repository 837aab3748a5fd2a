"""Names that were replaced by the field's standard terms do not come back."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("modules", "extensions", "launch.py", "webui.py", ".ci")
# Each had several meanings, or was used in this project only.
CLASSES = frozenset(
    {"Walk", "Route", "Shelf", "Ledger", "Desk", "Wanted", "Leg", "Place", "Words", "Asked", "Told", "Said", "Made",
     "Kind", "Entry"}
)  # fmt: skip
NAMES = frozenset(
    {"told", "said", "wanted", "asked", "walked", "told_apart", "said_of", "said_beside", "sizes_told", "recognises",
     "recognise", "normalised"}
)  # fmt: skip
IN_SCRIPTS = re.compile(r"(?:function|async|this\.|class|export const) *(?:told|said|wanted|asked|walked|tell)\b")


def python_files(*roots: str) -> Iterator[Path]:
    """Without the training program, which is not part of the product."""
    for root in roots:
        files = [ROOT / root] if root.endswith(".py") else sorted((ROOT / root).rglob("*.py"))
        yield from (file for file in files if "starter" not in file.parts)


def names_in(text: str) -> set[str]:
    """The names that a program declares, imports or uses as attributes, without leading underscores; not its
    variables.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.alias():
                names.add(node.name)
            case ast.ClassDef():
                names |= {node.name} | _assigned(node.body)
            case ast.Module():
                names |= _assigned(node.body)
            case ast.Attribute():
                names.add(node.attr)
            case _:
                pass
    return {name.lstrip("_") for name in names}


def _assigned(body: list[ast.stmt]) -> set[str]:
    targets = (
        target
        for each in body
        for target in (each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", None)])
    )
    return {target.id for target in targets if isinstance(target, ast.Name)}


def found(old: frozenset[str], *roots: str) -> dict[str, list[str]]:
    """The old names by file. Only files that contain one of the words are parsed, as parsing takes a while."""
    word = re.compile(rf"\b_*(?:{'|'.join(old)})\b")
    texts = ((file, file.read_text("utf-8")) for file in python_files(*roots))
    names = {str(file.relative_to(ROOT)): names_in(text) & old for file, text in texts if word.search(text)}
    return {file: sorted(here) for file, here in names.items() if here}


def test_the_search_sees_a_name() -> None:
    text = "class Place:\n    told: int\ndef _wanted(): return x.said  # asked"
    assert names_in(text) & (CLASSES | NAMES) == {"Place", "told", "wanted", "said"}
    assert IN_SCRIPTS.search("this.told = 1;")
    assert not IN_SCRIPTS.search("// what is told")


@pytest.mark.parametrize(("old", "roots"), [(CLASSES, (*PRODUCT, "tests")), (NAMES, PRODUCT)], ids=["types", "names"])
def test_old_names_are_gone(old: frozenset[str], roots: tuple[str, ...]) -> None:
    assert found(old, *roots) == {}


def test_old_names_are_gone_from_the_scripts() -> None:
    scripts = sorted((ROOT / "modules/ui/assets").rglob("*.js"))
    assert [file.name for file in scripts if IN_SCRIPTS.search(file.read_text("utf-8"))] == []
