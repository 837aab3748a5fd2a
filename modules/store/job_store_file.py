"""The queue's SQLite file: opened, checked completely and, if damaged or foreign, rebuilt from what can be read.

A damaged file is examined as a copy in memory: its header is repaired, the write-ahead log is applied, and rows are
queried one by one, so that a bad page loses only its own rows. The file itself is set aside unchanged.
"""

import contextlib
import logging
import os
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modules.base.errors import WebuiError
from modules.base.kept import LARGEST, Unreadable, put_aside, read_bytes
from modules.store.faults import is_busy

log = logging.getLogger(__name__)

SECONDS_FOR_LOCK = 5.0  # to wait for a process that is exiting to unlock the file
LAYOUT = 1  # of the tables
TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    created REAL NOT NULL,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    settings TEXT NOT NULL,
    checkpoint TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    deaths INTEGER NOT NULL DEFAULT 0,
    cuts INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS events (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    sha256 TEXT
);
CREATE TABLE IF NOT EXISTS needs (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_job ON events (job);
CREATE INDEX IF NOT EXISTS needs_of_job ON needs (job);
"""
ASIDE = "CREATE TABLE IF NOT EXISTS unreadable (job TEXT, name TEXT, data BLOB, sha256 TEXT, reason TEXT)"
OWN = ("jobs", "events", "needs")  # the tables
PROBED = 20_000  # row ids queried one by one after a bad page

MAGIC = b"SQLite format 3\0"
ENDINGS = ("", "-wal", "-shm", "-journal")  # SQLite's files beside the database
PAGE = 4096  # bytes; SQLite's default, which all our files use
HEADER, WAL_HEADER, FRAME_HEADER = 100, 32, 24  # bytes

Row = Mapping[str, Any]  # column name -> value; texts that are not UTF-8 are bytes


class Rows(NamedTuple):
    """The readable rows of each table, in order."""

    jobs: list[Row]
    events: list[Row]
    needs: list[Row]


class Locked(Exception):
    """Another process has locked the file."""


def opened(path: Path | None) -> sqlite3.Connection:
    """The database, intact and with this layout. A damaged file is set aside, and its readable rows are recovered.

    Raises WebuiError if another Palimpsest has it; OSError or sqlite3.Error if the disk refuses, and then the file is
    unchanged.
    """
    if path is None:
        return _made(":memory:")
    path.parent.mkdir(parents=True, exist_ok=True)
    for each in (path, _draft_of(path)):
        for ending in ENDINGS:
            if os.path.lexists(name := each.with_name(each.name + ending)) and not name.is_file():
                put_aside(name, "it is not a file")
    if not path.exists() and _draft_of(path).exists():  # interrupted before the new file replaced the old one
        _draft_of(path).replace(path)
    try:
        return _whole(path)
    except Locked as error:
        raise WebuiError(
            f"The folder {path.parent} is in use by another running Palimpsest.",
            "Stop that one, or start this one with another --data-dir.",
        ) from error
    except (sqlite3.Error, Unreadable) as error:
        if not path.is_file():
            raise
        reason = str(error)
    with path.open("rb"):  # missing permission is not damage
        pass
    return _rebuilt(path, reason)


def readable(path: Path | None) -> Rows:
    """The readable rows of the file, whatever its state. Writes nothing."""
    if path is None or not path.is_file():
        return Rows([], [], [])
    try:
        images = _images(path)
    except (Unreadable, OSError) as error:
        log.warning("%s cannot be read (%s).", path, error)
        return Rows([], [], [])
    best = Rows([], [], [])
    for image in images:
        with contextlib.closing(sqlite3.connect(":memory:")) as db:
            try:
                db.deserialize(image)
                found = rows(db)
            except (sqlite3.Error, MemoryError, OverflowError):
                continue
        if len(found.jobs) > len(best.jobs):
            best = found
    return best


def rows(db: sqlite3.Connection) -> Rows:
    """All readable rows."""
    before, db.text_factory = db.text_factory, bytes
    try:
        return Rows(*(list(_rows_of(db, table)) for table in OWN))
    finally:
        db.text_factory = before


def _whole(path: Path) -> sqlite3.Connection:
    """The database, fully checked. Raises Locked, sqlite3.Error, and Unreadable with the reason."""
    # SQLite reads missing bytes as zeros. A crash may truncate the file; the write-ahead log then has its end.
    is_cut = path.is_file() and path.stat().st_size % PAGE != 0 and not path.with_name(f"{path.name}-wal").exists()
    db = _connected(str(path))
    try:
        if is_cut:
            raise Unreadable("it is truncated")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if there.isdisjoint(OWN):
            db.executescript(f"{TABLES}; PRAGMA user_version = {LAYOUT}")
        elif version != LAYOUT or any(_columns(db, table) != COLUMNS[table] for table in OWN):
            raise Unreadable("another version of Palimpsest wrote it")
        fault = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if fault != "ok":
            raise Unreadable(str(fault).replace("\n", " "))
    except BaseException:
        db.close()
        raise
    return db


def _made(name: str) -> sqlite3.Connection:
    """A new database."""
    db = _connected(name)
    db.executescript(f"{TABLES}; PRAGMA user_version = {LAYOUT}")
    return db


def _connected(name: str) -> sqlite3.Connection:
    """A connection. Raises Locked. Does not write to an existing database, so that it can be read on a full disk."""
    db = sqlite3.connect(name, timeout=SECONDS_FOR_LOCK, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # for a single process, without a shared-memory file
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a commit survives a power failure
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")
    except sqlite3.Error as error:
        db.close()
        if is_busy(error):
            raise Locked from error
        raise
    return db


def _rebuilt(path: Path, reason: str) -> sqlite3.Connection:
    """A new file with the rows of the old one, which is set aside once the new one is written."""
    found = readable(path)
    draft = _draft_of(path)
    _remove(draft)
    try:
        with contextlib.closing(_made(str(draft))) as db:
            taken = _recovered(db, found)
    except BaseException:
        _remove(draft)
        raise
    aside = put_aside(path, reason)
    log_of_old = path.with_name(f"{path.name}-wal")
    if aside is not None and log_of_old.exists():
        log_of_old.replace(aside.with_name(f"{aside.name}-wal"))
    _remove(path)
    draft.replace(path)
    log.warning("%d jobs could be recovered from the queue in %s.", taken, path)
    return _connected(str(path))


def _draft_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _remove(draft: Path) -> None:
    for ending in ENDINGS:
        draft.with_name(draft.name + ending).unlink(missing_ok=True)


def _recovered(db: sqlite3.Connection, found: Rows) -> int:
    """Inserts rows of another file, with the columns that exist here; returns the number of jobs."""
    db.execute("BEGIN")
    for table, its in zip(OWN, found, strict=True):
        for row in its:
            known = {name: row[name] for name in COLUMNS[table] if row.get(name) is not None and name != "place"}
            if not known:  # no known column has survived
                continue
            with contextlib.suppress(sqlite3.IntegrityError):  # a required column is empty, or the job is missing
                db.execute(
                    f"INSERT INTO {table} ({', '.join(known)}) VALUES ({', '.join('?' * len(known))})",
                    tuple(known.values()),
                )
    db.execute("COMMIT")
    return int(db.execute("SELECT COUNT(*) FROM jobs").fetchone()[0])


def _rows_of(db: sqlite3.Connection, table: str) -> Iterator[Row]:
    """The rows of a table; after an unreadable one each position is queried separately."""
    last = 0
    try:
        for place, row in _selected(db, f"SELECT rowid, * FROM {table} WHERE rowid > 0 ORDER BY rowid"):
            last = place
            yield row
        return
    except sqlite3.DatabaseError as error:
        log.debug("%s of the queue: %s", table, error)
    for place in range(last + 1, last + PROBED):
        with contextlib.suppress(sqlite3.DatabaseError):
            yield from (row for _, row in _selected(db, f"SELECT rowid, * FROM {table} WHERE rowid = {place}"))


def _selected(db: sqlite3.Connection, query: str) -> Iterator[tuple[int, Row]]:
    cursor = db.execute(query)
    names = [column[0] for column in cursor.description][1:]
    for place, *values in cursor:
        yield place, dict(zip(names, map(_text, values), strict=True))


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode("utf-8")
    return value


def _columns(db: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(row[1] for row in db.execute(f"PRAGMA table_info({table})"))


def _images(path: Path) -> list[bytes]:
    """The database's bytes with a repaired header, and again with a newly made first page.

    Raises Unreadable and OSError.
    """
    data = bytearray(read_bytes(path))
    with contextlib.suppress(FileNotFoundError, Unreadable):
        _lay_over(data, read_bytes(path.with_name(f"{path.name}-wal")))
    if len(data) > LARGEST:
        raise Unreadable("it is too large")
    if not data:
        return []
    data.extend(b"\0" * (-len(data) % PAGE))  # it may have been truncated
    with contextlib.closing(_made(":memory:")) as db:
        first = db.serialize()[:PAGE]
    data[:HEADER] = _mended(bytes(data[:HEADER]), len(data) // PAGE)
    return [bytes(data), _mended(first[:HEADER], len(data) // PAGE) + first[HEADER:] + bytes(data[PAGE:])]


def _mended(header: bytes, pages: int) -> bytes:
    """`header`, repaired for a database of `pages` pages in memory: no write-ahead log, no free pages."""
    mended = bytearray(header)
    mended[:24] = MAGIC + struct.pack(">HBBBBBB", PAGE, 1, 1, 0, 64, 32, 32)
    mended[28:40] = struct.pack(">III", pages, 0, 0)
    mended[44:48] = struct.pack(">I", 4)  # schema format
    mended[52:60] = struct.pack(">II", 0, 1)  # no vacuum, UTF-8
    mended[64:68] = bytes(4)
    mended[92:96] = mended[24:28]  # the change counter for which the page count is valid
    return bytes(mended)


def _lay_over(data: bytearray, wal: bytes) -> None:
    """Applies the pages of a write-ahead log, up to the last complete commit.

    SQLite's file format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
    """
    if len(wal) < WAL_HEADER or struct.unpack(">I", wal[8:12])[0] != PAGE:
        return
    order = ">" if wal[3] & 1 else "<"
    salts, sums = wal[16:24], _checksum(order, wal[:24], (0, 0))
    pages: dict[int, bytes] = {}
    for start in range(WAL_HEADER, len(wal) - FRAME_HEADER - PAGE + 1, FRAME_HEADER + PAGE):
        head, page = wal[start : start + FRAME_HEADER], wal[start + FRAME_HEADER : start + FRAME_HEADER + PAGE]
        sums = _checksum(order, page, _checksum(order, head[:8], sums))
        if head[8:16] != salts or struct.pack(">II", *sums) != head[16:24]:
            return
        number, size = struct.unpack(">II", head[:8])
        pages[number] = page
        if size:  # a commit
            data.extend(b"\0" * (size * PAGE - len(data)))
            for each, content in pages.items():
                data[(each - 1) * PAGE : each * PAGE] = content
            pages = {}


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def _own_columns() -> dict[str, tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(TABLES)
        return {table: _columns(db, table) for table in OWN}


COLUMNS = _own_columns()
