"""Finished pictures, newest first: an index of the outputs folder, with the sources of each picture.

Everything is in the files themselves, which contain their parameters and the sha256 of their source. The SQLite file
is only faster to query; it is updated on each query, rebuilt if it is missing or damaged, and kept in memory if it
cannot be written.
"""

import contextlib
import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from modules.base.errors import WebuiError
from modules.base.kept import put_aside
from modules.base.picture import Picture
from modules.infotext.grammar import pairs_of
from modules.infotext.parse import parse
from modules.store.faults import is_busy, is_unwritable
from modules.store.large import large_picture
from modules.store.metadata import EXTRAS, Metadata, read
from modules.store.outputs import SAVED, SUFFIXES, Outputs

T = TypeVar("T")

log = logging.getLogger(__name__)

VERSION = 2  # of the table; a table of another version is dropped
TABLE = """
CREATE TABLE IF NOT EXISTS pictures (
    path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, sha256 TEXT, kind TEXT, seed TEXT, width INTEGER,
    height INTEGER, infotext TEXT, source TEXT, mask TEXT, latent_mask TEXT
);
CREATE INDEX IF NOT EXISTS by_sha256 ON pictures (sha256);
CREATE INDEX IF NOT EXISTS by_source ON pictures (source);
CREATE INDEX IF NOT EXISTS by_time ON pictures (changed);
"""
COLUMNS = "path, changed, sha256, kind, seed, width, height, infotext, source, mask, latent_mask"
MOST_ANCESTORS = 100
SECONDS_FOR_LOCK = 5.0  # to wait while another program, or a thread reading new pictures, has the index locked
SECONDS_ANEW = 5.0  # spent reading pictures into a new index before it answers
POSTPROCESS = "Postprocess "  # prefix of the infotext keys of Extras
LONGEST_KEY = 64  # hex digits of a sha256


class HistoryEntry(NamedTuple):
    """A picture. `path` is relative to the outputs folder, `changed` in nanoseconds; source and masks: sha256 or ""."""

    path: str
    changed: int
    sha256: str
    kind: str
    seed: str
    width: int
    height: int
    infotext: str
    source: str
    mask: str
    latent_mask: str


class Cursor(NamedTuple):
    """The last entry of a page of the list; the next page starts after it."""

    changed: int
    sha256: str


class History:
    """The index of `outputs`, stored in `file`. Safe to use from several threads.

    Copies in saved/ are skipped; among pictures with the same bytes, only the newest is listed.
    """

    def __init__(self, outputs: Outputs, file: Path) -> None:
        self._outputs = outputs
        self._file = file
        self._looking = threading.Lock()
        self._is_checked = False
        self._in_memory = threading.Lock()  # guards what follows
        self._memory: sqlite3.Connection | None = None  # the index, if it cannot be written to disk

    def look(self, seconds: float) -> int:
        """Reads new files, newest first, for about `seconds`; returns how many are still unread."""
        with self._looking:
            return self._ask(lambda table: self._look(table, seconds))

    def page(self, count: int, before: Cursor | None = None) -> list[HistoryEntry]:
        """Up to `count` pictures, newest first, starting after `before`."""
        where = "HAVING (newest, sha256) < (?, ?)" if before else ""
        query = (
            f"SELECT {COLUMNS}, MAX(changed) AS newest FROM pictures WHERE width > 0 GROUP BY sha256 {where} "
            "ORDER BY newest DESC, sha256 DESC LIMIT ?"
        )
        return self._ask(lambda table: _entries(table.execute(query, (*(before or ()), count))))

    def find(self, sha256: str) -> HistoryEntry | None:
        """The picture with this sha256, if there is one."""
        return self._ask(lambda table: _found(table, sha256))

    def file(self, sha256: str) -> Path:
        """Its file. Raises WebuiError (404) if it is missing or has changed."""
        entry = self.find(sha256)
        if entry is not None:
            with contextlib.suppress(WebuiError, OSError):
                path = self._outputs.locate(entry.path)
                if path.stat().st_mtime_ns == entry.changed:
                    return path
        raise WebuiError(
            f"There is no picture {sha256[:12]!r} in the outputs folder.",
            "It may have been changed, moved or deleted.",
            "sha256",
            status=404,
        )

    def sources(self, entry: HistoryEntry) -> list[HistoryEntry | str]:
        """The chain of pictures it was made from, its direct source first.

        The last one may be the sha256 of a picture outside the outputs folder.
        """

        def sources(table: sqlite3.Connection) -> list[HistoryEntry | str]:
            found: list[HistoryEntry | str] = []
            seen = {entry.sha256}
            sha256 = entry.source
            while sha256 and sha256 not in seen and len(found) < MOST_ANCESTORS:
                seen.add(sha256)
                source = _found(table, sha256)
                found.append(source or sha256)
                sha256 = source.source if source else ""
            return found

        return self._ask(sources)

    def made_from(self, sha256: str) -> list[HistoryEntry]:
        """The pictures made from it, newest first."""
        query = (
            f"SELECT {COLUMNS}, MAX(changed) AS newest FROM pictures WHERE source = ? AND width > 0 "
            "GROUP BY sha256 ORDER BY newest DESC"
        )
        return self._ask(lambda table: _entries(table.execute(query, (sha256,))))

    def counts(self, hashes: list[str]) -> dict[str, int]:
        """How many pictures were made from each."""
        marks = ", ".join("?" * len(hashes))
        query = f"SELECT source, COUNT(DISTINCT sha256) FROM pictures WHERE source IN ({marks}) GROUP BY source"
        return self._ask(lambda table: dict(table.execute(query, hashes)))

    def _look(self, table: sqlite3.Connection, seconds: float) -> int:
        end = time.monotonic() + seconds
        found = dict(self._files())
        known = {path: stamp for path, *stamp in table.execute("SELECT path, size, changed FROM pictures")}
        missing = [(path,) for path in known if path not in found]
        table.executemany("DELETE FROM pictures WHERE path = ?", missing)
        new = [(path, stamp) for path, stamp in found.items() if known.get(path) != stamp]
        new.sort(key=lambda row: row[1][1], reverse=True)
        for number, (path, stamp) in enumerate(new):
            if time.monotonic() > end:
                return len(new) - number
            self._read(table, path, stamp)
        return 0

    def _files(self) -> Iterator[tuple[str, list[int]]]:
        """(path, [size, modification time]) of each picture, without links and hidden files."""
        root = self._outputs.root
        for here, folders, names in os.walk(root):
            folders[:] = [name for name in folders if not name.startswith(".") and (here != str(root) or name != SAVED)]
            for name in names:
                path = Path(here) / name
                if path.suffix.lower() in SUFFIXES and not name.startswith(".") and not path.is_symlink():
                    with contextlib.suppress(OSError):  # deleted in the meantime
                        status = path.stat()
                        yield self._outputs.relative(path), [status.st_size, status.st_mtime_ns]

    def _read(self, table: sqlite3.Connection, path: str, stamp: list[int]) -> None:
        """Adds a file; an unreadable one is recorded with width 0, so that it is not tried each time."""
        values: tuple[object, ...] = ("", "", "", 0, 0, "", "", "", "")
        try:
            file = self._outputs.locate(path)
            picture = large_picture(file)
            if picture is not None:
                with file.open("rb") as content:
                    sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            else:
                data = file.read_bytes()
                sha256 = hashlib.sha256(data).hexdigest()
                picture = Picture.checked_before(data, sha256)
            text, kind, pairs = _parsed(read(picture))
            named = [pairs.get(key, "")[:LONGEST_KEY] for key in ("Source hash", "Mask hash", "Latent mask hash")]
            seed = pairs.get("Seed", "")[:20]
            size = (picture.width, picture.height)
            values = (sha256, kind, seed, *size, text, *named)
        except (WebuiError, OSError) as error:
            log.warning("%s is not in the history: %s", path, error)
        table.execute(f"INSERT OR REPLACE INTO pictures VALUES ({', '.join('?' * 12)})", (path, *stamp, *values))

    def _ask(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `ask` on the index. A damaged index is rebuilt and queried again.

        Raises WebuiError (503) while another program has it locked.
        """
        try:
            with self._open() as table:
                return ask(table)
        except (sqlite3.DatabaseError, OSError) as error:
            self._make_anew(error)
        with self._open() as table:
            self._look(table, SECONDS_ANEW)
            return ask(table)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._in_memory:
            memory = self._memory
            if memory is not None:
                with memory:
                    yield memory
                return
        with contextlib.closing(_opened(self._file, not self._is_checked)) as table, table:
            self._is_checked = True
            yield table

    def _make_anew(self, error: sqlite3.DatabaseError | OSError) -> None:
        """Starts an empty index in place of an unusable one; in memory if the disk refuses."""
        if isinstance(error, sqlite3.Error) and is_busy(error):
            raise WebuiError(
                f"The history's index {self._file.name} is in use by another program.",
                "Try again when that program has finished.",
                status=503,
            ) from error
        try:
            if isinstance(error, sqlite3.Error) and is_unwritable(error):
                raise error
            if self._file.is_dir():
                put_aside(self._file, "it is a folder")
            else:
                log.warning("The history's index %s cannot be used (%s); it is rebuilt.", self._file, error)
                for ending in ("", "-journal", "-wal", "-shm"):
                    self._file.with_name(self._file.name + ending).unlink(missing_ok=True)
            _opened(self._file).close()
        except (sqlite3.Error, OSError) as refused:
            log.error("The history's index is kept in memory until the next start: %s.", refused)
            memory = sqlite3.connect(":memory:", check_same_thread=False)
            _prepare(memory)
            with self._in_memory:
                self._memory = self._memory or memory


def _parsed(texts: Metadata) -> tuple[str, str, dict[str, str]]:
    """(infotext, kind of job, pairs). A picture from Extras has its source's infotext, then the Extras parameters."""
    section = texts.items.get(EXTRAS, "")
    text = ", ".join(filter(None, (texts.infotext, section)))
    parsed = parse(text)
    last = pairs_of(section or text.rpartition("\n")[2])
    if not any(key.startswith(POSTPROCESS) for key in last):
        return text, parsed.kind, parsed.pairs
    of_source = {key: value for key, value in parsed.pairs.items() if not key.endswith(" hash")}
    return text, "extras", {**of_source, **{key: last[key] for key in ("Source hash",) if key in last}}


def _opened(file: Path, is_first: bool = False) -> sqlite3.Connection:
    """A connection to the index; `is_first` checks the whole file. Raises sqlite3.Error and OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table = sqlite3.connect(file, timeout=SECONDS_FOR_LOCK)
    try:
        _prepare(table)
        if is_first and (fault := table.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(fault)
    except BaseException:
        table.close()
        raise
    return table


def _prepare(table: sqlite3.Connection) -> None:
    """Creates missing tables; those of another version are dropped."""
    table.execute("PRAGMA synchronous = OFF")  # lost rows are read again from the pictures
    if table.execute("PRAGMA user_version").fetchone() != (VERSION,):
        table.execute("DROP TABLE IF EXISTS pictures")
        table.executescript(f"{TABLE}; PRAGMA user_version = {VERSION}")
    table.execute(f"SELECT {COLUMNS}, size FROM pictures LIMIT 1")


def _entries(rows: sqlite3.Cursor) -> list[HistoryEntry]:
    return [_entry(row[:-1]) for row in rows]


def _entry(row: tuple[object, ...]) -> HistoryEntry:
    """Raises sqlite3.DatabaseError for values of other types, because the file was damaged."""
    kinds = (str, int, str, str, str, int, int, str, str, str, str)
    if not all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True)):
        raise sqlite3.DatabaseError("a row of the history's index is damaged")
    return HistoryEntry(*row)  # pyright: ignore[reportArgumentType]  # checked above


def _found(table: sqlite3.Connection, sha256: str) -> HistoryEntry | None:
    rows = table.execute(
        f"SELECT {COLUMNS} FROM pictures WHERE sha256 = ? AND width > 0 ORDER BY changed DESC LIMIT 1", (sha256,)
    )
    row = rows.fetchone()
    return _entry(row) if row else None
