"""Textual inversion files without loading them: finding, naming and describing them. Does not import torch."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.clip.chunks import CHUNK_LENGTH
from modules.networks.files.embedding_pictures import PICTURES, is_picture, picture_content
from modules.networks.files.foreign import format_of
from modules.networks.files.headers import HeaderCache, stamp_of
from modules.networks.files.listing import HashCache, Header, TensorInfo, find_files, read_header
from modules.networks.files.pickles import PickleReader
from modules.networks.files.torch_pickle import EMBEDDING, Content, Stored
from modules.schema.catalog import Embedding

log = logging.getLogger(__name__)

SUFFIXES: Final = (".safetensors", ".pt", ".bin", *PICTURES)
LONGEST_HEADER: Final = 2**20  # bytes of a safetensors header; that of an embedding describes one tensor
HASH_DIGITS: Final = 12  # of "TI hashes", as in A1111
XL_KEYS: Final = (
    "clip_l",
    "clip_g",
)  # the vectors of XL's text encoders, in the order of concatenation
BUNDLED: Final = "bundle_emb."  # prefix of the keys in a LoRA file
_PREVIEW: Final = ".preview"
_KIND: Final = "embedding"  # in the header cache
_KEPT: Final = ("name", "vectors", "width", "reason", "step", "sd_checkpoint", "sd_checkpoint_name", "widths")


class Inside(NamedTuple):
    """Where the vectors are in a file: the path of keys to their tensor, and its shape."""

    keys: tuple[str, ...]
    shape: tuple[int, ...]


class EmbeddingFiles:
    """The embeddings in some folders. A file is read again only when it has changed."""

    def __init__(self, folders: Sequence[Path], headers: HeaderCache | None = None) -> None:
        self._folders = tuple(folders)
        self._headers = headers or HeaderCache()
        self._unread: dict[Path, str] = {}  # why a file could not be read last time; logged once

    def found(self) -> tuple[Embedding, ...]:
        """The embeddings that exist now, each name once; those that cannot be used have their reasons."""
        embeddings: dict[str, Embedding] = {}
        unread: dict[Path, str] = {}
        with PickleReader() as pickles:
            for path in without_previews(find_files(self._folders, SUFFIXES)):
                try:
                    one = self._described(path, pickles)
                except OSError as error:
                    unread[path] = str(error)
                    if self._unread.get(path) != unread[path]:
                        log.warning("%s cannot be read (%s).", path, error)
                    continue
                if one is not None:
                    embeddings.setdefault(one.name, one)
        self._unread = unread
        return tuple(embeddings.values())

    def _described(self, path: Path, pickles: PickleReader) -> Embedding | None:
        """The embedding in a file; None for a picture without one. Raises OSError."""
        stamp = stamp_of(path)
        told = self._headers.get(_KIND, stamp)
        if told is not None:
            with suppress(ValueError):
                return _from_json(told, path, stamp.changed)
        one = _described(path, pickles)
        self._headers.put(_KIND, stamp, {} if one is None else _as_json(one), one is None or not one.reason)
        return one


def _as_json(one: Embedding) -> dict[str, Any]:
    return {name: getattr(one, name) for name in _KEPT}


def _from_json(told: Mapping[str, Any], path: Path, changed: int) -> Embedding | None:
    """The inverse of `_as_json`. Raises ValueError for any other JSON."""
    match told:
        case {"name": str(name), "vectors": int(vectors), "width": int(width), "reason": str(reason)}:
            widths = tuple(each for each in cast(Sequence[Any], told.get("widths", ())) if isinstance(each, int))
            return Embedding(
                name,
                path,
                changed,
                vectors,
                width,
                reason,
                step=_whole(told.get("step")),
                sd_checkpoint=_text(told.get("sd_checkpoint")),
                sd_checkpoint_name=_text(told.get("sd_checkpoint_name")),
                widths=widths,
            )
        case _:
            if told:
                raise ValueError("it is no embedding")
            return None


def without_previews(paths: Sequence[Path]) -> list[Path]:
    """`paths` without the preview pictures of other embeddings."""
    files = {path.with_suffix("") for path in paths if not is_picture(path)}
    return [
        path
        for path in paths
        if not is_picture(path) or (path.with_suffix("") not in files and not path.stem.lower().endswith(_PREVIEW))
    ]


def embedding_hash(embedding: Embedding, hashes: HashCache) -> str:
    """The first twelve hex digits of the file's sha256; reads the file if they are not cached."""
    return hashes.sha256(embedding.path)[:HASH_DIGITS]


def describe(path: Path, pickles: PickleReader | None = None) -> Embedding:
    """The embedding in `path`; if it cannot be used, its `reason` says why.

    Without `pickles`, a process is started for this file alone.
    """
    if pickles is None:
        with PickleReader() as pickles:
            return describe(path, pickles)
    return _described(path, pickles) or Embedding(
        shown(path.stem), path, path.stat().st_mtime_ns, reason=f"{path.name} is a picture without an embedding in it."
    )


def _described(path: Path, pickles: PickleReader) -> Embedding | None:
    changed = path.stat().st_mtime_ns
    try:
        content = read_content(path, pickles)
        if content is None and is_picture(path):
            return None
        parts = vectors_in(content, path.name)
    except WebuiError as error:
        log.warning("%s", error)
        return Embedding(shown(path.stem), path, changed, reason=error.message)
    vectors, widths = (1, *parts[0].shape)[-2], tuple(part.shape[-1] for part in parts)
    notes = content if isinstance(content, Mapping) else {}
    reason = ""
    if vectors > CHUNK_LENGTH:
        reason = f"{path.name} has {vectors} vectors, at most {CHUNK_LENGTH} stand side by side."
    name = _text(notes.get("name")) if is_picture(path) else None
    return Embedding(
        shown(name or path.stem),
        path,
        changed,
        vectors,
        sum(widths),
        reason,
        step=_whole(notes.get("step")),
        sd_checkpoint=_text(notes.get("sd_checkpoint")),
        sd_checkpoint_name=_text(notes.get("sd_checkpoint_name")),
        widths=widths if len(widths) > 1 else (),
    )


def read_content(path: Path, pickles: PickleReader) -> Content | Header | None:
    """The content of a file without the tensors' values, whatever its suffix; None for a picture without an embedding.

    Raises WebuiError, OSError.
    """
    if is_picture(path):
        return picture_content(path)
    is_safetensors = format_of(path) == "safetensors"
    return read_header(path, LONGEST_HEADER) if is_safetensors else pickles.read(path, EMBEDDING)


def vectors_in(content: Content | Header, name: str) -> tuple[Inside, ...]:
    """Where the vectors are in a file's content: for XL, once per text encoder. Raises WebuiError if there are none.

    A1111's training saves `string_to_param: {"*": vectors}`, other programs one tensor with a name of their own.
    """
    if not isinstance(content, Mapping):
        raise WebuiError(f"{name} is no embedding.", "Choose another file.")
    saved: Mapping[str, Content | TensorInfo] = content
    keys: tuple[str, ...] = ()
    if "string_to_param" in saved:
        inner = saved["string_to_param"]
        keys, saved = ("string_to_param",), inner if isinstance(inner, Mapping) else {}
    tensors = {key: value for key, value in saved.items() if isinstance(value, Stored | TensorInfo)}
    if tensors.keys() >= set(XL_KEYS):
        tensors = {key: tensors[key] for key in XL_KEYS}
    elif len(tensors) != 1:
        raise WebuiError(f"{name} holds {len(tensors)} tensors, an embedding one.", "Choose another file.")
    for tensor in tensors.values():
        if len(tensor.shape) not in (1, 2) or min(tensor.shape) < 1:
            raise WebuiError(
                f"{name} holds a tensor of the shape {list(tensor.shape)}, no vectors.", "Choose another file."
            )
    parts = tuple(Inside((*keys, key), tensor.shape) for key, tensor in tensors.items())
    counts = {(1, *part.shape)[-2] for part in parts}
    if len(counts) > 1:
        raise WebuiError(f"{name} holds {counts} vectors for XL's text encoders, not as many for both.", "")
    return parts


def bundled_in(path: Path) -> tuple[Embedding, ...]:
    """The embeddings bundled in a LoRA file: `bundle_emb.NAME.string_to_param.*`, or `clip_l` and `clip_g` for XL.

    Raises WebuiError, OSError.
    """
    if format_of(path) != "safetensors":
        return ()
    named: dict[str, dict[str, TensorInfo]] = {}
    for key, info in read_header(path).items():
        if key.startswith(BUNDLED):
            name, dot, rest = key.removeprefix(BUNDLED).partition(".")
            if name and dot:
                named.setdefault(name, {})[rest] = info
    return tuple(_bundled(path, name, tensors) for name, tensors in named.items())


def _bundled(path: Path, name: str, tensors: Header) -> Embedding:
    changed, within = path.stat().st_mtime_ns, f"{BUNDLED}{name}."
    try:
        parts = vectors_in(tensors, name)
    except WebuiError as error:
        return Embedding(shown(name), path, changed, reason=error.message, within=within)
    vectors, widths = (1, *parts[0].shape)[-2], tuple(part.shape[-1] for part in parts)
    reason = (
        f"{name} has {vectors} vectors, at most {CHUNK_LENGTH} stand side by side." if vectors > CHUNK_LENGTH else ""
    )
    both = widths if len(widths) > 1 else ()
    return Embedding(shown(name), path, changed, vectors, sum(widths), reason, widths=both, within=within)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _text(value: Any) -> str | None:
    return value.encode("utf-8", "replace").decode("utf-8")[:200] if isinstance(value, str) else None
