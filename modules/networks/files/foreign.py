"""Untrusted files: opened only if they are regular files, read within limits, and identified by their first bytes.

Does not import torch or NumPy, because the process that reads pickles imports this file.
"""

import io
import json
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, NoReturn, cast

from modules.base.errors import WebuiError
from modules.base.paths import CONTROLS, legible

Format = Literal["safetensors", "zip", "pickle"]

FIELD: Final = "sd_model_checkpoint"
LENGTH_BYTES: Final = 8  # the header's length, at the start of a safetensors file
LONGEST_OF_FORMAT: Final = 100_000_000  # bytes of a safetensors header
LARGEST_NOTE: Final = 2**20  # bytes of a JSON file next to a model
DEEPEST: Final = 32  # levels of a JSON text
MOST_VALUES: Final = 500_000  # in a JSON text: enough for fifty thousand tensors
_SMALLEST: Final = LENGTH_BYTES + 2  # bytes of an empty safetensors file
_START: Final = 512  # bytes that identify a format
_SHORT_JSON: Final = 100_000  # bytes too few to hold more than MOST_VALUES
_DOWNLOAD: Final = "Download or copy it again."
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class Sign(NamedTuple):
    """The first bytes of a kind of file, what users call it, and what to do about it."""

    start: bytes
    what: str
    cure: str


_UNPACK: Final = "Unpack it and use the file inside."
_CONVERT: Final = "Use the .safetensors version of the model."
# Files found in model folders instead of a model; text is compared in lower case, without leading whitespace.
_OTHERS: Final = (
    Sign(b"<!doctype html", "a web page (HTML)", "Download the file itself; its site may want you to log in first."),
    Sign(b"<html", "a web page (HTML)", "Download the file itself; its site may want you to log in first."),
    Sign(b"<?xml", "an XML text", "Download the file itself; this may be a server's error message."),
    Sign(b"version https://git-lfs", "a Git LFS pointer to the file", "Run `git lfs pull` in its folder."),
    Sign(b"{", "a JSON text", "Download the file itself; this may be a server's error message."),
    Sign(b"\x89png", "a picture (PNG)", "Its name may be wrong."),
    Sign(b"\xff\xd8\xff", "a picture (JPEG)", "Its name may be wrong."),
    Sign(b"gif8", "a picture (GIF)", "Its name may be wrong."),
    Sign(b"riff", "a picture or a sound (RIFF)", "Its name may be wrong."),
    Sign(b"%pdf", "a PDF document", "Its name may be wrong."),
    Sign(b"gguf", "a GGUF file", _CONVERT),
    Sign(b"\x89hdf", "an HDF5 file", _CONVERT),
    Sign(b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    Sign(b"rar!", "a RAR archive", _UNPACK),
    Sign(b"\x1f\x8b", "a gzip archive", _UNPACK),
    Sign(b"\xfd7zxz", "an xz archive", _UNPACK),
    Sign(b"bzh", "a bzip2 archive", _UNPACK),
    Sign(b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
)
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


def open_file(path: Path) -> io.BufferedReader:
    """Opens `path` for reading, if it is a regular file or a link to one. The caller closes it.

    A pipe or a device could block its reader. Raises WebuiError if it is not a regular file, OSError.
    """
    _require_regular(path, path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)  # it may have been replaced in between
        return open(descriptor, "rb")  # noqa: PTH123  # the caller closes it
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        what = next((what for is_kind, what in _KINDS if is_kind(mode)), "no file")
        raise WebuiError(f"{path.name} is {what}, expected a file.", "Remove it, or choose another.", FIELD)


def real_path(path: Path) -> Path:
    """`path` with links resolved as far as possible: `Path.resolve` fails at a link that leads to itself."""
    return Path(os.path.realpath(path))


def read_text(path: Path, most: int = LARGEST_NOTE) -> str:
    """A small text in UTF-8, with or without a byte order mark.

    Raises OSError; WebuiError if it is not a regular file; ValueError for more than `most` bytes or another encoding.
    """
    with open_file(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is longer than {most // 1024} kB")
    return data.decode("utf-8-sig")


def parse_json(text: str, deepest: int = DEEPEST) -> Any:
    """Parses JSON. Raises ValueError for invalid JSON, more than `deepest` levels of nesting, or too many values.

    Both limits are checked before anything is built, so the result is safe to traverse by recursion.
    """
    if text.count("{") + text.count("[") > deepest or len(text) > _SHORT_JSON:
        bare = _STRING.sub('"', text)
        if bare.count(",") + bare.count(":") > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES} values")
        if _depth(bare) > deepest:
            raise ValueError(f"it is nested more than {deepest} levels deep")
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _no_number(text: str) -> NoReturn:
    """Rejects NaN and infinities: they are not valid JSON, but Python accepts them."""
    raise ValueError(f"{text} is no number")


def _depth(bare: str) -> int:
    """The deepest nesting of brackets in a JSON text whose strings were removed."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", bare):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def read_json(path: Path, most: int = LARGEST_NOTE) -> dict[str, Any]:
    """The object in a JSON file. Raises OSError; WebuiError if it is not a regular file; ValueError for other JSON."""
    content = parse_json(read_text(path, most))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no object")
    return cast(dict[str, Any], content)


def format_of(path: Path) -> Format:
    """The format of the model file `path`, identified by its first bytes, whatever its suffix.

    Raises WebuiError that says what the file is instead; OSError.
    """
    if CONTROLS.search(path.name):
        raise WebuiError(f"The file name {legible(path.name)!r} holds control characters.", "Rename the file.", FIELD)
    with open_file(path) as file:
        start = file.read(_START)
        size = os.fstat(file.fileno()).st_size
    if not start:
        raise WebuiError(f"{path.name} is empty (0 bytes).", _DOWNLOAD, FIELD)
    # Checked first, because a length may start like a pickle; no pickle has that many zeros at the end of the length.
    if len(start) > LENGTH_BYTES and start[LENGTH_BYTES] == ord("{") and is_length(header_length(start)):
        return "safetensors"
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start[0] == 0x80 and size > 1 and start[1:2] <= b"\x05":  # PROTO 0 to 5
        return "pickle"
    _refuse(path, start, size)


def _refuse(path: Path, start: bytes, size: int) -> NoReturn:
    is_safetensors = path.suffix.lower() == ".safetensors"
    expected = "a safetensors file" if is_safetensors else "a model file"
    beginning = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for sign in _OTHERS:
        if beginning.startswith(sign.start):
            raise WebuiError(f"{path.name} is not {expected} but {sign.what}.", sign.cure, FIELD)
    if start[257:262] == b"ustar":
        raise WebuiError(f"{path.name} is not {expected} but a tar archive.", _UNPACK, FIELD)
    if size < _SMALLEST:
        if is_safetensors:
            raise truncated(path, _SMALLEST, size, at_least=True)
        raise WebuiError(f"{path.name} is damaged or truncated: it has {size} bytes.", _DOWNLOAD, FIELD)
    if not start.strip(b"\0"):
        raise WebuiError(f"{path.name} is not {expected}: it begins with nothing but zeros.", _DOWNLOAD, FIELD)
    if is_length(length := header_length(start)):
        if size < LENGTH_BYTES + length:
            raise truncated(path, LENGTH_BYTES + length, size, at_least=True)
        raise WebuiError(f"{path.name} is not {expected}: its header is damaged.", _DOWNLOAD, FIELD)
    raise WebuiError(f"{path.name} is not {expected}.", "Its name may be wrong, or the download.", FIELD)


def header_length(start: bytes) -> int:
    """The header size in bytes of the safetensors file that starts with `start`."""
    return int.from_bytes(start[:LENGTH_BYTES], "little")


def is_length(length: int) -> bool:
    """Whether the format allows a header of `length` bytes."""
    return 2 <= length <= LONGEST_OF_FORMAT


def truncated(path: Path, expected: int, actual: int, at_least: bool = False) -> WebuiError:
    """The error for a truncated file."""
    required = f"at least {expected}" if at_least else f"{expected}"
    return WebuiError(f"{path.name} is truncated: it has {actual} bytes and should have {required}.", _DOWNLOAD, FIELD)


def missing_keys(keys: Sequence[str], name: str) -> WebuiError:
    """The error for a checkpoint that lacks tensors; names the first of them."""
    others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return WebuiError(
        f"{name} lacks the tensor {keys[0]}{others}.",
        "The file is incomplete; download it again or use another.",
        field=FIELD,
    )
