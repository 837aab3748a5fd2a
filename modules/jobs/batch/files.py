"""The files of a batch, by name: from uploads, a zip, or a folder inside the data folders.

Nothing is unpacked or kept in memory: a file is read when the batch reaches it. Names are checked first, because
results are named after them.
"""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.base.paths import below, checked_name, legible
from modules.base.picture import MAX_BYTES

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
TEXT, TABLE, ZIP = ".txt", ".csv", ".zip"
MOST_FILES = 10_000
MAX_TEXT = 1_000_000  # bytes in a .txt or .csv
MAX_TOTAL = 64 << 30  # bytes, uncompressed, of all files in a zip
MAX_RATIO = 200  # of the size of a zipped file to its compressed size, for files larger than:
RATIO_FROM = 1 << 20  # bytes; small blank pictures compress extremely well
MAX_DIRECTORY = 8 << 20  # bytes of a zip's central directory, which zipfile reads at once: about 80 per file
END_OF_ZIP, LAST_RECORD = b"PK\5\6", 22  # bytes
ZIP64 = 0xFFFFFFFF  # instead of a length, which is then in another record
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
NUMBERS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class BatchFile:
    """A file by its name within the batch ("holiday/photo.png"). `read` raises WebuiError if it fails."""

    name: str
    size: int  # bytes
    read: Callable[[], bytes] = field(repr=False, compare=False)

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    @property
    def key(self) -> str:
        """The case-folded name without its suffix; masks and texts are matched to pictures by it."""
        return self.name[: -len(self.suffix)].casefold() if self.suffix else self.name.casefold()

    @property
    def stem(self) -> str:
        """The last part of `key`."""
        return self.key.rpartition("/")[2]


@dataclass(frozen=True)
class FileSet:
    """Entries sorted by name: pictures, texts and tables, and other files."""

    pictures: tuple[BatchFile, ...] = ()
    texts: tuple[BatchFile, ...] = ()
    tables: tuple[BatchFile, ...] = ()
    others: tuple[str, ...] = ()


def sorted_out(entries: Iterable[BatchFile]) -> FileSet:
    """`entries` as a FileSet. Raises WebuiError if there are too many."""
    ordered = sorted((file for file in entries if not _is_hidden(file.name)), key=lambda file: _natural(file.name))
    if len(ordered) > MOST_FILES:
        raise WebuiError(
            f"files: {len(ordered)} files were given; at most {MOST_FILES} are taken.",
            "Split them into several batches.",
            "files",
        )
    by_suffix: dict[str, list[BatchFile]] = {TEXT: [], TABLE: [], "picture": [], "": []}
    for file in ordered:
        kind = "picture" if file.suffix in PICTURE_SUFFIXES else file.suffix if file.suffix in by_suffix else ""
        by_suffix[kind].append(file)
    return FileSet(
        tuple(by_suffix["picture"]),
        tuple(by_suffix[TEXT]),
        tuple(by_suffix[TABLE]),
        tuple(file.name for file in by_suffix[""]),
    )


def in_order(names: Sequence[str], entries: Iterable[BatchFile]) -> FileSet:
    """Like `sorted_out`, but with exactly the pictures called `names`, in that order.

    A missing picture raises WebuiError when it is read.
    """
    found = sorted_out(entries)
    by_name: dict[str, list[BatchFile]] = {}
    for file in found.pictures:
        by_name.setdefault(file.name, []).append(file)
    pictures = [by_name[name].pop(0) if by_name.get(name) else BatchFile(name, 0, _missing(name)) for name in names]
    return replace(found, pictures=tuple(pictures), others=())


def _missing(name: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise WebuiError(f"{name}: the file no longer exists.", "Upload it again.", "files", status=404)

    return read


def from_files(files: Sequence[tuple[str, Path]]) -> list[BatchFile]:
    """Entries for uploaded files; zips are replaced by their contents. Raises WebuiError for an invalid name or zip."""
    entries: list[BatchFile] = []
    for name, path in files:
        name = checked_name(name)
        if name.lower().endswith(ZIP):
            entries += from_zip(name, path)
        else:
            entries.append(BatchFile(name, path.stat().st_size, _file_reader(name, path)))
    return entries


def from_zip(name: str, path: Path) -> list[BatchFile]:
    """The files in a zip.

    Raises WebuiError if the zip is damaged, encrypted, has paths that lead outside it, or is a zip bomb.
    """

    def refused(reason: str, hint: str = "Create the zip again.") -> WebuiError:
        return WebuiError(f"{name}: {reason}.", hint, "files")

    try:
        with _Bounded(path) as file:
            _require_short(file)
            with zipfile.ZipFile(file) as archive:
                infos = [info for info in archive.infolist() if not info.is_dir()]
    except _TooLong:
        raise refused("the zip lists far too many files") from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise refused(f"the zip cannot be read ({error})") from error
    if len(infos) > MOST_FILES:
        raise refused(
            f"the zip contains {len(infos)} files; at most {MOST_FILES} are allowed", "Split it into several zips."
        )
    if sum(info.file_size for info in infos) > MAX_TOTAL:
        raise refused("its files would take more than 64 GB unpacked")
    entries: list[BatchFile] = []
    for info in infos:
        inside = checked_name(info.filename, within=name)
        shown = inside[-80:]
        if info.flag_bits & 1:
            raise refused("the zip is encrypted", "Create it without a password.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise refused(f"{shown} is a link, not a file")
        if info.compress_type not in COMPRESSIONS:
            raise refused(f"{shown} uses an unsupported compression method", "Use ordinary zip compression (deflate).")
        if info.file_size > MAX_BYTES:
            raise refused(f"{shown} has {info.file_size >> 20} MB; at most {MAX_BYTES >> 20} MB are allowed")
        if info.file_size > max(RATIO_FROM, MAX_RATIO * info.compress_size):
            raise refused(f"{shown} would unpack to {info.file_size // max(info.compress_size, 1)} times its size")
        entries.append(BatchFile(inside, info.file_size, _zip_reader(name, path, info)))
    return entries


class Folders:
    """The folders on the server that a batch may read: those inside `roots`, by names such as "inputs/holiday"."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = dict(roots)

    def entries(self, name: str) -> list[BatchFile]:
        """All files in a folder and its subfolders. Links that lead outside the roots are skipped.

        Raises WebuiError (404) if there is no such folder.
        """
        folder, root = self._located(name)
        entries: list[BatchFile] = []
        for path in sorted(folder.rglob("*")):
            if len(entries) > MOST_FILES:
                break
            inside = path.relative_to(folder).as_posix()
            if not _is_hidden(inside) and path.is_file() and path.resolve().is_relative_to(root):
                entries.append(
                    BatchFile(checked_name(legible(inside)), path.stat().st_size, _file_reader(inside, path))
                )
        return entries

    def names(self, most: int = 200) -> list[str]:
        """The existing folders, two levels deep."""
        found: list[str] = []
        for name, root in self._roots.items():
            if root.is_dir():
                below = sorted(path for path in (*root.glob("*"), *root.glob("*/*")) if path.is_dir())
                inside = [shown(path.relative_to(root).as_posix()) for path in below]
                found += [name, *(f"{name}/{path}" for path in inside if not _is_hidden(path))]
        return found[:most]

    def _located(self, name: str) -> tuple[Path, Path]:
        first, _, rest = name.strip().replace("\\", "/").strip("/").partition("/")
        if first in self._roots and not any(part in ("..", ".") for part in rest.split("/")):
            folder = below(self._roots[first], rest, strict=True)
            if folder is not None and folder.is_dir():
                return folder, self._roots[first].resolve()
        names = " or ".join(f"{name}/" for name in self._roots)
        raise WebuiError(
            f"folder: no folder named {name[:200]!r}.",
            f"Choose a folder inside {names} in the data folder, such as inputs/holiday.",
            "folder",
            status=404,
        )


def text_of(file: BatchFile) -> str:
    """The text of a .txt or .csv: UTF-8, else Latin-1. Raises WebuiError if it is not text or too long."""
    if file.size > MAX_TEXT:
        raise WebuiError(f"{file.name}: the text has {file.size} bytes; at most {MAX_TEXT} are allowed.", field="files")
    data = file.read()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _file_reader(name: str, path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            if path.stat().st_size > MAX_BYTES:
                raise WebuiError(f"{name}: the file is larger than the limit of {MAX_BYTES >> 20} MB.", field="files")
            return path.read_bytes()
        except OSError as error:
            raise WebuiError(f"{name}: the file cannot be read: {error.strerror or error}.", field="files") from error

    return read


def _zip_reader(name: str, path: Path, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with _Bounded(path) as held, zipfile.ZipFile(held) as archive, archive.open(info) as file:
                data = file.read(info.file_size + 1)  # at most one byte more than its declared size
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, zlib.error, _TooLong) as error:
            raise WebuiError(f"{info.filename}: it is damaged in {name} ({error}).", field="files") from error
        if len(data) != info.file_size:
            raise WebuiError(f"{info.filename}: it is damaged in {name} (its size does not match the zip's directory).")
        return data

    return read


class _TooLong(Exception):
    """A zip's central directory is longer than MAX_DIRECTORY."""


class _Bounded(io.FileIO):
    """A zip file that is read in pieces of bounded size.

    The central directory is read in one piece, whichever record gives its length. zipfile alone would trust a false
    length, and parsing millions of names takes half a minute.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            at = self.tell()
            size = self.seek(0, io.SEEK_END) - at
            self.seek(at)
        if size > MAX_DIRECTORY:
            raise _TooLong
        return super().read(size) or b""


def _require_short(file: _Bounded) -> None:
    """Raises _TooLong for a central directory that claims to be too long but is missing; zipfile would complain about
    offsets instead."""
    length = file.seek(0, io.SEEK_END)
    file.seek(max(0, length - LAST_RECORD))
    record = file.read()
    is_plain = record.startswith(END_OF_ZIP) and record.endswith(b"\0\0")  # no comment after it
    if is_plain and MAX_DIRECTORY < struct.unpack_from("<I", record, 12)[0] < ZIP64:
        raise _TooLong


def _is_hidden(name: str) -> bool:
    """Whether an operating system created the file: .DS_Store, __MACOSX, Thumbs.db."""
    parts = name.split("/")
    return any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX" or parts[-1].lower() == "thumbs.db"


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key that puts photo2 before photo10."""
    parts = NUMBERS.split(name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
