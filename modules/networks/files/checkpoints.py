"""Checkpoint files without loading them: what each is by its header, and why it cannot be loaded. Free of torch."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from modules.base.errors import WebuiError
from modules.networks.files.detect import PIPELINES, UNKNOWN, Family, detect, family_named, require_supported
from modules.networks.files.foreign import FIELD, format_of, read_json
from modules.networks.files.listing import DIFFUSERS_INDEX, HashCache, find_checkpoints, read_header
from modules.networks.files.loras import Stamp, stamp_of
from modules.schema.catalog import Checkpoint

log = logging.getLogger(__name__)

_PARTS: Final = ("unet", "text_encoder")  # folders of a diffusers folder; a VAE may come from a file of its own


class Seen(NamedTuple):
    """What a header tells: what the file is, in words, and why it cannot be loaded; "" for what it does not tell."""

    family: str
    reason: str


class CheckpointFiles:
    """The checkpoints in some folders. A file's header is read again only when the file has changed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._seen: dict[Stamp, Seen] = {}

    def found(self, hashes: HashCache) -> tuple[Checkpoint, ...]:
        """Those that are there now; the ones that cannot be loaded with their reasons."""
        seen: dict[Stamp, Seen] = {}
        rows: list[Checkpoint] = []
        for row in find_checkpoints(self._folders, hashes):
            try:
                stamp = stamp_of(row.path / DIFFUSERS_INDEX if row.path.is_dir() else row.path)
            except OSError as error:
                rows.append(replace(row, reason=_unreadable(row.path, error)))
                continue
            seen[stamp] = known = self._seen.get(stamp) or look_into(row.path)
            rows.append(replace(row, family=known.family, reason=known.reason))
        self._seen = seen
        return tuple(rows)


def look_into(path: Path) -> Seen:
    """What a checkpoint's header tells. One that torch has saved is not looked into: its header is code."""
    family = None
    try:
        if path.is_dir():
            family = family_of_folder(path)
        elif format_of(path) == "safetensors":
            family = detect(read_header(path))
        if family is not None:
            require_supported(family, path)
    except WebuiError as error:
        log.info("%s", error)
        return Seen(family.label if family else "", str(error))
    except OSError as error:
        return Seen("", _unreadable(path, error))
    return Seen(family.label if family else "", "")


def family_of_folder(path: Path) -> Family:
    """The family of a diffusers folder, by the pipeline it names. Raises WebuiError if it names none, or lacks a part
    of a Stable Diffusion pipeline; OSError."""
    try:
        pipeline = str(read_json(path / DIFFUSERS_INDEX).get("_class_name", ""))[:80]
    except ValueError as error:
        raise WebuiError(
            f"{DIFFUSERS_INDEX} in {path.name} cannot be read: {error}.", "Download the folder again.", FIELD
        ) from error
    family = family_named(PIPELINES.get(pipeline, ""))
    if family == UNKNOWN and pipeline:
        return replace(UNKNOWN, label=f"{UNKNOWN.label} ({pipeline})")
    if family.supported:
        for part in _PARTS:
            if not (path / part / "config.json").is_file():
                raise WebuiError(f"{path.name} lacks {part}/config.json.", "Download the folder again.", FIELD)
    return family


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path.name} cannot be read: {error.strerror or error}."
