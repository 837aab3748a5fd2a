"""Writing files atomically: a file is complete or absent, and never replaces another one."""

import contextlib
import errno
import os
import re
import secrets
import time
from pathlib import Path

from modules.base.errors import WebuiError

DRAFT = ".palimpsest-draft"
STALE_SECONDS = 3600  # a draft this old belongs to a process that was killed

NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}  # exFAT, some network drives
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def write_new(path: Path, data: bytes) -> None:
    """Write `data` as the new file `path`, durably; its folder is created if necessary.

    Raises FileExistsError if `path` exists, even if it was created meanwhile, and OSError if the disk refuses; then
    nothing is left behind.
    """
    draft = _drafted(path, data)
    try:
        _claim(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_over(path: Path, data: bytes) -> None:
    """Write `data` as `path`, durably, replacing an existing file. Raises OSError; then the old file is unchanged."""
    draft = _drafted(path, data)
    try:
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def publish(draft: Path, path: Path, over: bool = False) -> None:
    """Rename `draft`, a complete and synced file in the same folder, to `path`, durably.

    Raises FileExistsError if `path` exists and `over` is False, and OSError; then `draft` is still there.
    """
    if over:
        draft.replace(path)
    else:
        _claim(draft, path)
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def append_line(path: Path, line: bytes, first: bytes = b"", new: bool = True) -> None:
    """Add `line`, without its line end, to the file `path`, durably.

    A line that a crash cut short is terminated first, so that it damages no other. `first`, if given, becomes the
    first line of an empty file. Raises FileNotFoundError if there is no file and `new` is False, and OSError if the
    disk refuses; then the file is unchanged.
    """
    handle = os.open(path, os.O_RDWR | (os.O_CREAT if new else 0) | getattr(os, "O_BINARY", 0), 0o644)
    try:
        before = os.lseek(handle, 0, os.SEEK_END)
        lines = [*([first] if first and not before else []), line, b""]
        if before:
            os.lseek(handle, before - 1, os.SEEK_SET)
            if os.read(handle, 1) != b"\n":
                lines.insert(0, b"")
        try:
            write_all(handle, b"\n".join(lines))
            os.fsync(handle)
        except BaseException:
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Sync the entries of `folder` to disk, where the system can sync folders."""
    with contextlib.suppress(OSError):  # Windows cannot open folders, and some network drives cannot sync them
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write `data` to an open file; a single write may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def sweep(folder: Path) -> None:
    """Remove drafts that a killed process left in `folder`; one that cannot be removed stays."""
    with contextlib.suppress(OSError):
        for draft in folder.glob(f"*{DRAFT}"):
            _remove_stale(draft)


def sweep_below(folder: Path) -> None:
    """`sweep` in `folder` and all its subfolders, without following links."""
    for here, _, names in os.walk(folder):
        for name in names:
            if name.endswith(DRAFT):
                _remove_stale(Path(here) / name)


def sizes_in(folder: Path, name: re.Pattern[str]) -> dict[str, int]:
    """The sizes in bytes of the matching files in `folder`, least recently used first."""
    found: list[tuple[int, str, int]] = []
    with contextlib.suppress(OSError):  # the folder is missing or unreadable
        for path in folder.iterdir():
            if name.fullmatch(path.name):
                with contextlib.suppress(OSError):  # deleted meanwhile, or a broken link
                    status = path.stat()
                    found.append((status.st_mtime_ns, path.name, status.st_size))
    return {name: size for _, name, size in sorted(found)}


def refusal(what: str, folder: Path, error: OSError) -> WebuiError:
    """The sentence for an OSError met while `what` was written to `folder`."""
    if error.errno in FULL:
        reason, hint = "the disk is full", "Free some disk space, then generate again. Files saved before are intact."
    elif error.errno in FORBIDDEN:
        reason, hint = "it cannot be written", "Make the folder writable, or start with another --data-dir."
    elif error.errno == errno.ENOTDIR:
        reason = error.strerror or "a file is in the way"
        hint = f"Move or rename {error.filename or folder}, then generate again."
    else:
        reason, hint = error.strerror or str(error), "Check that the drive is connected and healthy."
    return WebuiError(f"{what} cannot be saved in {folder}: {reason}.", hint, status=507)


def _remove_stale(draft: Path) -> None:
    with contextlib.suppress(OSError):  # deleted meanwhile, or not ours to remove
        if time.time() - draft.lstat().st_mtime > STALE_SECONDS:
            draft.unlink()


def _drafted(path: Path, data: bytes) -> Path:
    """Write `data` to disk, complete, under a unique name beside `path`."""
    if not path.parent.is_dir():
        _make(path.parent)
    draft = path.with_name(f".{path.name[:64]}.{secrets.token_hex(8)}{DRAFT}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)
    try:
        try:
            write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:  # not the file to be written
        name = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
        raise NotADirectoryError(errno.ENOTDIR, f"{name} is not a folder", str(name)) from error


def _claim(draft: Path, path: Path) -> None:
    """Link `draft` as `path` too, unless that exists."""
    try:
        path.hardlink_to(draft)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Without hard links: take the name with an empty file, which fails if it is taken, then move over it.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        try:
            draft.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
