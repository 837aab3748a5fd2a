"""Reading our own files back: whatever cannot be read is reported and set aside.

A file may have been truncated by a crash, changed by a failing disk, edited by a person or written by another version.
None of that may keep Palimpsest from starting.
"""

import json
import logging
import math
import os
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from modules.base.disk import write_new

log = logging.getLogger(__name__)

LARGEST = 256 << 20  # bytes of a file of ours
DEEPEST = 64  # lists and objects inside each other; ours have less than ten
LARGEST_NUMBER = 1 << 64  # of a whole number; seeds and times of change have less
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # half a surrogate pair: JSON can hold it, UTF-8 cannot
DAMAGED, COPY = ".damaged", ".kept"  # a file set aside is named NAME.damaged-TIME, a copy NAME.kept-TIME


class Unreadable(Exception):
    """A file of ours cannot be read. The message is the reason, without a full stop."""


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises FileNotFoundError, or Unreadable for a folder, a pipe, too large a file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
            raise Unreadable("it is not a file")
        if status.st_size > LARGEST:
            raise Unreadable(f"it has {status.st_size >> 20} MB, and the limit is {LARGEST >> 20} MB")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error


def parsed(data: bytes, names_files: bool = False, any_number: bool = False) -> Any:
    """The JSON in `data`. Raises Unreadable for NaN, infinite or huge numbers, and for nesting deeper than `DEEPEST`.

    Also for lone surrogates, unless `names_files`: file names may hold any bytes. With `any_number` the caller checks
    the numbers, entry by entry.
    """
    try:
        text = data.decode("utf-8")
        checks: dict[str, Any] = {"parse_constant": _no_number, "parse_float": _finite, "parse_int": _bounded}
        value = json.loads(text, **({} if any_number else checks))
        _require_flat(value)
        if not names_files and SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise Unreadable("it is not UTF-8") from error
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error
    except ValueError as error:
        raise Unreadable(f"it is not valid JSON: {str(error)[:200]}") from error
    return value


def read_json(path: Path, names_files: bool = False, any_number: bool = False) -> Any:
    """The JSON in a file, as `parsed` reads it. Raises FileNotFoundError and Unreadable."""
    return parsed(read_bytes(path), names_files, any_number)


def put_aside(path: Path, reason: object) -> Path | None:
    """Rename a damaged file, or whatever has its name, in its folder. Returns the new path, None if that failed.

    Logs either case.
    """
    aside = _free(path, DAMAGED)
    try:
        path.rename(aside)
    except OSError as error:
        log.error("%s cannot be read (%s) and could not be renamed (%s).", path, reason, error.strerror or error)
        return None
    log.warning("%s cannot be read (%s); it was renamed to %s.", path, reason, aside.name)
    return aside


def make_way(data_dir: Path, folders: Sequence[str]) -> None:
    """Set aside anything in `data_dir` that has the name of one of our folders but is not a folder."""
    for name in folders:
        if os.path.lexists(path := data_dir / name) and not path.is_dir():
            put_aside(path, "it is not a folder")


def copy_aside(path: Path) -> None:
    """Keep a copy of a file that could only be read in part, before it is overwritten.

    Raises OSError if the disk refuses. Anything but a file is renamed.
    """
    aside = _free(path, COPY)
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return
    except Unreadable as reason:
        put_aside(path, reason)
        return
    write_new(aside, data)
    log.warning("Parts of %s could not be read; a copy was kept as %s.", path, aside.name)


def _free(path: Path, ending: str) -> Path:
    """A free name for a file that is set aside."""
    stem = f"{path.name}{ending}-{int(time.time())}"
    number = 0
    while os.path.lexists(aside := path.with_name(f"{stem}-{number}" if number else stem)):
        number += 1
    return aside


def _require_flat(value: Any) -> None:
    """Raises RecursionError for nesting so deep that the value could not be written or compared."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise RecursionError


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large")
    return number


def _bounded(digits: str) -> int:
    if len(digits) > 20 or abs(number := int(digits)) >= LARGEST_NUMBER:
        raise ValueError(f"{digits[:40]} is too large")
    return number
