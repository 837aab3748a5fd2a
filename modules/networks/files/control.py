"""Finds and names ControlNet files. Does not import torch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modules.base.names import shown
from modules.networks.files.listing import find_files
from modules.schema.catalog import ControlModel

# Below the models folder, as in A1111's extension, Forge and ComfyUI.
FOLDERS: Final = ("ControlNet", "controlnet")
SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
_START, _LENGTH, _DIGITS = 0x100000, 0x10000, 8  # of A1111's first hash format


def find_control_models(folders: Sequence[Path]) -> tuple[ControlModel, ...]:
    """The ControlNet files in `folders`, each name once."""
    found: dict[str, ControlModel] = {}
    for path in find_files(folders, SUFFIXES):
        name = shown(path.stem)
        if name not in found:
            found[name] = ControlModel(name, path, short_hash(path))
    return tuple(found.values())


def short_hash(path: Path) -> str:
    """The hash that A1111's extension appends to a name: 8 hex digits of the sha256 of 64 kB, 1 MB into the file.

    "" for an unreadable file; the error is reported when the file is used.
    """
    try:
        with path.open("rb") as file:
            file.seek(_START)
            return hashlib.sha256(file.read(_LENGTH)).hexdigest()[:_DIGITS]
    except OSError:
        return ""
