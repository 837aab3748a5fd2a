"""What an SQLite error means: the file is damaged, another program holds it, or the disk refuses."""

import sqlite3

# Extended codes, which sqlite3 does not name in Python 3.11: https://www.sqlite.org/rescode.html
IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE = 778, 1034, 1546


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another program has locked the file."""
    return _code(error) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is certainly at fault, and not the disk."""
    return _code(error) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_unwritable(error: sqlite3.Error) -> bool:
    """Whether the disk is full or read-only, and the file itself is intact."""
    return _code(error) in (sqlite3.SQLITE_FULL, IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", None) or 0  # errors raised by Python itself have no code
