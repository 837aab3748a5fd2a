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

LARGEST = 256 << 20  # bytes of a file of ours; more is none
DEEPEST = 64  # lists and objects inside each other; ours have less than ten
LARGEST_NUMBER = 1 << 64  # of a whole number; seeds and times of change have less
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # half a letter, which JSON can say and UTF-8 cannot
DAMAGED, COPY = ".damaged", ".kept"  # what is put aside is called NAME.damaged-TIME, a copy NAME.kept-TIME


class Unreadable(Exception):
    """What was written before cannot be read; the text is the reason, without a full stop."""


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises FileNotFoundError, or Unreadable for a folder, a pipe, too large a file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would be to wait for ever
            raise Unreadable("it is not a file")
        if status.st_size > LARGEST:
            raise Unreadable(f"it has {status.st_size >> 20} MB, and the limit is {LARGEST >> 20} MB")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error


def parsed(data: bytes, names_files: bool = False, any_number: bool = False) -> Any:
    """The JSON in `data`: no NaN, no endless numbers, nothing nested deeper than `DEEPEST`.

    No half letters either, unless it `names_files`, whose names may be anything. With `any_number` the caller judges
    numbers, entry by entry. Raises Unreadable for anything else.
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
    """Give a damaged file, or whatever has its name, another name beside it, which is returned.

    That it stays where it is, if the disk refuses, is told as well.
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
    """Put aside what is no folder and has the name of one of ours in `data_dir`: a file, a pipe, a link to nothing."""
    for name in folders:
        if os.path.lexists(path := data_dir / name) and not path.is_dir():
            put_aside(path, "it is not a folder")


def copy_aside(path: Path) -> None:
    """Keep a copy of a file that was not understood whole, before it is written over.

    Raises OSError if the disk refuses. What is no file is moved.
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
    """A name for what is put aside."""
    stem = f"{path.name}{ending}-{int(time.time())}"
    number = 0
    while os.path.lexists(aside := path.with_name(f"{stem}-{number}" if number else stem)):
        number += 1
    return aside


def _require_flat(value: Any) -> None:
    """Raises RecursionError for what is nested so deep that it cannot be written again, or compared."""
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
