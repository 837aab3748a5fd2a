"""A cache of the headers of model files, so that the next start does not read them again. Does not import torch."""

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from modules.base.disk import write_over
from modules.base.kept import Unreadable, put_aside, read_json

log = logging.getLogger(__name__)

VERSION: Final = 1  # of the cache file; a file of another version is discarded
MOST: Final = 200_000  # entries; above this, entries not used since the start are dropped

Facts = Mapping[str, Any]  # JSON values


class Stamp(NamedTuple):
    """The state of a file when it was read: its modification time in nanoseconds, its size in bytes, its inode."""

    path: Path
    changed: int
    size: int
    inode: int


def stamp_of(path: Path) -> Stamp:
    """The current stamp of `path`. Raises OSError."""
    status = path.stat()
    return Stamp(path, status.st_mtime_ns, status.st_size, status.st_ino)


class _CachedHeader(NamedTuple):
    """`inode` is 0 for entries read from the cache file: some network drives renumber their files."""

    size: int
    changed: int
    inode: int
    facts: Facts
    is_kept: bool


class HeaderCache:
    """The contents of file headers, by kind, path, size and modification time. Safe to use from any thread.

    The cache is read from the JSON at `path`, and `save` writes it there; without a path, it is only in memory. The
    file may be deleted at any time; a damaged file is replaced.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries = _read(path) if path else {}
        self._used: set[str] = set()
        self._is_changed = False

    def get(self, kind: str, stamp: Stamp) -> Facts | None:
        """The cached facts about the file that `stamp` describes; None if there are none."""
        key = _key(kind, stamp)
        entry = self._entries.get(key)
        if entry is None or entry[:2] != (stamp.size, stamp.changed) or entry.inode not in (0, stamp.inode):
            return None
        self._used.add(key)
        return entry.facts

    def put(self, kind: str, stamp: Stamp, facts: Facts, is_kept: bool = True) -> None:
        """Caches `facts` about a file. Without `is_kept` (such as the reason why a file is unreadable) they are not
        saved."""
        key = _key(kind, stamp)
        with self._lock:
            self._entries[key] = _CachedHeader(stamp.size, stamp.changed, stamp.inode, facts, is_kept)
            self._used.add(key)
            self._is_changed = True

    def save(self) -> None:
        """Writes the cache file if anything has changed. If the disk refuses, the next start reads headers again."""
        if self._path is None or not self._is_changed:
            return
        with self._lock:
            self._is_changed = False
            kept = {key: entry for key, entry in self._entries.items() if entry.is_kept}
            if len(kept) > MOST:
                kept = {key: entry for key, entry in kept.items() if key in self._used}
        files = {key: [entry.size, entry.changed, entry.facts] for key, entry in kept.items()}
        try:
            write_over(self._path, json.dumps({"version": VERSION, "files": files}, separators=(",", ":")).encode())
        except OSError as error:
            log.warning("%s cannot be written (%s); headers of models are read again next time.", self._path, error)


def _key(kind: str, stamp: Stamp) -> str:
    return f"{kind} {stamp.path}"


def _read(path: Path) -> dict[str, _CachedHeader]:
    """The entries of the cache file; invalid entries are left out, so that their model files are read again."""
    try:
        kept = read_json(path, names_files=True)
        if not isinstance(kept, dict):
            raise Unreadable("it is not a JSON object")
    except FileNotFoundError:
        return {}
    except Unreadable as reason:
        put_aside(path, reason)
        return {}
    content = cast(dict[str, Any], kept)
    files = content.get("files")
    if content.get("version") != VERSION or not isinstance(files, dict):
        return {}
    entries: dict[str, _CachedHeader] = {}
    for key, value in cast(dict[str, Any], files).items():
        match value:
            case [int(size), int(changed), dict(facts)]:
                entries[key] = _CachedHeader(size, changed, 0, cast(Facts, facts), True)
            case _:
                log.info("What is kept of %s cannot be read; its header is read again.", key)
    return entries
