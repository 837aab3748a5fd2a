"""Checkpoint files without loading them: finding, naming and hashing them, reading headers. Does not import torch."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from filelock import FileLock

from modules.base.disk import write_over
from modules.base.errors import WebuiError
from modules.base.kept import Unreadable, put_aside, read_json
from modules.base.names import distinct_names
from modules.networks.files.foreign import (
    FIELD,
    LENGTH_BYTES,
    format_of,
    header_length,
    open_file,
    parse_json,
    read_text,
    real_path,
    truncated,
)
from modules.networks.files.soundness import (
    DTYPE_BITS,
    Header,
    Span,
    TensorInfo,
    damaged,
    require_apart,
    require_names,
    tensor_info,
)
from modules.schema.catalog import HIRES_STRENGTH, Checkpoint, Vae
from modules.schema.families import Default
from modules.schema.request import Txt2ImgRequest

log = logging.getLogger(__name__)

DENOISERS: Final = ("unet", "transformer")  # folders of the network that removes noise
SINGLE_FILE_SUFFIXES: Final = (".safetensors", ".ckpt", ".gguf")
VAE_SUFFIXES: Final = (".safetensors", ".ckpt", ".pt")
BESIDE_CHECKPOINTS: Final = tuple(f".vae{suffix}" for suffix in VAE_SUFFIXES)  # suffixes of VAEs next to checkpoints
DIFFUSERS_WEIGHTS: Final = "diffusion_pytorch_model"  # file name of a part, in any model
DIFFUSERS_INDEX: Final = "model_index.json"
SHORT_HASH: Final = 10  # hex digits shown to users, as in A1111's titles
LOCKS: Final = "locks"  # folder next to the hash cache: one lock per file being read
_SHA256: Final = re.compile("[0-9a-f]{64}")
LONGEST_HEADER: Final = 32 * 2**20  # bytes read at most; the largest headers contain pictures
_DEFAULTS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "prompt": str, "negative_prompt": str, "width": int, "height": int, "steps": int, "cfg_scale": (int, float),
    "sampler_name": str, "scheduler": str, "denoising_strength": (int, float), "clip_skip": int,
    "hr_upscaler": str, "hr_scale": (int, float), "hr_second_pass_steps": int, HIRES_STRENGTH: (int, float),
    "hr_sampler_name": str, "hr_scheduler": str,
}  # fmt: skip


class HashCache:
    """sha256 of files, computed once and stored in a JSON at `path`, keyed by path, size and modification time.

    Several processes may share it: only one of them reads each file, and they keep each other's entries.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = self._read()

    def sha256(self, file: Path) -> str:
        """The file's sha256 in hex (64 digits). For a diffusers folder, the sha256 of its denoiser's weights."""
        file = weights_of(file)
        return self._remembered(str(real_path(file)), file, 0)

    def tensors_sha256(self, file: Path) -> str:
        """The sha256 of a safetensors file without its header, which notes may change: the hash of a LoRA."""
        known = self.known_tensors(file)
        if known:
            return known
        start = 0
        if format_of(file) == "safetensors":
            with open_file(file) as stream:
                start = LENGTH_BYTES + header_length(stream.read(LENGTH_BYTES))
        return self._remembered(_tensors_key(file), file, start)

    def known_tensors(self, file: Path) -> str:
        """The result of `tensors_sha256` if it is cached and the file has not changed since, else ""."""
        return self._known(_tensors_key(file), file)

    def short(self, file: Path) -> str:
        """The first ten digits of the sha256: A1111's model hash."""
        return self.sha256(file)[:SHORT_HASH]

    def known(self, file: Path) -> str:
        """The sha256 if it is cached and the file has not changed since, else ""."""
        file = weights_of(file)
        return self._known(str(real_path(file)), file)

    def _known(self, key: str, file: Path) -> str:
        entry = self._entries.get(key)
        return entry.digest if entry and file.exists() and entry.stamp == _stamp(file) else ""

    def _remembered(self, key: str, file: Path, start: int) -> str:
        """The sha256 of a file from byte `start` on: from the cache, or computed by one process or thread at a time."""
        known = self._known(key, file)
        if known:
            return known
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        with _locked(self._path.parent / LOCKS / name):
            self._entries = self._read()
            known = self._known(key, file)  # computed by the previous owner of the lock
            if known:
                return known
            stamp = _stamp(file)
            with open_file(file) as stream:
                stream.seek(start)
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if stamp == _stamp(file):  # otherwise it was changed in the meantime
                self._add(key, _Hashed(stamp, digest))
        return digest

    def _add(self, key: str, hashed: "_Hashed") -> None:
        """Adds a hash, keeping what other processes have added in the meantime."""
        with self._alone():
            self._entries = self._loaded() | {key: hashed}
            entries = {name: [*entry.stamp, entry.digest] for name, entry in self._entries.items()}
            try:
                write_over(self._path, json.dumps(entries, indent=1).encode())
            except OSError as error:
                log.warning(
                    "The hash cache %s cannot be written (%s); the hash is computed again next time.", self._path, error
                )

    def _read(self) -> dict[str, "_Hashed"]:
        try:
            return _hashes(read_json(self._path, names_files=True))
        except FileNotFoundError:
            return {}
        except Unreadable:
            with self._alone():
                return self._loaded()

    def _loaded(self) -> dict[str, "_Hashed"]:
        """The entries of the cache file; a damaged file is set aside. Call this while holding the lock."""
        try:
            return _hashes(read_json(self._path, names_files=True))
        except FileNotFoundError:
            return {}
        except Unreadable as reason:
            put_aside(self._path, reason)
            return {}

    def _alone(self) -> AbstractContextManager[None]:
        return _locked(self._path.with_name(f"{self._path.name}.lock"))


class _Hashed(NamedTuple):
    """The hash of a file; `stamp` is the file's size in bytes and its modification time in nanoseconds."""

    stamp: tuple[int, int]
    digest: str


def _hashes(kept: Any) -> dict[str, _Hashed]:
    """The entries of a hash cache file; invalid ones are left out and computed again. Raises Unreadable."""
    if not isinstance(kept, dict):
        raise Unreadable("it is not a JSON object")
    found: dict[str, _Hashed] = {}
    for key, value in cast(dict[str, Any], kept).items():
        match value:
            case [int(size), int(changed), str(digest)] if _SHA256.fullmatch(digest):
                found[key] = _Hashed((size, changed), digest)
            case _:
                log.info("The hash of %s cannot be read; it is computed again when it is needed.", key)
    return found


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Locks out all other processes and threads; does nothing if the disk does not support locks or is full."""
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        log.info("%s cannot be locked (%s); a file may be read twice.", path, error)
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _tensors_key(file: Path) -> str:
    return f"{real_path(file)}#tensors"


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def is_diffusers_folder(path: Path) -> bool:
    return (path / DIFFUSERS_INDEX).is_file()


def weights_of(path: Path) -> Path:
    """The file that represents a checkpoint: itself, or the denoiser's first weights in a diffusers folder."""
    if not path.is_dir():
        return path
    found = (sorted((path / part).glob(f"*{ending}")) for part in DENOISERS for ending in (".safetensors", ".bin"))
    return next((files[0] for files in found if files), path / DIFFUSERS_INDEX)


def find_checkpoints(folders: Iterable[Path], hashes: HashCache | None = None) -> list[Checkpoint]:
    """All checkpoints below `folders`, sorted by name: the relative path, with forward slashes. Names are unique.

    Links are followed; hidden files, VAEs and missing folders are skipped. Only the small JSON next to a checkpoint is
    read, so damaged files are listed too, and their errors are reported when they are loaded. Hashes are included if
    `hashes` has them.
    """
    found: dict[Path, tuple[Path, str]] = {}
    for folder, here, inner, files in _folders_below(folders):
        paths = [
            here / name
            for name in files
            if name.lower().endswith(SINGLE_FILE_SUFFIXES) and not name.lower().endswith(BESIDE_CHECKPOINTS)
        ]
        if here != folder and is_diffusers_folder(here):
            inner.clear()  # its parts are not separate checkpoints
            paths = [here]
        for path in sorted(paths):
            found.setdefault(real_path(path), (path, path.relative_to(folder).as_posix()))
    checkpoints = [
        Checkpoint(name, path, hashes.known(path) if hashes else "", read_defaults(path))
        for name, (path, _) in zip(distinct_names(found.values()), found.values(), strict=True)
    ]
    return sorted(checkpoints, key=lambda checkpoint: checkpoint.name.lower())


def find_vaes(
    folders: Iterable[Path], checkpoint_folders: Iterable[Path] = (), hashes: HashCache | None = None
) -> tuple[Vae, ...]:
    """All VAEs below `folders`, and files with `.vae` before their suffix below the checkpoint folders, by name.

    A VAE in a folder with a `config.json`, as saved by diffusers, has the folder's name. Names are unique.
    """
    paths = [
        *find_files(folders, (*VAE_SUFFIXES, f"{DIFFUSERS_WEIGHTS}.bin")),
        *find_files(checkpoint_folders, BESIDE_CHECKPOINTS),
    ]
    # A pipe, device or broken link next to a checkpoint would otherwise be used automatically.
    found = list({real_path(path): path for path in reversed(paths) if path.is_file()}.values())[::-1]
    names = distinct_names((path, path.parent.name if is_diffusers_part(path) else path.name) for path in found)
    vaes = [Vae(name, path, hashes.known(path) if hashes else "") for name, path in zip(names, found, strict=True)]
    return tuple(sorted(vaes, key=lambda vae: vae.name.lower()))


def is_diffusers_part(path: Path) -> bool:
    """Whether `path` is the weights file of a folder saved by diffusers, described by its `config.json`."""
    return path.name.startswith(DIFFUSERS_WEIGHTS) and (path.parent / "config.json").is_file()


def find_files(folders: Iterable[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """All files below `folders` with one of `suffixes` (lower case), each once, sorted by name, then by folder.

    Links are followed; hidden files and missing folders are skipped.
    """
    found: dict[Path, Path] = {}
    for _, here, _, files in _folders_below(folders):
        real = real_path(here)
        for name in sorted(files):
            if name.lower().endswith(suffixes):
                path = here / name
                found.setdefault(real_path(path) if path.is_symlink() else real / name, path)  # resolves only one link
    return sorted(found.values(), key=lambda path: path.name.lower())


def stamp_of_folders(folders: Iterable[Path]) -> frozenset[tuple[str, int, int]]:
    """(path, size, modification time) of all files below `folders`; differs after any file has changed."""
    found: set[tuple[str, int, int]] = set()
    for _, here, _, files in _folders_below(folders):
        for name in files:
            path = here / name
            try:
                found.add((str(path), *_stamp(path)))
            except OSError:  # a broken link, or just deleted
                found.add((str(path), -1, 0))
    return frozenset(found)


def _folders_below(folders: Iterable[Path]) -> Iterator[tuple[Path, Path, list[str], list[str]]]:
    """(root folder, folder, its subfolders, its files) for each folder, each once; hidden ones are skipped.

    The caller can remove entries from the subfolders to skip them.
    """
    visited: set[Path] = set()
    for folder in folders:
        for root, inner, files in os.walk(folder, followlinks=True):
            here = Path(root)
            if real_path(here) in visited:  # a link that forms a loop
                inner.clear()
                continue
            visited.add(real_path(here))
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            yield folder, here, inner, [name for name in files if not name.startswith(".")]


class Description(NamedTuple):
    """The header of a safetensors file: its tensors, and its metadata, text by key.

    `starts` are the byte offsets in the file at which the tensors' data start.
    """

    header: Header
    metadata: Mapping[str, str]
    starts: Mapping[str, int]


def read_header(path: Path, longest: int = LONGEST_HEADER) -> Header:
    """Names, types and shapes of the tensors of a safetensors file. Raises like `read_description`."""
    return read_description(path, longest).header


def read_metadata(path: Path) -> Mapping[str, str]:
    """The metadata of a safetensors file, text by key. Raises like `read_description`."""
    return read_description(path).metadata


def read_description(path: Path, longest: int = LONGEST_HEADER) -> Description:
    """The header of a safetensors file.

    Raises WebuiError if the file is empty, truncated (with expected and actual bytes), not a safetensors file, or has a
    header of more than `longest` bytes. Raises OSError.
    """
    described, length = _described(path, longest)
    metadata_field = described.pop("__metadata__", {})
    if not isinstance(metadata_field, dict):
        raise damaged(path)
    metadata = {key: value for key, value in cast(dict[str, Any], metadata_field).items() if isinstance(value, str)}
    require_names(path, list(described))
    header: dict[str, TensorInfo] = {}
    spans: list[Span] = []
    for key, value in described.items():
        header[key], start, stop = tensor_info(path, value)
        spans.append(Span(start, stop, key))
    actual = path.stat().st_size
    expected = LENGTH_BYTES + length + max((span.stop for span in spans), default=0)
    if actual < expected:
        raise truncated(path, expected, actual)
    require_apart(path, spans)
    return Description(header, metadata, {span.key: LENGTH_BYTES + length + span.start for span in spans})


def _described(path: Path, longest: int) -> tuple[dict[str, Any], int]:
    """(the parsed header of a safetensors file, its length in bytes)."""
    if format_of(path) != "safetensors":
        raise WebuiError(
            f"{path.name} is not a safetensors file but one that torch has saved.", "Give it the ending .pt.", FIELD
        )
    with open_file(path) as file:
        actual = os.fstat(file.fileno()).st_size
        length = header_length(file.read(LENGTH_BYTES))
        if actual < LENGTH_BYTES + length:
            raise truncated(path, LENGTH_BYTES + length, actual, at_least=True)
        if length > longest:
            raise WebuiError(
                f"{path.name} has a header of {length} bytes, expected at most {longest}.", "Choose another.", FIELD
            )
        raw = file.read(length)
    try:
        described = parse_json(raw.decode("utf-8"))
    except ValueError as error:
        raise damaged(path) from error
    if not isinstance(described, dict):
        raise damaged(path)
    return cast(dict[str, Any], described), length


def size_in_bytes(header: Header) -> int:
    """The size of all tensors as stored, in bytes."""
    total = 0
    for dtype, shape in header.values():
        elements = 1
        for side in shape:
            elements *= side
        total += elements * DTYPE_BITS.get(dtype, 32) // 8
    return total


def read_defaults(checkpoint: Path) -> dict[str, Default]:
    """The size, steps, CFG, hires values and so on that the JSON next to a checkpoint (`name.json`) recommends.

    Keys are the API's names, except for the strength of hires fix (`HIRES_STRENGTH`). Other keys are ignored (A1111
    keeps notes in a JSON of the same name); so are values that the form does not accept, with a warning in the log.
    """
    beside = checkpoint / "defaults.json" if checkpoint.is_dir() else checkpoint.with_suffix(".json")
    try:
        content = parse_json(read_text(beside))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, WebuiError) as error:
        log.warning("%s cannot be read (%s); the checkpoint is used without its defaults.", beside, error)
        return {}
    defaults: dict[str, Default] = {}
    for key, value in content.items() if isinstance(content, dict) else ():
        kind = _DEFAULTS.get(key)
        if kind is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kind):
            log.warning("%s: %s=%r is of the wrong type and is passed over.", beside, key, value)
            continue
        try:
            defaults[key] = _checked(key, value)
        except WebuiError as error:
            log.warning("%s: %s=%r is passed over. %s", beside, key, value, error.message)
    return defaults


def _checked(key: str, value: Default) -> Default:
    """`value` as the form stores it. Raises WebuiError if the field does not accept it."""
    name = "denoising_strength" if key == HIRES_STRENGTH else key
    if name not in Txt2ImgRequest.model_fields:  # a setting
        return value
    checked: Default = getattr(Txt2ImgRequest.parse({name: value}), name)
    return checked
