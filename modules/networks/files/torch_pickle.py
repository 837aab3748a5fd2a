"""Reads files saved by torch (`.pt`, `.ckpt`, `.bin`) without torch: their values, and the positions of their tensors.

Such a file is a pickle, which is a program. It is not run: its instructions are interpreted one by one on a stack of
plain values, the few names that weights need are replaced by values of this file, and any other name rejects the file.
The interpreter does not recurse, so that no nesting can exhaust the C stack; sizes and counts are limited.
Supported are the zip archives of PyTorch 1.6 and later, and the older format.
"""

import errno
import io
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from modules.base.errors import WebuiError
from modules.networks.files.foreign import FIELD, format_of, open_file
from modules.networks.files.pickle_machine import (
    Bounds,
    Harmless,
    Machine,
    Refused,
    Storage,
    StoredTensor,
    too_large,
    whole,
)

CHECKPOINT: Final = Bounds(16 * 2**20, 2_000_000, 300_000)  # SD 1 checkpoints have 30 000 instructions
EMBEDDING: Final = Bounds(4 * 2**20, 100_000, 5_000)
HYPERNETWORK: Final = Bounds(4 * 2**20, 100_000, 5_000, with_lists=True)

_END_RECORD, _END_RECORD_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_PARAMETER_DICT: Final = "_parameters"  # where torch's ParameterDict keeps its parameters
_DEEPEST: Final = 6  # levels of dicts that are returned
_LONGEST_TEXT: Final = 1000
_MAGIC: Final = 0x1950A86A20F9469CFC6C  # files older than PyTorch 1.6 start with it and this version
_VERSION: Final = 1001

ITEM_BYTES: Final[Mapping[str, int]] = {
    "F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1,
    "F8_E5M2": 1,
}  # fmt: skip


class Stored(NamedTuple):
    """A tensor in a file. `dtype` is named as in safetensors; its storage has `length` numbers from byte `start`.

    `offset` and `stride` count numbers in that storage.
    """

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    start: int
    length: int


Content = Mapping[str, "Content"] | Stored | str | int | float | bool | None
"""The content of a file: dicts with text keys, tensors, and simple values; None replaces anything else."""


class MoreThanWeights(WebuiError):
    """A pickle names something that weights do not need. No code of it was run."""


FindOffset = Callable[[Storage], int]
"""storage -> the byte of the file at which its numbers start"""


def read_content(path: Path, bounds: Bounds) -> Content:
    """The content of `path`. Raises WebuiError if it is not such a file or contains more than weights; OSError."""
    try:
        if format_of(path) == "safetensors":
            raise WebuiError(f"{path.name} is a safetensors file.", "Give it the ending .safetensors.", FIELD)
        with open_file(path) as file:
            is_zip = file.read(2) == b"PK"
            return _zipped(file, path, bounds) if is_zip else _old(file, path, bounds)
    except WebuiError:
        raise
    except OSError as error:
        if error.errno != errno.EINVAL:  # raised for an invalid position in the file
            raise
        raise _damaged(path) from error
    except Refused as error:
        raise MoreThanWeights(
            f"{path.name} is a pickle that holds more than weights; no code of it was run. It names {error}.",
            "Use the .safetensors version of it.",
            FIELD,
        ) from error
    except Exception as error:  # a pickle is a program: a damaged one may raise anything
        raise _damaged(path) from error


def tensors_of(content: Content) -> dict[str, Stored]:
    """The tensors of a model saved whole or as `state_dict`, by name; {} if there are none."""
    saved = content.get("state_dict", content) if isinstance(content, Mapping) else None
    state = saved if isinstance(saved, Mapping) else {}
    return {key: value for key, value in state.items() if isinstance(value, Stored)}


def _damaged(path: Path) -> WebuiError:
    return WebuiError(f"{path.name} is damaged or truncated.", "Download or copy it again.", FIELD)


# ---- the two kinds of files ----


def _zipped(file: BinaryIO, path: Path, bounds: Bounds) -> Content:
    if _directory_bytes(file) > bounds.pickle // 4:  # a hundred bytes for each tensor
        raise WebuiError(f"{path.name} is a zip archive of too many files for a model.", "Use another file.", FIELD)
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        name = next((name for name in entries if name.rpartition("/")[2] == "data.pkl"), None)
        if name is None:
            raise WebuiError(
                f"{path.name} is a zip archive, not a model file.", "Unpack it and use the file inside.", FIELD
            )
        if entries[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("of the others zipfile unpacks more than it is asked for")
        with archive.open(name) as inside:
            data = inside.read(bounds.pickle + 1)
        if len(data) > bounds.pickle:
            too_large(path)
        folder = name.removesuffix("data.pkl")
        order = entries.get(f"{folder}byteorder")
        if order is not None and order.compress_type == zipfile.ZIP_STORED:
            with archive.open(order) as inside:
                if inside.read(10) != b"little":
                    raise WebuiError(f"{path.name} has its bytes in the other order.", "Convert it.", FIELD)

    def place(storage: Storage) -> int:
        entry = entries[f"{folder}data/{storage.key}"]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise WebuiError(
                f"{path.name} is a zip archive whose weights are compressed, expected them as they are.",
                "Save it with torch.save, or use the .safetensors version of it.",
                FIELD,
            )
        file.seek(entry.header_offset)
        header = file.read(30)  # ends with the lengths of the name and extra field that precede the data
        start = entry.header_offset + 30 + int.from_bytes(header[26:28], "little")
        start += int.from_bytes(header[28:30], "little")
        if entry.file_size < storage.length * ITEM_BYTES[storage.dtype] or start + entry.file_size > size:
            raise ValueError(storage.key)
        return start

    return _described(Machine(io.BytesIO(data), bounds, path).run(), place, bounds, path)


def _directory_bytes(file: BinaryIO) -> int:
    """The size of a zip's central directory, as given by its end record; zipfile reads it at once."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 66_000))  # the record has 22 bytes and a comment of at most 65 535
    tail = file.read()
    at = tail.rfind(_END_RECORD)
    locator = tail[:at].rfind(_LOCATOR_64)
    file.seek(0)
    if at < 0:
        raise ValueError("no end record")
    entries = int.from_bytes(tail[at + 12 : at + 16], "little")
    if locator >= 0:
        record = tail[:at].rfind(_END_RECORD_64)
        if record < 0:
            raise ValueError("no end record")
        entries = max(entries % 0xFFFFFFFF, int.from_bytes(tail[record + 40 : record + 48], "little"))
    return entries


def _old(file: BinaryIO, path: Path, bounds: Bounds) -> Content:
    """Reads the old format: five pickles in a row, then each storage as its length and its numbers."""
    file.seek(0)
    head = io.BytesIO(file.read(bounds.pickle))
    size = os.fstat(file.fileno()).st_size
    magic = Machine(head, bounds, path).run()
    if magic != _MAGIC:
        raise WebuiError(f"{path.name} is a pickle that torch has not saved.", "Choose another file.", FIELD)
    if Machine(head, bounds, path).run() != _VERSION:
        raise ValueError("version")
    Machine(head, bounds, path).run()  # describes the machine that saved the file
    machine = Machine(head, bounds, path)
    content = machine.run()
    keys = Machine(head, bounds, path).run()
    starts: dict[str, int] = {}
    at = head.tell()
    for key in keys:
        storage = machine.storages[str(key)]
        file.seek(at)
        length = int.from_bytes(file.read(8), "little")
        starts[storage.key] = at + 8
        at += 8 + length * ITEM_BYTES[storage.dtype]
        if length < storage.length or at > size:
            raise ValueError(storage.key)
    return _described(content, lambda storage: starts[storage.key], bounds, path)


def _described(content: Any, place: FindOffset, bounds: Bounds, path: Path) -> Content:
    """`content` reduced to what `Content` describes, by recursion of at most `_DEEPEST` levels."""
    left = bounds.values

    def is_listed(key: Any) -> bool:
        return bounds.with_lists and isinstance(key, int) and abs(key) < 2**63

    def described(value: Any, level: int) -> Content:
        nonlocal left
        left -= 1
        if left < 0:
            too_large(path)
        if isinstance(value, Harmless) and isinstance(value.state, dict):
            value = cast(dict[Any, Any], value.state).get(_PARAMETER_DICT)
        if isinstance(value, StoredTensor):
            return _placed(value, place)
        if bounds.with_lists and isinstance(value, list | tuple):
            value = dict(enumerate(cast(list[Any], value)))
        if isinstance(value, dict) and level < _DEEPEST:
            known = cast(dict[Any, Any], value).items()
            items = [(str(key), each) for key, each in known if isinstance(key, str) or is_listed(key)]
            left -= sum(len(key) for key, _ in items) // _LONGEST_TEXT
            return {key[:_LONGEST_TEXT]: described(each, level + 1) for key, each in items}
        if isinstance(value, str):
            return value[:_LONGEST_TEXT]
        if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
            return value
        return None

    return described(content, 0)


def _placed(tensor: StoredTensor, place: FindOffset) -> Stored:
    """The position of a tensor. Raises ValueError if it exceeds its storage or uses some numbers twice."""
    storage, size = tensor.storage, ITEM_BYTES[tensor.dtype]
    length = storage.length * ITEM_BYTES[storage.dtype] // size
    shape, stride = tuple(map(whole, tensor.shape)), tuple(map(whole, tensor.stride))
    last = whole(tensor.offset) + sum(step * (side - 1) for step, side in zip(stride, shape, strict=True) if side)
    if math.prod(shape) > length or (0 not in shape and last >= length):
        raise ValueError(shape)
    return Stored(tensor.dtype, shape, stride, tensor.offset, place(storage), length)
