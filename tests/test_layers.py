"""The import rule: a module imports only from the floors below its own, and heavy packages only in their own rooms.

`docs/architecture.md` draws the floors; `FLOORS` and `HOMES` contain the same as data.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Lowest first. Rooms of one floor do not import each other.
FLOORS = (
    ("base",),
    ("schema", "clip", "flags"),
    ("prompts",),
    ("infotext",),
    ("a1111", "extension"),
    ("sampling", "images", "store"),
    ("networks", "fetching"),
    ("processing",),
    ("starter",),  # the training of the bundled checkpoint: a separate program
    ("jobs",),
    ("ui", "api"),
    ("server",),
    ("app",),
    ("webui",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
NOT_IMPORTED = ("starter", "webui")  # by anybody

HOMES = {
    "gradio": ("ui",),
    "fastapi": ("api", "app"),
    "starlette": ("ui", "api", "app"),  # gradio and fastapi are both built on it
    "uvicorn": ("server", "app", "webui"),
    "huggingface_hub": ("fetching",),  # only this package may download models
    "httpx2": ("fetching",),
    "ray": ("jobs",),
    "torch": ("sampling", "networks", "processing", "starter"),
    "torchsde": (),  # a package of the tests
    "diffusers": ("networks", "processing", "starter"),
    "transformers": ("networks", "processing", "starter"),
    "accelerate": ("networks", "processing", "starter"),
    "cv2": ("images", "starter"),
    "skia": ("starter",),
    "scipy": (),  # a package of the tests
    "torchvision": (),  # see requirements.txt
}
ENGINE_ONLY = ("torch", "diffusers", "transformers", "accelerate", "torchsde")  # never in the web process


class Import(NamedTuple):
    module: str  # the importing module's dotted name
    line: int
    target: str  # the imported name: a module of ours if there is one, else as written
    at_load: bool  # outside functions and TYPE_CHECKING blocks

    def __str__(self) -> str:
        return f"{file_of(self.module)}:{self.line} imports {self.target}"


def ours() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    files = [*(ROOT / "modules").rglob("*.py"), ROOT / "webui.py", ROOT / "launch.py"]
    return {dotted(path): path for path in files if path.is_file()}


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def file_of(module: str) -> str:
    path = MODULES.get(module, ROOT / (module.replace(".", "/") + ".py"))
    return path.relative_to(ROOT).as_posix()


def room(module: str) -> str:
    """The key of `module` in FLOOR, or "" if it is on no floor."""
    parts = module.split(".")
    if parts[0] != "modules":
        return parts[0] if parts[0] in FLOOR else ""
    if len(parts) == 1:
        return "base"  # the version
    return parts[1] if parts[1] in FLOOR else ""


def imports_of(module: str, source: str) -> Iterator[Import]:
    """The imports in `source`, the text of `module`, relative ones resolved."""
    package = module if MODULES.get(module, Path()).name == "__init__.py" else module.rpartition(".")[0]

    def walk(node: ast.AST, at_load: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name, at_load)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, *([base] if base else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield Import(module, node.lineno, name if name in MODULES else base, at_load)
        for child in ast.iter_child_nodes(node):
            lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and child in node.body
            yield from walk(child, at_load and not lazy and not typing_only)

    yield from walk(ast.parse(source, file_of(module)), True)


MODULES = ours()


@cache
def imports() -> dict[str, list[Import]]:
    """What each module imports; a file that does not parse under this Python raises its SyntaxError."""
    return {module: list(imports_of(module, path.read_text("utf-8"))) for module, path in MODULES.items()}


def fault(found: Import) -> str:
    """How `found` breaks the rule, or ""."""
    here, package = room(found.module), found.target.split(".")[0]
    if package in HOMES and here not in HOMES[package]:
        homes = ", ".join(HOMES[package]) or "tests"
        return f"{found}: {package} may be imported only in {homes}"
    if package not in ("modules", "webui", "launch"):
        return ""
    there = room(found.target)
    if not there:
        return f"{found}: there is no floor for it in FLOORS"
    if here == there:
        return ""
    if there in NOT_IMPORTED:
        return f"{found}: nothing may import {there}"
    if FLOOR[there] == FLOOR[here]:
        return f"{found}: {here} and {there} stand on one floor and must not know each other"
    if FLOOR[there] > FLOOR[here]:
        return f"{found}: {there} stands above {here}"
    return ""


def loaded_with(module: str) -> Iterator[str]:
    """Our modules that importing `module` runs: itself, its packages, and everything these import in turn."""
    pending, seen = [module], set[str]()
    while pending:
        name = pending.pop()
        if name in seen or name not in MODULES:
            continue
        seen.add(name)
        yield name
        pending += [name.rpartition(".")[0], *(found.target for found in imports()[name] if found.at_load)]


def web_modules() -> list[str]:
    """The modules that the web process loads."""
    engine = ("sampling", "networks", "processing", "starter")
    return sorted(name for name in MODULES if name != "launch" and room(name) not in engine)


def test_every_module_lives_on_a_floor() -> None:
    homeless = [file_of(name) for name in MODULES if name != "launch" and not room(name)]
    assert not homeless, f"no floor in FLOORS for {homeless}"


def test_modules_import_only_from_floors_below_and_heavy_packages_stay_at_home() -> None:
    faults = [fault(found) for name, found_in in imports().items() if name != "launch" for found in found_in]
    assert not list(filter(None, faults)), "\n" + "\n".join(filter(None, faults))


def test_the_launcher_needs_nothing_installed() -> None:
    reached = [found for name in loaded_with("launch") for found in imports()[name]]
    foreign = [found for found in reached if found.target.split(".")[0] not in {*sys.stdlib_module_names, "modules"}]
    assert not foreign, "\n".join(f"{found}, but launch.py runs before anything is installed" for found in foreign)


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges = {
        name: {found.target for found in found_in if found.at_load and found.target in MODULES}
        for name, found_in in imports().items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "import cycle: " + " > ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for target in sorted(edges[name] - {name}):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())


def test_the_source_gives_the_web_process_no_way_to_torch() -> None:
    faults = {
        f"{found}, and the web process loads {file_of(name)} through {start}"
        for start in web_modules()
        for name in loaded_with(start)
        for found in imports()[name]
        if found.at_load and found.target.split(".")[0] in ENGINE_ONLY
    }
    assert not faults, "\n" + "\n".join(sorted(faults))


@pytest.mark.slow
def test_a_web_process_has_not_loaded_torch() -> None:
    program = (
        "import importlib, sys\n"
        f"for name in {web_modules()!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {ENGINE_ONLY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.split()) == (0, []), ran.stderr


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("modules.store.outputs", "import torch", "torch may be imported only in sampling, networks"),
        ("modules.store.outputs", "from modules.images import masks", "stand on one floor"),
        ("modules.prompts.tags", "def f():\n    from ..jobs import queue", "jobs stands above prompts"),
        ("modules.schema.request", "import modules.app", "app stands above schema"),
        ("modules.jobs.workers.process", "from modules.starter import train", "nothing may import starter"),
        ("modules.ui.form", "import fastapi", "fastapi may be imported only in api, app"),
        ("modules.processing.plan", "from modules.networks import files", ""),
        ("modules.schema.request", "from modules.base import errors, fields", ""),
        ("modules.ui.form", "import gradio as gr", ""),
    ],
)
def test_the_rule_catches(module: str, source: str, reason: str) -> None:
    (found,) = {fault(each) for each in imports_of(module, source)}
    assert reason in found if reason else not found
