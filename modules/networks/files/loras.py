"""LoRA files without loading them: finding, naming, hashing, and what they tell of themselves. Free of torch."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.networks.files.foreign import format_of, parse_json
from modules.networks.files.listing import HashCache, find_files, read_metadata
from modules.schema.catalog import Lora

log = logging.getLogger(__name__)

FIELD: Final = "prompt"
SUFFIXES: Final = (".safetensors",)
HASH_DIGITS: Final = 12  # of "Lora hashes", as in A1111
_ALIAS: Final = "ss_output_name"
_HASH: Final = "sshs_model_hash"  # kohya's trainers write it: the sha256 of the tensors when they were saved
PICTURES: Final = ("modelspec.thumbnail", "ssmd_cover_images")  # of a file's notes; each may be megabytes


class Stamp(NamedTuple):
    """A file as it was when it was looked at: its time of change in nanoseconds, its bytes, its number on the disk."""

    path: Path
    changed: int
    size: int
    inode: int


@dataclass(frozen=True)
class LoraRequest:
    """A LoRA with the weights that a prompt gives it, 1 being as it was trained. `name` is what the prompt calls it.

    `dyn_dim` takes the first so many of its ranks. `blocks` are the weights of the text encoder, of the UNet's input
    blocks 0 to 11, its middle, and its output blocks 0 to 11; () is 1 each.
    """

    name: str
    stamp: Stamp
    te: float
    unet: float
    dyn_dim: int | None = None
    blocks: tuple[float, ...] = ()


class LoraFiles:
    """The LoRA files in some folders. A file's header is read again only when the file has changed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._described: dict[Stamp, FileNotes] = {}

    def found(self, hashes: HashCache) -> tuple[Lora, ...]:
        """Those that are there now, each name once; the ones that cannot be read with their reasons."""
        loras: dict[str, Lora] = {}
        described: dict[Stamp, FileNotes] = {}
        for path in find_files(self._folders, SUFFIXES):
            try:
                stamp = stamp_of(path)
            except OSError:
                continue  # it has just gone
            described[stamp] = notes = self._described.get(stamp) or _read_notes(path)
            metadata = notes.metadata
            known = str(metadata.get(_HASH) or hashes.known_tensors(path))[:HASH_DIGITS]
            alias = str(metadata.get(_ALIAS) or "").strip()
            alias = "" if alias == "None" else alias
            name = shown(path.stem)
            loras.setdefault(name, Lora(name, path, alias, known, metadata, notes.reason, notes.has_picture))
        self._described = described
        return tuple(loras.values())


def lora_hash(lora: Lora, hashes: HashCache) -> str:
    """The twelve digits of its file as that is now; all of it is read if need be. Raises WebuiError and OSError."""
    noted = read_metadata(lora.path).get(_HASH, "") if format_of(lora.path) == "safetensors" else ""
    return (_clean(noted) or hashes.tensors_sha256(lora.path))[:HASH_DIGITS]


def stamp_of(path: Path) -> Stamp:
    status = path.stat()
    return Stamp(path, status.st_mtime_ns, status.st_size, status.st_ino)


class FileNotes(NamedTuple):
    """What a file tells of itself, texts that are JSON objects as such, pictures left out; or why it tells nothing."""

    metadata: Mapping[str, Any]
    reason: str = ""
    has_picture: bool = False


def _read_notes(path: Path) -> FileNotes:
    try:
        if format_of(path) != "safetensors":
            return FileNotes({})  # torch's files hold no notes
        metadata = read_metadata(path)
    except WebuiError as error:
        log.warning("%s", error)
        return FileNotes({}, error.message)
    except OSError as error:
        log.warning("%s", error)
        return FileNotes({}, f"{path.name} cannot be read: {error.strerror or error}.")
    notes = {_clean(key): _value(text) for key, text in metadata.items() if key not in PICTURES}
    return FileNotes(notes, has_picture=any(metadata.get(key) for key in PICTURES))


def _value(text: str) -> Any:
    if text.startswith("{"):
        try:
            return parse_json(_clean(text))
        except ValueError:
            pass
    return _clean(text)


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which cannot be sent to anybody."""
    return text.encode("utf-8", "replace").decode("utf-8")
