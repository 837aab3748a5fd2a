"""pyproject.toml is the only place for versions: generated files are current, and imported packages are declared."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import modules

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = PROJECT["dependency-groups"]
NOT_IMPORTED = set(PROJECT["tool"]["palimpsest"]["not-imported"])


def name_of(requirement: str) -> str:
    """The package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=\[; ]", requirement)[0]).lower()


RUNTIME = {name_of(each) for each in (*PROJECT["project"]["dependencies"], *GROUPS["no-deps"])}
STARTER = {name_of(each) for each in GROUPS["starter"]}
TESTS = {name_of(each) for name in ("test", "test-no-deps") for each in GROUPS[name] if isinstance(each, str)}
PINS = [each for group in (PROJECT["project"]["dependencies"], *GROUPS.values()) for each in group]


@cache
def imported(root: Path) -> dict[str, str]:
    """The packages that the Python files of a folder (or one file) import, each with the name of a file that does
    so.
    """
    found: dict[str, str] = {}
    for path in [root] if root.is_file() else sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in (name.partition(".")[0] for name in names):
                if name not in sys.stdlib_module_names and name not in ("modules", "tests", "launch"):
                    found.setdefault(distribution(name), path.name)
    return found


distributions = cache(packages_distributions)  # reads the files of every installed package


def distribution(package: str) -> str:
    """The name under which an imported package is installed; its own if it is not installed."""
    return name_of(distributions().get(package, [package])[0])


def undeclared(allowed: set[str], *folders: str) -> dict[str, str]:
    return {name: file for each in folders for name, file in imported(ROOT / each).items() if name not in allowed}


def test_the_requirement_files_are_what_pyproject_says() -> None:
    ran = subprocess.run([sys.executable, ".ci/pins.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


def test_what_is_imported_is_declared() -> None:
    product = {name for path in (ROOT / "modules").iterdir() if (name := f"modules/{path.name}") != "modules/starter"}
    shipped = {f"extensions/{name}" for name in shipped_extensions()}
    assert undeclared(RUNTIME, "launch.py", "webui.py", ".ci", *product, *shipped) == {}
    assert undeclared(RUNTIME | STARTER, "modules/starter") == {}
    assert undeclared(RUNTIME | STARTER | TESTS, "tests") == {}


def shipped_extensions() -> list[str]:
    """The extensions that .gitignore includes; all others belong to other people."""
    text = (ROOT / ".gitignore").read_text(encoding="utf-8")
    return re.findall(r"^!/extensions/(\w+)/$", text, re.MULTILINE)


def test_what_is_declared_is_imported_or_says_why() -> None:
    everywhere = {name for folder in ("modules", "extensions", "tests") for name in imported(ROOT / folder)}
    declared = RUNTIME | STARTER | TESTS
    assert declared - everywhere - NOT_IMPORTED == set()
    assert declared >= NOT_IMPORTED
    assert NOT_IMPORTED & everywhere == set(), "these are imported: they need no reason"


def test_each_package_has_one_exact_version() -> None:
    pins = [each for each in PINS if isinstance(each, str)]
    assert [each for each in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", each)] == []
    names = [name_of(each) for each in pins]
    assert sorted(names) == sorted(set(names))
    assert "torch==2.13.0" in pins


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)[:2] == ["Unreleased", modules.__version__]


def test_every_installed_package_states_its_licence() -> None:
    ran = subprocess.run([sys.executable, ".ci/licences.py"], cwd=ROOT, capture_output=True, text=True)
    rows = dict(re.findall(r"^(\S+) +\S+ +(.+)$", ran.stdout, re.MULTILINE))
    assert ran.returncode == 0, "\n".join(f"{name}: {said}" for name, said in rows.items() if said == "not stated")
    assert rows["fastapi-offline"] == "MIT"
    assert "MPL-2.0" in rows["orjson"], "a package that a requirement needs in turn is listed too"


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "NOTICE", "SECURITY.md", "docs/architecture.md"])
def test_files_and_folders_that_a_document_names_are_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/])(?:modules|tests|configs|extensions|docs|\.ci)/[\w./*-]*\w", text))
    assert named
    assert [each for each in sorted(named) if not list(ROOT.glob(each))] == []


@pytest.mark.parametrize(
    ("source", "package"),
    [("import cv2.dnn", "opencv-python-headless"), ("def f():\n    from yaml import safe_load", "pyyaml")],
)
def test_an_import_is_known_by_its_package(source: str, package: str, tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text(source)
    assert undeclared(RUNTIME - {package}, str(tmp_path)) == {package: "some.py"}
    assert undeclared(RUNTIME, str(tmp_path)) == {}
