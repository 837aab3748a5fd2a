"""LoRA files without loading them: finding, naming and hashing them, reading metadata. Does not import torch."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.networks.files.foreign import format_of, parse_json
from modules.networks.files.headers import HeaderCache, Stamp, stamp_of
from modules.networks.files.listing import HashCache, find_files, read_metadata
from modules.schema.catalog import Lora

log = logging.getLogger(__name__)

FIELD: Final = "prompt"
SUFFIXES: Final = (".safetensors",)
HASH_DIGITS: Final = 12  # of "Lora hashes", as in A1111
_ALIAS: Final = "ss_output_name"
_HASH: Final = "sshs_model_hash"  # written by kohya's trainers: the sha256 of the tensors when saved
LONGEST_KEPT: Final = 20_000  # characters of a note kept in memory
SLICE: Final = 2.0  # seconds of reading before results are published
_KIND: Final = "lora"  # in the header cache
# The metadata shown in lists and cards. Trainers' other metadata may be megabytes per file.
KEPT: Final = (
    _ALIAS, _HASH, "ss_base_model_version", "ss_v2", "ss_network_module", "ss_sd_scripts", "ss_training_comment",
    "modelspec.title", "modelspec.description", "modelspec.trigger_phrase", "modelspec.usage_hint",
    "modelspec.architecture", "modelspec.tags",
)  # fmt: skip
PICTURES: Final = ("modelspec.thumbnail", "ssmd_cover_images")  # keys of a file's metadata; each value may be megabytes


@dataclass(frozen=True)
class LoraRequest:
    """A LoRA with its weights from a prompt; 1 is the trained strength. `name` is the name in the prompt.

    `dyn_dim` uses only the first so many ranks. `blocks` are the weights of the text encoder, the UNet's input blocks
    0 to 11, its middle block, and its output blocks 0 to 11; () means 1 for each.
    """

    name: str
    stamp: Stamp
    te: float
    unet: float
    dyn_dim: int | None = None
    blocks: tuple[float, ...] = ()


class FileNotes(NamedTuple):
    """What a LoRA's header says: its short metadata, whether it contains a picture, or why it cannot be read."""

    metadata: Mapping[str, str]
    has_picture: bool = False
    reason: str = ""


class LoraFiles:
    """The LoRA files in some folders. A file's header is read again only when the file has changed.

    `found` reads at most `at_once` headers (None for all). `look_further`, which may run in another thread, reads the
    others.
    """

    def __init__(self, folders: Sequence[Path], headers: HeaderCache | None = None, at_once: int | None = None) -> None:
        self._folders = tuple(folders)
        self._headers = headers or HeaderCache()
        self._at_once = at_once
        self._left: tuple[Stamp, ...] = ()

    def found(self, hashes: HashCache) -> tuple[Lora, ...]:
        """The LoRAs that exist now, each name once; those that cannot be read have their reasons."""
        loras: dict[str, Lora] = {}
        left: list[Stamp] = []
        now_read = 0
        for path in find_files(self._folders, SUFFIXES):
            try:
                stamp = stamp_of(path)
            except OSError:
                continue  # it has just been deleted
            notes = known_notes(stamp, self._headers)
            if notes is None and (self._at_once is None or now_read < self._at_once):
                notes, now_read = notes_of(stamp, self._headers), now_read + 1
            if notes is None:
                left.append(stamp)
            name = shown(path.stem)
            loras.setdefault(name, _lora(name, path, notes, hashes))
        self._left = tuple(left)
        return tuple(loras.values())

    def look_further(self, seconds: float = SLICE) -> bool:
        """Reads headers that `found` has skipped, for about `seconds`. Returns whether it has read any."""
        end = time.monotonic() + seconds
        left = self._left
        for stamp in left:
            notes_of(stamp, self._headers)
            if time.monotonic() > end:
                break
        return bool(left)


def known_notes(stamp: Stamp, headers: HeaderCache) -> FileNotes | None:
    """What a file's header says, if it has been read before."""
    match headers.get(_KIND, stamp):
        case {"metadata": dict(metadata), "has_picture": bool(has_picture), "reason": str(reason)}:
            texts = {key: text for key, text in cast(dict[str, Any], metadata).items() if isinstance(text, str)}
            return FileNotes(texts, has_picture, reason)
        case _:
            return None


def notes_of(stamp: Stamp, headers: HeaderCache) -> FileNotes:
    """What a file's header says; reads it if it is not cached."""
    known = known_notes(stamp, headers)
    if known is None:
        known = _read_notes(stamp.path)
        headers.put(_KIND, stamp, known._asdict(), is_kept=not known.reason)
    return known


def full_metadata(path: Path) -> Mapping[str, Any]:
    """All metadata of a file, with JSON objects parsed and pictures left out.

    Empty for a file that cannot be read.
    """
    try:
        if format_of(path) != "safetensors":
            return {}
        metadata = read_metadata(path)
    except (OSError, WebuiError):
        return {}
    return {_clean(key): _value(text) for key, text in metadata.items() if key not in PICTURES}


def _lora(name: str, path: Path, notes: FileNotes | None, hashes: HashCache) -> Lora:
    metadata = notes.metadata if notes else {}
    known = (metadata.get(_HASH) or hashes.known_tensors(path))[:HASH_DIGITS]
    alias = metadata.get(_ALIAS, "").strip()
    return Lora(
        name,
        path,
        "" if alias == "None" else alias,
        known,
        metadata,
        notes.reason if notes else "",
        notes is not None and notes.has_picture,
        notes is not None,
    )


def lora_hash(lora: Lora, hashes: HashCache) -> str:
    """Twelve hex digits of the hash in the file's metadata, else of its tensors, which are read unless cached.
    Raises WebuiError, OSError."""
    noted = read_metadata(lora.path).get(_HASH, "") if format_of(lora.path) == "safetensors" else ""
    return (_clean(noted) or hashes.tensors_sha256(lora.path))[:HASH_DIGITS]


def _read_notes(path: Path) -> FileNotes:
    try:
        if format_of(path) != "safetensors":
            return FileNotes({})  # files saved by torch have no metadata
        metadata = read_metadata(path)
    except WebuiError as error:
        log.warning("%s", error)
        return FileNotes({}, reason=error.message)
    except OSError as error:
        log.warning("%s", error)
        return FileNotes({}, reason=f"{path.name} cannot be read: {error.strerror or error}.")
    kept = {key: _clean(metadata[key][:LONGEST_KEPT]) for key in KEPT if key in metadata}
    return FileNotes(kept, any(metadata.get(key) for key in PICTURES))


def _value(text: str) -> Any:
    if text.startswith("{"):
        try:
            return parse_json(_clean(text))
        except ValueError:
            pass
    return _clean(text)


def _clean(text: str) -> str:
    """`text` with lone surrogates replaced, because they cannot be encoded."""
    return text.encode("utf-8", "replace").decode("utf-8")
