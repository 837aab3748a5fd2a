"""Finds the small files next to a model: notes and pictures with the model's name. Each folder is read once."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from modules.base.names import shown
from modules.networks.files.foreign import real_path
from modules.networks.files.listing import is_diffusers_part

# The first one with a value counts. A1111 writes the first; its extensions and other programs write the others.
OWN: Final = ".json"
NOTES: Final = (
    OWN,
    ".cm-info.json",  # Stability Matrix
    ".civitai.info",  # Civitai Helper
    ".metadata.json",  # ComfyUI's LoRA Manager
    ".api_info.json",  # Civitai Browser+
    ".description.txt",  # written by A1111 before it used JSON
    ".txt",
)
PICTURES: Final = tuple(
    f"{before}{ending}"
    for before in (".preview", "", ".thumb", ".thumbnail")
    for ending in (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif")
)


# Endings by their last part, and their order of precedence.
_BY_SUFFIX: Final[Mapping[str, tuple[str, ...]]] = {
    suffix: tuple(ending for ending in (*NOTES, *PICTURES) if ending.endswith(suffix))
    for suffix in {ending[ending.rfind(".") :] for ending in (*NOTES, *PICTURES)}
}
_RANK: Final[Mapping[str, int]] = {ending: rank for rank, ending in enumerate((*NOTES, *PICTURES))}


class Stamp(NamedTuple):
    """The state of a file when it was read: its modification time in nanoseconds, its size in bytes."""

    path: str
    changed: int
    size: int


class Note(NamedTuple):
    """A file of notes, with the entry of `NOTES` that its name ends with."""

    ending: str
    stamp: Stamp


class Beside(NamedTuple):
    """The files with a model's name: the model itself, its notes in the order of `NOTES`, and a picture."""

    model: Stamp
    notes: tuple[Note, ...]
    picture: Stamp | None


class Base(NamedTuple):
    """The folder of the files next to a model, and the start of their names."""

    folder: Path
    stem: str


def base_of(path: Path) -> Base:
    """`folder/name` for `folder/name.safetensors`; a folder saved by diffusers counts as one model with its name."""
    if is_diffusers_part(path):
        path = path.parent
    elif not path.is_dir():
        return Base(path.parent, path.stem)
    return Base(path.parent, path.name)


class Folder:
    """The files in one folder, by model name in lower case. An unreadable folder counts as empty.

    A link counts only if it leads to a file below one of `roots`, or next to the model's real file.
    """

    def __init__(self, path: Path, roots: Sequence[Path]) -> None:
        self.label = _below(path, roots)
        self._roots = roots
        self._found: dict[str, dict[str, os.DirEntry[str]]] = {}  # model name -> ending -> file
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    self._note(entry)
        except OSError:
            return

    def beside(self, path: Path, stem: str) -> Beside | None:
        """The files next to the model `path`; None if the model no longer exists."""
        try:
            status = path.stat()
        except OSError:
            return None
        notes: list[Note] = []
        picture: Stamp | None = None
        found = self._found.get(stem.lower(), {})
        for ending in sorted(found, key=_RANK.__getitem__):
            if picture is None and (stamp := self._stamp(found[ending], path)):
                if ending in NOTES:
                    notes.append(Note(ending, stamp))
                else:
                    picture = stamp
        return Beside(Stamp(str(path), status.st_mtime_ns, status.st_size), tuple(notes), picture)

    def _note(self, entry: os.DirEntry[str]) -> None:
        name = entry.name.lower()
        for ending in _BY_SUFFIX.get(name[name.rfind(".") :], ()):
            if name.endswith(ending):
                self._found.setdefault(name[: -len(ending)], {}).setdefault(ending, entry)

    def _stamp(self, entry: os.DirEntry[str], model: Path) -> Stamp | None:
        try:
            if not entry.is_file() or (entry.is_symlink() and not self._stays(entry, model)):
                return None
            status = entry.stat()
        except OSError:
            return None
        return Stamp(entry.path, status.st_mtime_ns, status.st_size)

    def _stays(self, entry: os.DirEntry[str], model: Path) -> bool:
        """Whether a link leads to a place from which files may be shown."""
        real = real_path(Path(entry.path))
        homes = [real_path(root) for root in self._roots]
        return any(real.is_relative_to(home) for home in homes) or real.parent == real_path(model).parent


def _below(folder: Path, roots: Sequence[Path]) -> str:
    """`folder`, relative to the first of `roots` that contains it, with forward slashes; "" for the root itself."""
    for root in roots:
        if folder.is_relative_to(root):
            relative = shown(folder.relative_to(root).as_posix())
            return "" if relative == "." else relative
    return ""
