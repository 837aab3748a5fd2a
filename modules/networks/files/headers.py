"""What the headers of model files contain, kept in a file so that the next start reads none of them. Free of torch."""

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from modules.base.disk import write_over
from modules.base.kept import Unreadable, put_aside, read_json

log = logging.getLogger(__name__)

VERSION: Final = 1  # of what is kept; a file of another one is made anew
MOST: Final = 200_000  # entries; beyond them those go that nobody has asked for since the start

Facts = Mapping[str, Any]  # as JSON has it


class Stamp(NamedTuple):
    """A file as it was when it was looked at: its time of change in nanoseconds, its bytes, its number on the disk."""

    path: Path
    changed: int
    size: int
    inode: int


def stamp_of(path: Path) -> Stamp:
    """Raises OSError."""
    status = path.stat()
    return Stamp(path, status.st_mtime_ns, status.st_size, status.st_ino)


class _CachedHeader(NamedTuple):
    """`inode` is 0 where it was read from the disk: some network drives number their files anew."""

    size: int
    changed: int
    inode: int
    facts: Facts
    is_kept: bool


class HeaderCache:
    """What headers of files contain, by kind, path, size and time of change. May be used from any thread.

    It is read from the JSON at `path` and written there by `save`; without a path it lasts as long as the object. The
    file may be deleted at any time, and a damaged one is made anew.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries = _read(path) if path else {}
        self._used: set[str] = set()
        self._is_changed = False

    def get(self, kind: str, stamp: Stamp) -> Facts | None:
        """What is known of the file that `stamp` describes; None for nothing."""
        key = _key(kind, stamp)
        entry = self._entries.get(key)
        if entry is None or entry[:2] != (stamp.size, stamp.changed) or entry.inode not in (0, stamp.inode):
            return None
        self._used.add(key)
        return entry.facts

    def put(self, kind: str, stamp: Stamp, facts: Facts, is_kept: bool = True) -> None:
        """Remember `facts` about a file. What is not `is_kept`, such as why it cannot be read, is not saved."""
        key = _key(kind, stamp)
        with self._lock:
            self._entries[key] = _CachedHeader(stamp.size, stamp.changed, stamp.inode, facts, is_kept)
            self._used.add(key)
            self._is_changed = True

    def save(self) -> None:
        """Write what has changed since the last time. If the disk refuses, files are read again at the next start."""
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
    """The entries of the file; those that cannot be understood are left out, and their files read again."""
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
