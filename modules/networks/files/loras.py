"""LoRA files without loading them: finding, naming, hashing, and what they tell of themselves. Free of torch."""

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
_HASH: Final = "sshs_model_hash"  # kohya's trainers write it: the sha256 of the tensors when they were saved
LONGEST_KEPT: Final = 20_000  # letters of a note that is kept in memory
SLICE: Final = 2.0  # seconds of reading after which what is known is published
_KIND: Final = "lora"  # in the cache of headers
# The notes that lists and cards show of every file. What else trainers note may be megabytes a file.
KEPT: Final = (
    _ALIAS, _HASH, "ss_base_model_version", "ss_v2", "ss_network_module", "ss_sd_scripts", "ss_training_comment",
    "modelspec.title", "modelspec.description", "modelspec.trigger_phrase", "modelspec.usage_hint",
    "modelspec.architecture", "modelspec.tags",
)  # fmt: skip
PICTURES: Final = ("modelspec.thumbnail", "ssmd_cover_images")  # of a file's notes; each may be megabytes


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


class FileNotes(NamedTuple):
    """What a LoRA's header says: its notes in short, whether it holds a picture, or why it says nothing."""

    metadata: Mapping[str, str]
    has_picture: bool = False
    reason: str = ""


class LoraFiles:
    """The LoRA files in some folders. A file's header is read again only when the file has changed.

    `found` reads at most `at_once` headers (None for all) and leaves the others to `look_further`, which may run in
    another thread.
    """

    def __init__(self, folders: Sequence[Path], headers: HeaderCache | None = None, at_once: int | None = None) -> None:
        self._folders = tuple(folders)
        self._headers = headers or HeaderCache()
        self._at_once = at_once
        self._left: tuple[Stamp, ...] = ()

    def found(self, hashes: HashCache) -> tuple[Lora, ...]:
        """Those that are there now, each name once; the ones that cannot be read with their reasons."""
        loras: dict[str, Lora] = {}
        left: list[Stamp] = []
        now_read = 0
        for path in find_files(self._folders, SUFFIXES):
            try:
                stamp = stamp_of(path)
            except OSError:
                continue  # it has just gone
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
        """Read headers that `found` has left, for about so long. Tells whether any is known now that was not."""
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
    """What a file's header says, read if need be."""
    known = known_notes(stamp, headers)
    if known is None:
        known = _read_notes(stamp.path)
        headers.put(_KIND, stamp, known._asdict(), is_kept=not known.reason)
    return known


def full_metadata(path: Path) -> Mapping[str, Any]:
    """All that a file tells of itself, texts that are JSON objects as such, pictures left out.

    Nothing for one that cannot be read.
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
    """The twelve digits of its file as that is now; all of it is read if need be. Raises WebuiError and OSError."""
    noted = read_metadata(lora.path).get(_HASH, "") if format_of(lora.path) == "safetensors" else ""
    return (_clean(noted) or hashes.tensors_sha256(lora.path))[:HASH_DIGITS]


def _read_notes(path: Path) -> FileNotes:
    try:
        if format_of(path) != "safetensors":
            return FileNotes({})  # torch's files hold no notes
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
    """Without halves of surrogate pairs, which cannot be sent to anybody."""
    return text.encode("utf-8", "replace").decode("utf-8")
