"""Files that others have made: opened only if they are regular files, read with bounds, and known by their first bytes.

Free of torch and NumPy: the process that looks into pickles imports it.
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
LENGTH_BYTES: Final = 8  # of the header's length, with which a safetensors file begins
LONGEST_OF_FORMAT: Final = 100_000_000  # bytes of a safetensors header
LARGEST_NOTE: Final = 2**20  # bytes of a JSON file beside a model
DEEPEST: Final = 32  # levels of a JSON text
MOST_VALUES: Final = 500_000  # of a JSON text: fifty thousand tensors
_SMALLEST: Final = LENGTH_BYTES + 2  # bytes of a safetensors file that holds nothing
_START: Final = 512  # bytes that tell a format
_SHORT_JSON: Final = 100_000  # bytes that cannot hold too many values
_DOWNLOAD: Final = "Download or copy it again."
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class Sign(NamedTuple):
    """How files of some kind begin, what a person calls them, and what helps."""

    start: bytes
    what: str
    cure: str


_UNPACK: Final = "Unpack it and use the file inside."
_CONVERT: Final = "Use the .safetensors version of the model."
# What lies in folders of models in the place of one; text is compared in lower case, without blanks before it.
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
    """`path` to be read from its start, if it is a regular file or a link to one.

    A pipe or a device would keep its reader waiting. Raises WebuiError for what is no file, OSError.
    """
    _require_regular(path, path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)  # it may have been exchanged in between
        return open(descriptor, "rb")  # noqa: PTH123  # whoever asked closes it
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        what = next((what for is_kind, what in _KINDS if is_kind(mode)), "no file")
        raise WebuiError(f"{path.name} is {what}, expected a file.", "Remove it, or choose another.", FIELD)


def real_path(path: Path) -> Path:
    """`path` without links, as far as they lead anywhere: `Path.resolve` fails at one that leads to itself."""
    return Path(os.path.realpath(path))


def read_text(path: Path, most: int = LARGEST_NOTE) -> str:
    """A small text in UTF-8, with or without a mark of byte order.

    Raises OSError; WebuiError for what is no file; ValueError for one of more than `most` bytes, or another encoding.
    """
    with open_file(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is longer than {most // 1024} kB")
    return data.decode("utf-8-sig")


def parse_json(text: str, deepest: int = DEEPEST) -> Any:
    """What a JSON text holds. Raises ValueError for none, one nested more than `deepest` levels or of too many values.

    Both are looked at before anything is built: whoever walks through the result may do so by recursion.
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
    """NaN and the infinities are no JSON, though Python reads them."""
    raise ValueError(f"{text} is no number")


def _depth(bare: str) -> int:
    """The deepest level of brackets in a JSON text without what is in its strings."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", bare):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def read_json(path: Path, most: int = LARGEST_NOTE) -> dict[str, Any]:
    """A JSON file that holds one object. Raises OSError, WebuiError for what is no file, else ValueError."""
    content = parse_json(read_text(path, most))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no object")
    return cast(dict[str, Any], content)


def format_of(path: Path) -> Format:
    """What kind of model file `path` is, told by how it begins, whatever its name says.

    Raises WebuiError, with what it is instead; OSError.
    """
    if CONTROLS.search(path.name):
        raise WebuiError(f"The file name {legible(path.name)!r} holds control characters.", "Rename the file.", FIELD)
    with open_file(path) as file:
        start = file.read(_START)
        size = os.fstat(file.fileno()).st_size
    if not start:
        raise WebuiError(f"{path.name} is empty (0 bytes).", _DOWNLOAD, FIELD)
    # First, as a length may begin like a pickle; no pickle has so many zeros where the end of a length is.
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
    """Bytes of the header of the safetensors file that begins with `start`."""
    return int.from_bytes(start[:LENGTH_BYTES], "little")


def is_length(length: int) -> bool:
    """Whether the format allows a header of so many bytes."""
    return 2 <= length <= LONGEST_OF_FORMAT


def truncated(path: Path, expected: int, actual: int, at_least: bool = False) -> WebuiError:
    """The error for a file that ends too early."""
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
