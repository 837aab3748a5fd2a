"""Extensions: finding and loading them, and what they offer. A broken extension is reported and left out.

An extension is a folder with an `extension.py`. Bundled extensions are in `extensions` next to webui.py, others in the
`extensions` folder of the user's data. A file named `disabled` next to `extension.py` turns an extension off.
"""

import difflib
import importlib.util
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import ValidationError

from modules.base.errors import WebuiError
from modules.base.fields import Param, explained, params
from modules.base.root import EXTENSIONS
from modules.extension.hooks import Arguments, Extension, Request, Script
from modules.infotext.grammar import FormKind
from modules.schema.catalog import Catalog
from modules.schema.request import GenerationRequest, Img2ImgRequest
from modules.schema.upscalers import UPSCALERS, Upscaler, find

log = logging.getLogger(__name__)

FILE = "extension.py"
OFF = "disabled"
PACKAGE = "palimpsest_extension_"  # prefix of an extension's module name


class ExtensionCall(NamedTuple):
    """An extension named by a request, and its arguments."""

    name: str
    extension: Extension
    arguments: Arguments


@dataclass(frozen=True)
class Extensions:
    """The loaded extensions, by folder name; `problems` are messages about the others.

    `upscalers` are the built-in ones followed by those of the extensions.
    """

    loaded: dict[str, Extension]
    all_scripts: tuple[Script, ...]
    problems: tuple[str, ...] = ()
    upscalers: tuple[Upscaler, ...] = UPSCALERS

    def scripts(self, kind: FormKind) -> tuple[Script, ...]:
        """The scripts of a form's dropdown."""
        return tuple(script for script in self.all_scripts if kind in script.kinds)

    def script(self, kind: FormKind, name: str) -> Script:
        """The script with this name, ignoring case. Raises WebuiError with the closest name if there is none."""
        offered = {script.name.casefold(): script for script in self.scripts(kind)}
        script = offered.get(name.strip().casefold())
        if script is not None:
            return script
        elsewhere = {script.name.casefold() for script in self.all_scripts}
        if name.strip().casefold() in elsewhere:
            other = "img2img" if kind == "txt2img" else "txt2img"
            raise WebuiError(f"Script (script_name) = {name!r}: it is only available for {other}.", field="script_name")
        near = difflib.get_close_matches(name.strip().casefold(), offered, 1, 0.0)
        nearest = f" Did you mean {offered[near[0]].name!r}?" if near else ""
        raise WebuiError(
            f"Script (script_name) = {name[:100]!r}: there is no such script.{nearest}", field="script_name"
        )

    def chosen(self, request: GenerationRequest) -> tuple[FormKind, Script, Arguments]:
        """The script that `request` names, and its arguments. Raises WebuiError if either is invalid."""
        kind = kind_of(request)
        script = self.script(kind, request.script_name)
        return kind, script, script.arguments(kind).parse(request.script_args)

    def calls(self, request: GenerationRequest) -> tuple["ExtensionCall", ...]:
        """The extensions that `request` names. Raises WebuiError for an unknown name or an invalid argument."""
        found: list[ExtensionCall] = []
        for name, values in request.extensions.items():
            extension = self.loaded.get(name)
            if extension is None:
                near = difflib.get_close_matches(name, self.loaded, 1, 0.0)
                nearest = f"; did you mean {near[0]!r}?" if near else "."
                raise WebuiError(f"extensions: no extension named {name[:100]!r}{nearest}", field="extensions")
            try:
                arguments = extension.arguments()(**values)
            except ValidationError as error:
                wrong = explained(extension.arguments(), error)
                field = f"extensions.{name}.{wrong.field}"
                raise WebuiError(f"{name}: {wrong.message}", wrong.hint, field) from error
            found.append(ExtensionCall(name, extension, arguments))
        return tuple(found)

    def checked(self, request: Request, catalog: Catalog) -> Request:
        """`request` with its script's exact name. Raises WebuiError as `chosen` and `calls` do."""
        self.calls(request)
        if not request.script_name:
            return request
        kind, script, arguments = self.chosen(request)
        script.check(kind, request, arguments, catalog)
        return request.model_copy(update={"script_name": script.name})

    def described(self, kind: FormKind, catalog: Catalog) -> list[dict[str, Any]]:
        """The scripts of a form and their arguments by position, as JSON-able values."""
        return [
            {
                "name": script.name,
                "description": script.description,
                "args": [_described(param, catalog) for param in params(script.arguments(kind)).values()],
                "offers": {name: dict(by) for name, by in script.offers(kind, catalog).items()},
            }
            for script in self.scripts(kind)
        ]


def kind_of(request: object) -> FormKind:
    return "img2img" if isinstance(request, Img2ImgRequest) else "txt2img"


def load(users: Path | None = None) -> Extensions:
    """The bundled extensions, then those in the folder `users`. Never raises."""
    loaded: dict[str, Extension] = {}
    scripts: dict[str, Script] = {}
    problems: list[str] = []
    upscalers = UPSCALERS
    for folder in _folders([EXTENSIONS, *([users] if users else [])]):
        try:
            extension = _extension(folder)
            offered = {script.name.casefold(): script for script in extension.scripts()}
            taken = sorted(script.name for name, script in offered.items() if name in scripts)
            if taken:
                raise WebuiError(f"there is a script {taken[0]!r} already")
            rows = _upscalers(extension, upscalers)
        except (Exception, SystemExit) as error:
            reason = str(error) if isinstance(error, WebuiError) else f"{type(error).__name__}: {error}"
            problem = f"The extension {folder.name!r} could not be loaded ({reason}); everything else works."
            log.error(problem, exc_info=None if isinstance(error, WebuiError) else error)
            problems.append(problem)
        else:
            loaded[folder.name] = extension
            scripts |= offered
            upscalers += rows
    ordered = sorted(scripts.values(), key=lambda script: script.name.casefold())
    return Extensions(loaded, tuple(ordered), tuple(problems), upscalers)


def _upscalers(extension: Extension, there: tuple[Upscaler, ...]) -> tuple[Upscaler, ...]:
    """The upscalers it adds. Raises WebuiError for a name in use, and for an upscaler that cannot enlarge anything."""
    rows: tuple[Upscaler, ...] = ()
    for row in extension.upscalers():
        if any(find(name, (*there, *rows)) for name in (row.name, *row.aliases)):
            raise WebuiError(f"there is an upscaler {row.name!r} already")
        if row.interpolation is None and not callable(row.function):
            raise WebuiError(f"the upscaler {row.name!r} has no function")
        rows += (row,)
    return rows


def _folders(roots: Iterable[Path]) -> list[Path]:
    """The folders of enabled extensions; if two have the same name, only the first."""
    found: dict[str, Path] = {}
    for root in roots:
        if not root.is_dir():
            continue
        for folder in sorted(root.iterdir()):
            is_on = (folder / FILE).is_file() and not (folder / OFF).exists() and not folder.name.startswith(".")
            if is_on:
                found.setdefault(folder.name, folder)
    return list(found.values())


def _extension(folder: Path) -> Extension:
    module = _module(folder)
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Extension) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise WebuiError(f"{FILE} contains {len(classes)} subclasses of Extension, expected one")
    return classes[0]()


def _module(folder: Path) -> ModuleType:
    """`extension.py` as a package of its own, so that it can import files next to it (`from . import axes`)."""
    name = PACKAGE + "".join(sign if sign.isalnum() else "_" for sign in folder.name)
    spec = importlib.util.spec_from_file_location(name, folder / FILE, submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        del sys.modules[known]  # from an earlier load: its files may have changed
    sys.modules[name] = module  # before it runs: pydantic and dataclasses look up a class's module there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _described(param: Param, catalog: Catalog) -> dict[str, Any]:
    control = param.control
    choices: Sequence[str] = catalog.names(control.choices) if isinstance(control.choices, str) else control.choices
    return {
        "name": param.name,
        "label": control.label,
        "kind": control.kind,
        "minimum": param.widget_minimum,
        "maximum": param.widget_maximum,
        "step": control.step,
        "choices": list(choices),
        "unlisted": list(control.unlisted),
        "counts": param.type is int,  # then the value of a choice is its index
        "default": list(param.default) if isinstance(param.default, tuple) else param.default,
        "description": param.description,
        "lines": control.lines,
        "placeholder": control.placeholder,
    }
