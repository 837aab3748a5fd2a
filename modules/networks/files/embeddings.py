"""Textual inversion files without loading them: finding, naming, and what they hold. Free of torch."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.clip.chunks import CHUNK_LENGTH
from modules.networks.files.foreign import format_of
from modules.networks.files.listing import HashCache, Header, TensorInfo, find_files, read_header
from modules.networks.files.loras import Stamp, stamp_of
from modules.networks.files.pickles import PickleReader
from modules.networks.files.torch_pickle import EMBEDDING, Content, Stored
from modules.schema.catalog import Embedding

log = logging.getLogger(__name__)

SUFFIXES: Final = (".safetensors", ".pt", ".bin")
LONGEST_HEADER: Final = 2**20  # bytes of a safetensors header; an embedding's describes one tensor
HASH_DIGITS: Final = 12  # of "TI hashes", as in A1111
XL_KEYS: Final = frozenset({"clip_l", "clip_g"})


class Inside(NamedTuple):
    """Where the vectors are in a file: the keys that lead to their tensor, and its shape."""

    keys: tuple[str, ...]
    shape: tuple[int, ...]


class EmbeddingFiles:
    """The embeddings in some folders. A file is looked into again only when it has changed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._described: dict[Stamp, Embedding] = {}

    def found(self) -> tuple[Embedding, ...]:
        """Those that are there now, each name once; the ones that cannot be used with their reasons."""
        embeddings: dict[str, Embedding] = {}
        described: dict[Stamp, Embedding] = {}
        with PickleReader() as pickles:
            for path in find_files(self._folders, SUFFIXES):
                try:
                    stamp = stamp_of(path)
                    described[stamp] = self._described.get(stamp) or describe(path, pickles)
                except OSError as error:
                    log.warning("%s cannot be read (%s).", path, error)
                    continue
                embeddings.setdefault(described[stamp].name, described[stamp])
        self._described = described
        return tuple(embeddings.values())


def embedding_hash(embedding: Embedding, hashes: HashCache) -> str:
    """Twelve digits of the file's sha256; the file is read if need be."""
    return hashes.sha256(embedding.path)[:HASH_DIGITS]


def describe(path: Path, pickles: PickleReader | None = None) -> Embedding:
    """What `path` holds; its `reason` tells if that is no embedding that can be used.

    Without `pickles` a process is started for this file alone.
    """
    if pickles is None:
        with PickleReader() as pickles:
            return describe(path, pickles)
    changed = path.stat().st_mtime_ns
    try:
        content = read_content(path, pickles)
        _, shape = vectors_in(content, path.name)
    except WebuiError as error:
        log.warning("%s", error)
        return Embedding(shown(path.stem), path, changed, reason=error.message)
    vectors, width = (1, *shape)[-2:]
    notes = content if isinstance(content, Mapping) else {}
    reason = ""
    if vectors > CHUNK_LENGTH:
        reason = f"{path.name} has {vectors} vectors, at most {CHUNK_LENGTH} stand side by side."
    return Embedding(
        shown(path.stem),
        path,
        changed,
        vectors,
        width,
        reason,
        step=_whole(notes.get("step")),
        sd_checkpoint=_text(notes.get("sd_checkpoint")),
        sd_checkpoint_name=_text(notes.get("sd_checkpoint_name")),
    )


def read_content(path: Path, pickles: PickleReader) -> Content | Header:
    """What a file tells without its numbers, whatever its name says. Raises WebuiError, OSError."""
    is_safetensors = format_of(path) == "safetensors"
    return read_header(path, LONGEST_HEADER) if is_safetensors else pickles.read(path, EMBEDDING)


def vectors_in(content: Content | Header, name: str) -> Inside:
    """Where the vectors are in what was saved. Raises WebuiError without any.

    A1111's training saves `string_to_param: {"*": vectors}`, others one tensor under a name of its own.
    """
    if not isinstance(content, Mapping):
        raise WebuiError(f"{name} is no embedding.", "Choose another file.")
    saved: Mapping[str, Content | TensorInfo] = content
    if saved.keys() >= XL_KEYS:
        raise WebuiError(f"{name} is made for Stable Diffusion XL.", "Use one for Stable Diffusion 1.")
    keys: tuple[str, ...] = ()
    if "string_to_param" in saved:
        inner = saved["string_to_param"]
        keys, saved = ("string_to_param",), inner if isinstance(inner, Mapping) else {}
    tensors = {key: value for key, value in saved.items() if isinstance(value, Stored | TensorInfo)}
    if len(tensors) != 1:
        raise WebuiError(f"{name} holds {len(tensors)} tensors, an embedding one.", "Choose another file.")
    ((key, tensor),) = tensors.items()
    shape = tensor.shape
    if len(shape) not in (1, 2) or min(shape) < 1:
        raise WebuiError(f"{name} holds a tensor of the shape {list(shape)}, no vectors.", "Choose another file.")
    return Inside((*keys, key), shape)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _text(value: Any) -> str | None:
    return value.encode("utf-8", "replace").decode("utf-8")[:200] if isinstance(value, str) else None
