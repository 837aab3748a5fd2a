"""The folders of another program's installation (A1111, Forge, ComfyUI), which are read but never written."""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import yaml

from modules.base.errors import WebuiError

MAX_FILE = 1 << 20  # bytes of a start script or a list of folders; real files have a few hundred

CHECKPOINTS: Final = "checkpoints"
LORAS: Final = "loras"
EMBEDDINGS: Final = "embeddings"
VAES: Final = "vaes"
HYPERNETWORKS: Final = "hypernetworks"
TEXT_ENCODERS: Final = "text_encoders"
UPSCALERS: Final = "upscalers"
CONTROL: Final = "control"


@dataclass(frozen=True)
class Installation:
    """The parts of an installation that can be used here.

    folders: the existing folders by content (`CHECKPOINTS` …), in the program's search order.
    styles: its styles.csv files.  settings: its config.json.  remarks: a sentence for each part that cannot be used.
    """

    root: Path
    folders: Mapping[str, tuple[Path, ...]] = field(default_factory=dict[str, tuple[Path, ...]])
    styles: tuple[Path, ...] = ()
    settings: Path | None = None
    remarks: tuple[str, ...] = ()


A1111_FOLDERS: Mapping[str, tuple[str, ...]] = {  # inside the models folder
    CHECKPOINTS: ("Stable-diffusion", "diffusion_models"),
    LORAS: ("Lora", "LyCORIS"),
    EMBEDDINGS: ("embeddings",),  # in Forge Neo; A1111 has it in the data folder
    VAES: ("VAE",),
    HYPERNETWORKS: ("hypernetworks",),
    TEXT_ENCODERS: ("text_encoder",),
    UPSCALERS: ("ESRGAN", "RealESRGAN", "BSRGAN", "SwinIR", "ScuNET", "DAT", "HAT"),
    CONTROL: ("ControlNet",),
}
A1111_FLAGS: Mapping[str, str] = {
    "--ckpt-dir": CHECKPOINTS,
    "--ckpt-dirs": CHECKPOINTS,
    "--lora-dir": LORAS,
    "--lora-dirs": LORAS,
    "--lyco-dir-backcompat": LORAS,
    "--embeddings-dir": EMBEDDINGS,
    "--vae-dir": VAES,
    "--vae-dirs": VAES,
    "--hypernetwork-dir": HYPERNETWORKS,
    "--esrgan-models-path": UPSCALERS,
    "--realesrgan-models-path": UPSCALERS,
    "--bsrgan-models-path": UPSCALERS,
    "--swinir-models-path": UPSCALERS,
    "--scunet-models-path": UPSCALERS,
    "--dat-models-path": UPSCALERS,
    "--controlnet-dir": CONTROL,
    "--text-encoder-dir": TEXT_ENCODERS,
    "--text-encoder-dirs": TEXT_ENCODERS,
}
CONTROL_EXTENSION = "extensions/sd-webui-controlnet/models"  # another place for its ControlNets
START_SCRIPTS = ("webui-user.bat", "webui-user.sh")  # where users are told to put their flags

COMFY_FOLDERS: Mapping[str, str] = {  # ComfyUI's folder names, in its models folder and in its YAML file
    "checkpoints": CHECKPOINTS,
    "diffusers": CHECKPOINTS,
    "diffusion_models": CHECKPOINTS,
    "unet": CHECKPOINTS,  # the same folder before 2025
    "loras": LORAS,
    "embeddings": EMBEDDINGS,
    "vae": VAES,
    "hypernetworks": HYPERNETWORKS,
    "text_encoders": TEXT_ENCODERS,
    "clip": TEXT_ENCODERS,
    "upscale_models": UPSCALERS,
    "controlnet": CONTROL,
}
COMFY_LISTS = ("extra_model_paths.yaml", "extra_models_config.yaml")  # the second is that of the desktop app


def a1111(path: Path) -> Installation:
    """The A1111 or Forge installation at `path`: the folder with webui.py and models, or its data folder.

    Folder flags in its webui-user.bat or webui-user.sh are respected. Raises WebuiError if `path` is not one.
    """
    root = _root(path, "--a1111", ("", "webui", "stable-diffusion-webui"), _is_a1111, "webui.py and models")
    found = _Found(root, "--a1111")
    flags = list(_flags(root, found.remarks))
    data = _last(flags, "--data-dir", root) or root
    models = _last(flags, "--models-dir", root) or data / "models"
    others = [root / value for flag, value in flags if flag == "--model-ref"]
    homes = [root / value for flag, value in flags if flag == "--forge-ref-a1111-home"]
    for folder in (models, *others, *(home / "models" for home in homes)):
        for kind, names in A1111_FOLDERS.items():
            found.add(kind, (folder / name for name in names))
    found.add(EMBEDDINGS, (home / "embeddings" for home in (data, *homes)))
    found.add(CONTROL, (home / CONTROL_EXTENSION for home in (data, root, *homes)))
    for flag, value in flags:
        if flag in A1111_FLAGS:
            found.add(A1111_FLAGS[flag], [root / value], f"{flag} {value}")
    named = [root / value for flag, value in flags if flag == "--styles-file"]
    styles = tuple(each for each in named or [data / "styles.csv"] if each.is_file())
    settings = _last(flags, "--ui-settings-file", root) or data / "config.json"
    return found.installation(styles, settings if settings.is_file() else None)


def comfy(path: Path) -> Installation:
    """The ComfyUI installation at `path`: its folder, that of the portable version, or a YAML file that lists folders.

    The folders in its extra_model_paths.yaml are included. Raises WebuiError if `path` is not one.
    """
    if path.suffix.lower() in (".yaml", ".yml") and path.is_file():
        found = _Found(path.parent, "--comfy")
        _add_listed(path, found)
        return found.installation()
    root = _root(path, "--comfy", ("", "ComfyUI"), lambda each: (each / "models" / "checkpoints").is_dir(), "models")
    found = _Found(root, "--comfy")
    for name, kind in COMFY_FOLDERS.items():
        found.add(kind, [root / "models" / name])
    for name in COMFY_LISTS:
        if (root / name).is_file():
            _add_listed(root / name, found)
    return found.installation()


class _Found:
    """Collects folders, each once."""

    def __init__(self, root: Path, flag: str) -> None:
        self.remarks: list[str] = []
        self._root = root
        self._flag = flag
        self._folders: dict[str, dict[Path, None]] = {}

    def add(self, kind: str, paths: Iterable[Path], named: str = "", is_first: bool = False) -> None:
        """Adds those `paths` that are folders; `named` is the program's name for a folder that must exist."""
        folders = [Path(os.path.normpath(path.absolute())) for path in paths]
        for path in folders:
            if named and not path.is_dir():
                self.remarks.append(f"{self._flag}: {named} is not a folder here, so nothing is read from it.")
        there = {path: None for path in folders if path.is_dir()}
        before = self._folders.get(kind, {})
        self._folders[kind] = {**there, **before} if is_first else {**before, **there}

    def installation(self, styles: tuple[Path, ...] = (), settings: Path | None = None) -> Installation:
        folders = {kind: tuple(paths) for kind, paths in self._folders.items()}
        return Installation(self._root, folders, styles, settings, tuple(self.remarks))


def _root(path: Path, flag: str, below: Sequence[str], is_one: Callable[[Path], bool], holds: str) -> Path:
    """`path`, or the subfolder where a packaged version has the program. Raises WebuiError with the right folder if
    `path` is too deep, and if there is no installation."""
    for name in below:
        if is_one(path / name):
            return path / name
    for parent in list(path.parents)[:2]:
        if is_one(parent):
            raise WebuiError(f"{flag} {path}: expected the folder above it;", f"use {flag} {parent}.", flag)
    program = "A1111 or Forge" if flag == "--a1111" else "ComfyUI"
    raise WebuiError(
        f"{flag} {path}: there is no {program} installation here;", f"give the folder that holds {holds}.", flag
    )


def _is_a1111(folder: Path) -> bool:
    return (folder / "models" / "Stable-diffusion").is_dir() or (
        (folder / "webui.py").is_file() and any((folder / name).is_file() for name in START_SCRIPTS)
    )


def _last(flags: Sequence[tuple[str, str]], flag: str, root: Path) -> Path | None:
    values = [value for name, value in flags if name == flag]
    return root / values[-1] if values else None


def _flags(root: Path, remarks: list[str]) -> Iterator[tuple[str, str]]:
    """(flag, value) for the flags that name folders and files in the start script for this operating system."""
    scripts = START_SCRIPTS if os.name == "nt" else START_SCRIPTS[::-1]
    for name in scripts:
        text = _text(root / name, remarks)
        if "COMMANDLINE_ARGS" not in text:
            continue
        is_batch = name.endswith(".bat")
        words = _words(_variables(text, is_batch).get("COMMANDLINE_ARGS", ""), is_batch)
        if words:
            yield from _pairs(words)
            return


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for i, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if not flag.startswith("--"):
            continue
        if equals:
            yield flag, value
            continue
        for follower in words[i + 1 :]:  # some of Forge's flags take several values
            if follower.startswith("--"):
                break
            yield flag, follower


def _variables(text: str, is_batch: bool) -> dict[str, str]:
    """The variables that a start script sets, with references to variables expanded; the script is not run."""
    text = re.sub(r"\^\r?\n" if is_batch else r"\\\r?\n", " ", text)
    setting = r"@?set\s+\"?(\w+)=(.*?)\"?\s*" if is_batch else r"(?:export\s+)?(\w+)=(.*?)\s*"
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.fullmatch(rf"\s*{setting}", line, re.IGNORECASE if is_batch else 0)
        if match is None:
            continue
        name, value = match.groups()
        if not is_batch:
            value = value[1:-1].replace('\\"', '"') if re.fullmatch(r"(['\"]).*\1", value) else value.split(" #")[0]
        found[name] = _filled(value, found, is_batch)
    return found


def _filled(value: str, found: Mapping[str, str], is_batch: bool) -> str:
    pattern = r"%(\w+)%" if is_batch else r"\$\{?(\w+)\}?"
    return re.sub(pattern, lambda match: found.get(match[1], os.environ.get(match[1], "")), value)


def _words(line: str, is_batch: bool) -> list[str]:
    try:
        words = shlex.split(line, posix=not is_batch)
    except ValueError:  # an unmatched quote
        words = line.split()
    return [word.replace('"', "") for word in words]


def _add_listed(path: Path, found: _Found) -> None:
    """Adds the folders in a ComfyUI list: groups of folder name → paths, one per line, relative to base_path."""
    text = _text(path, found.remarks)
    try:
        groups = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f", line {line + 1}"
        found.remarks.append(f"--comfy: {path.name}{where} is not YAML, so its folders are not read.")
        return
    if not isinstance(groups, dict):
        if groups is not None:
            found.remarks.append(f"--comfy: {path.name} has no groups of folders, so nothing is read from it.")
        return
    for group in cast(dict[Any, Any], groups).values():
        if isinstance(group, dict):
            _add_group(cast(dict[Any, Any], group), path, found)


def _add_group(group: Mapping[Any, Any], path: Path, found: _Found) -> None:
    base = path.absolute().parent / _expanded(str(group.get("base_path") or ""))
    is_first = str(group.get("is_default", "")).lower() == "true"
    for name, kind in COMFY_FOLDERS.items():
        value = group.get(name)
        if isinstance(value, str):
            lines = [line.strip() for line in value.splitlines() if line.strip()]
            found.add(kind, [base / _expanded(line) for line in lines], is_first=is_first)


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()


def _text(path: Path, remarks: list[str]) -> str:
    """The text of a small file; "" if it does not exist."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        remarks.append(f"{path} cannot be read: {error.strerror or error}.")
        return ""
    if len(content) > MAX_FILE:
        remarks.append(f"{path} is larger than {MAX_FILE >> 20} MB, so it is not read.")
        return ""
    return content.decode("utf-8-sig", errors="replace")
