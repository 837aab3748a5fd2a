"""Checkpoint files without loading them: finding, naming, hashing, and reading a safetensors header. Free of torch."""

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

SINGLE_FILE_SUFFIXES: Final = (".safetensors", ".ckpt")
VAE_SUFFIXES: Final = (".safetensors", ".ckpt", ".pt")
BESIDE_CHECKPOINTS: Final = tuple(f".vae{suffix}" for suffix in VAE_SUFFIXES)  # ends of VAEs' names there
DIFFUSERS_WEIGHTS: Final = "diffusion_pytorch_model"  # how a part's file is called, whatever its model
DIFFUSERS_INDEX: Final = "model_index.json"
SHORT_HASH: Final = 10  # hex digits shown to people, as in A1111's titles
LOCKS: Final = "locks"  # folder beside the hash cache: a lock for each file that is being read
_SHA256: Final = re.compile("[0-9a-f]{64}")
LONGEST_HEADER: Final = 32 * 2**20  # bytes that are read; the largest hold pictures
_DEFAULTS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "prompt": str, "negative_prompt": str, "width": int, "height": int, "steps": int, "cfg_scale": (int, float),
    "sampler_name": str, "scheduler": str, "denoising_strength": (int, float), "clip_skip": int,
    "hr_upscaler": str, "hr_scale": (int, float), "hr_second_pass_steps": int, HIRES_STRENGTH: (int, float),
    "hr_sampler_name": str, "hr_scheduler": str,
}  # fmt: skip


class HashCache:
    """sha256 of files, computed once and kept in a JSON at `path`, keyed by path, size and time of change.

    Several processes may share it: each file is read by one of them, and what one adds the others keep.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = self._read()

    def sha256(self, file: Path) -> str:
        """The file's sha256 in hex (64 digits). For a diffusers folder, that of its UNet weights."""
        file = weights_of(file)
        return self._remembered(str(real_path(file)), file, 0)

    def tensors_sha256(self, file: Path) -> str:
        """The sha256 of a safetensors file's tensors without its header, which notes may change: a LoRA's hash."""
        known = self.known_tensors(file)
        if known:
            return known
        start = 0
        if format_of(file) == "safetensors":
            with open_file(file) as stream:
                start = LENGTH_BYTES + header_length(stream.read(LENGTH_BYTES))
        return self._remembered(_tensors_key(file), file, start)

    def known_tensors(self, file: Path) -> str:
        """What `tensors_sha256` would say if it is in the cache and the file has not changed since, else ""."""
        return self._known(_tensors_key(file), file)

    def short(self, file: Path) -> str:
        """The first ten digits of the sha256: A1111's model hash."""
        return self.sha256(file)[:SHORT_HASH]

    def known(self, file: Path) -> str:
        """The sha256 if it is in the cache and the file has not changed since, else ""."""
        file = weights_of(file)
        return self._known(str(real_path(file)), file)

    def _known(self, key: str, file: Path) -> str:
        entry = self._entries.get(key)
        return entry.digest if entry and file.exists() and entry.stamp == _stamp(file) else ""

    def _remembered(self, key: str, file: Path, start: int) -> str:
        """The sha256 of a file from byte `start` on: from the cache, or read, by one process or thread at a time."""
        known = self._known(key, file)
        if known:
            return known
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        with _locked(self._path.parent / LOCKS / name):
            self._entries = self._read()
            known = self._known(key, file)  # by whoever had the lock before
            if known:
                return known
            stamp = _stamp(file)
            with open_file(file) as stream:
                stream.seek(start)
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if stamp == _stamp(file):  # else it was written to meanwhile
                self._add(key, _Hashed(stamp, digest))
        return digest

    def _add(self, key: str, hashed: "_Hashed") -> None:
        """Enter a hash beside what other processes have entered meanwhile."""
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
        """What the file holds; a damaged one is put aside. To be called by who has it alone."""
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
    """What is known of a file: `stamp` is its size and its time of change in nanoseconds."""

    stamp: tuple[int, int]
    digest: str


def _hashes(kept: Any) -> dict[str, _Hashed]:
    """The entries of a hash cache's file; what is none is left out, and computed again. Raises Unreadable."""
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
    """Alone among all processes and threads; where the disk knows no locks, or is full, together with them."""
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
    """The file whose bytes stand for a checkpoint: itself, or the first UNet weights of a diffusers folder."""
    if not path.is_dir():
        return path
    found = sorted((path / "unet").glob("*.safetensors")) or sorted((path / "unet").glob("*.bin"))
    return found[0] if found else path / DIFFUSERS_INDEX


def find_checkpoints(folders: Iterable[Path], hashes: HashCache | None = None) -> list[Checkpoint]:
    """All checkpoints below `folders`, by name: the path below the folder, with forward slashes. No name comes twice.

    Links are followed, hidden files, VAEs and folders that do not exist are passed over. Nothing is opened but the
    small JSON beside a checkpoint, so a damaged file is listed too and tells its fault when it is loaded. What `hashes`
    knows of them is told.
    """
    found: dict[Path, tuple[Path, str]] = {}
    for folder, here, inner, files in _folders_below(folders):
        paths = [
            here / name
            for name in files
            if name.lower().endswith(SINGLE_FILE_SUFFIXES) and not name.lower().endswith(BESIDE_CHECKPOINTS)
        ]
        if here != folder and is_diffusers_folder(here):
            inner.clear()  # its parts are no checkpoints of their own
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
    """All VAEs below `folders`, and below those of checkpoints the files that end with `.vae` and a suffix, by name.

    One in a folder of its own with a `config.json`, as diffusers saves it, has the folder's name. No name comes twice.
    """
    paths = [
        *find_files(folders, (*VAE_SUFFIXES, f"{DIFFUSERS_WEIGHTS}.bin")),
        *find_files(checkpoint_folders, BESIDE_CHECKPOINTS),
    ]
    # A pipe, a device or a link to nothing would be taken unasked where it lies beside a checkpoint.
    found = list({real_path(path): path for path in reversed(paths) if path.is_file()}.values())[::-1]
    names = distinct_names((path, path.parent.name if is_diffusers_part(path) else path.name) for path in found)
    vaes = [Vae(name, path, hashes.known(path) if hashes else "") for name, path in zip(names, found, strict=True)]
    return tuple(sorted(vaes, key=lambda vae: vae.name.lower()))


def is_diffusers_part(path: Path) -> bool:
    """Whether `path` are the weights of a folder that diffusers has saved, which its `config.json` describes."""
    return path.name.startswith(DIFFUSERS_WEIGHTS) and (path.parent / "config.json").is_file()


def find_files(folders: Iterable[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """All files below `folders` with one of `suffixes` (lower case), by their names, of equal ones the first folder's.

    Links are followed, hidden files and folders that do not exist are passed over.
    """
    found: dict[Path, Path] = {}
    for _, here, _, files in _folders_below(folders):
        real = real_path(here)
        for name in sorted(files):
            if name.lower().endswith(suffixes):
                path = here / name
                found.setdefault(real_path(path) if path.is_symlink() else real / name, path)  # one link read, not all
    return sorted(found.values(), key=lambda path: path.name.lower())


def stamp_of_folders(folders: Iterable[Path]) -> frozenset[tuple[str, int, int]]:
    """Path, bytes and time of change of all files below `folders`: another value once one has come, gone or changed."""
    found: set[tuple[str, int, int]] = set()
    for _, here, _, files in _folders_below(folders):
        for name in files:
            path = here / name
            try:
                found.add((str(path), *_stamp(path)))
            except OSError:  # a link to nothing, or gone by now
                found.add((str(path), -1, 0))
    return frozenset(found)


def _folders_below(folders: Iterable[Path]) -> Iterator[tuple[Path, Path, list[str], list[str]]]:
    """(the folder it began with, a folder below, its folders, its files), each folder once; nothing hidden.

    What is taken out of its folders is not entered.
    """
    visited: set[Path] = set()
    for folder in folders:
        for root, inner, files in os.walk(folder, followlinks=True):
            here = Path(root)
            if real_path(here) in visited:  # a link that leads back
                inner.clear()
                continue
            visited.add(real_path(here))
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            yield folder, here, inner, [name for name in files if not name.startswith(".")]


class Description(NamedTuple):
    """What a safetensors file tells without its numbers: its tensors, and of itself, text by name.

    `starts` are the bytes of the file at which tensors' numbers begin.
    """

    header: Header
    metadata: Mapping[str, str]
    starts: Mapping[str, int]


def read_header(path: Path, longest: int = LONGEST_HEADER) -> Header:
    """Names, types and shapes of a safetensors file's tensors, read without its data. Raises as `read_description`."""
    return read_description(path, longest).header


def read_metadata(path: Path) -> Mapping[str, str]:
    """What a safetensors file tells of itself, text by name. Raises as `read_description`."""
    return read_description(path).metadata


def read_description(path: Path, longest: int = LONGEST_HEADER) -> Description:
    """What a safetensors file tells without its numbers.

    Raises WebuiError if the file is empty, truncated, no safetensors file, or its header has more than `longest` bytes;
    a truncated one is told with expected and actual bytes. Raises OSError.
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
    """(a safetensors file's header as it stands there, its length in bytes)."""
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
    """Bytes of all tensors as stored."""
    total = 0
    for dtype, shape in header.values():
        elements = 1
        for side in shape:
            elements *= side
        total += elements * DTYPE_BITS.get(dtype, 32) // 8
    return total


def read_defaults(checkpoint: Path) -> dict[str, Default]:
    """The size, steps, CFG, hires values and the like that the JSON beside a checkpoint (`name.json`) wishes.

    They have the API's names, but for the strength of hires fix (`HIRES_STRENGTH`). Other keys are passed over (A1111
    keeps notes in a JSON of the same name); a value that the form does not take too, with a line in the log.
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
    """`value` as the form has it. Raises WebuiError if the field takes no such value."""
    name = "denoising_strength" if key == HIRES_STRENGTH else key
    if name not in Txt2ImgRequest.model_fields:  # a setting
        return value
    checked: Default = getattr(Txt2ImgRequest.parse({name: value}), name)
    return checked
