"""What torch's files (`.pt`, `.ckpt`, `.bin`) hold, told without torch: notes, and where each tensor's numbers lie.

Such a file is a pickle, which is a program. It is not run: its instructions are followed one by one on a stack of plain
values, the few names that weights need stand for values of this file, and any other name refuses the whole. Nothing
here calls itself or is called by depth, so that no nesting can exhaust the C stack; sizes and counts are bounded.

Read are the zip archives of PyTorch 1.6 and later, and the files of the versions before.
"""

import errno
import io
import math
import os
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn, cast

from modules.errors import WebuiError
from modules.networks.foreign import FIELD, format_of, open_file


class Bounds(NamedTuple):
    """How much of a file is looked at: bytes of its pickle, its instructions, its values."""

    pickle: int
    operations: int
    values: int


CHECKPOINT: Final = Bounds(16 * 2**20, 2_000_000, 300_000)  # SD 1's have 30 thousand instructions
EMBEDDING: Final = Bounds(4 * 2**20, 100_000, 5_000)

_END_RECORD, _END_RECORD_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_DEEPEST: Final = 6  # levels of dicts that are told
_LONGEST_TEXT: Final = 1000
_MOST_DIMENSIONS: Final = 8
_MAGIC: Final = 0x1950A86A20F9469CFC6C  # with it and this version files begin that are older than PyTorch 1.6
_VERSION: Final = 1001

_DTYPES: Final[Mapping[str, str]] = {
    "float64": "F64", "double": "F64", "float32": "F32", "float": "F32", "float16": "F16", "half": "F16",
    "bfloat16": "BF16", "int64": "I64", "long": "I64", "int32": "I32", "int": "I32", "int16": "I16", "short": "I16",
    "int8": "I8", "char": "I8", "uint8": "U8", "byte": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "untyped": "U8",
}  # fmt: skip
ITEM_BYTES: Final[Mapping[str, int]] = {
    "F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1,
    "F8_E5M2": 1,
}  # fmt: skip


class Stored(NamedTuple):
    """A tensor that lies in a file. `dtype` in safetensors' words; its storage has `length` numbers from byte `start`.

    `offset` and `stride` count numbers of that storage.
    """

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    start: int
    length: int


Content = Mapping[str, "Content"] | Stored | str | int | float | bool | None
"""What is told of a file: dicts with texts as keys, tensors, and simple values; None stands for anything else."""


class MoreThanWeights(WebuiError):
    """A pickle names something that weights do not need. No code of it was run."""


class _Refused(Exception):
    """The name of something that is more than weights."""


class _Name(NamedTuple):
    """A class or function that a pickle names."""

    full: str


class _Storage(NamedTuple):
    dtype: str
    key: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


class _Object:
    """An object of a class that is harmless and not needed, such as a training callback; and what it was given."""

    def __init__(self) -> None:
        self.state: Any = None


Place = Callable[[_Storage], int]
"""storage -> the byte of the file at which its numbers begin"""


def read_content(path: Path, bounds: Bounds) -> Content:
    """What was saved in `path`. Raises WebuiError for what is no such file or holds more than weights; OSError."""
    try:
        if format_of(path) == "safetensors":
            raise WebuiError(f"{path.name} is a safetensors file.", "Give it the ending .safetensors.", FIELD)
        with open_file(path) as file:
            is_zip = file.read(2) == b"PK"
            return _zipped(file, path, bounds) if is_zip else _old(file, path, bounds)
    except WebuiError:
        raise
    except OSError as error:
        if error.errno != errno.EINVAL:  # which a place in the file has that is none
            raise
        raise _damaged(path) from error
    except _Refused as error:
        raise MoreThanWeights(
            f"{path.name} is a pickle that holds more than weights; no code of it was run. It names {error}.",
            "Use the .safetensors version of it.",
            FIELD,
        ) from error
    except Exception as error:  # a pickle is a program: whatever a damaged one does ends here
        raise _damaged(path) from error


def tensors_of(content: Content) -> dict[str, Stored]:
    """The tensors of a model that was saved whole or as `state_dict`, by name; none where there are none."""
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
            _too_large(path)
        folder = name.removesuffix("data.pkl")
        order = entries.get(f"{folder}byteorder")
        if order is not None and order.compress_type == zipfile.ZIP_STORED:
            with archive.open(order) as inside:
                if inside.read(10) != b"little":
                    raise WebuiError(f"{path.name} has its bytes in the other order.", "Convert it.", FIELD)

    def place(storage: _Storage) -> int:
        entry = entries[f"{folder}data/{storage.key}"]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise WebuiError(
                f"{path.name} is a zip archive whose weights are compressed, expected them as they are.",
                "Save it with torch.save, or use the .safetensors version of it.",
                FIELD,
            )
        file.seek(entry.header_offset)
        header = file.read(30)  # its end tells how long name and extra field are, which stand before the bytes
        start = entry.header_offset + 30 + int.from_bytes(header[26:28], "little")
        start += int.from_bytes(header[28:30], "little")
        if entry.file_size < storage.length * ITEM_BYTES[storage.dtype] or start + entry.file_size > size:
            raise ValueError(storage.key)
        return start

    return _told(_Machine(io.BytesIO(data), bounds, path).run(), place, bounds, path)


def _directory_bytes(file: BinaryIO) -> int:
    """The size that a zip's end record tells of its table of contents, which zipfile reads at once."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 66_000))  # the record is 22 bytes and a remark of at most 65 535
    tail = file.read()
    at = tail.rfind(_END_RECORD)
    locator = tail[:at].rfind(_LOCATOR_64)
    file.seek(0)
    if at < 0:
        raise ValueError("no end record")
    told = int.from_bytes(tail[at + 12 : at + 16], "little")
    if locator >= 0:
        record = tail[:at].rfind(_END_RECORD_64)
        if record < 0:
            raise ValueError("no end record")
        told = max(told % 0xFFFFFFFF, int.from_bytes(tail[record + 40 : record + 48], "little"))
    return told


def _old(file: BinaryIO, path: Path, bounds: Bounds) -> Content:
    """Five pickles one behind the other, then each storage: its length and its numbers."""
    file.seek(0)
    head = io.BytesIO(file.read(bounds.pickle))
    size = os.fstat(file.fileno()).st_size
    magic = _Machine(head, bounds, path).run()
    if magic != _MAGIC:
        raise WebuiError(f"{path.name} is a pickle that torch has not saved.", "Choose another file.", FIELD)
    if _Machine(head, bounds, path).run() != _VERSION:
        raise ValueError("version")
    _Machine(head, bounds, path).run()  # about the machine it was saved on
    machine = _Machine(head, bounds, path)
    content = machine.run()
    keys = _Machine(head, bounds, path).run()
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
    return _told(content, lambda storage: starts[storage.key], bounds, path)


def _too_large(path: Path) -> NoReturn:
    raise WebuiError(f"{path.name} holds more than a model file of its kind does.", "Choose another file.", FIELD)


# ---- the stack machine ----

_HARMLESS: Final = (
    "collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.set", "__builtin__.set",
    "builtins.frozenset", "builtins.dict", "builtins.list", "__builtin__.dict", "__builtin__.list", "builtins.int",
    "builtins.float", "builtins.bool", "builtins.str", "__builtin__.object", "builtins.object", "builtins.bytearray",
    "builtins.complex", "builtins.slice", "_codecs.encode", "argparse.Namespace", "types.SimpleNamespace",
    "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "copy_reg._reconstructor",
    "copyreg._reconstructor", "torch.Size", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter",
    "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
    "torch._tensor._rebuild_from_type_v2", "torch.nn.modules.container.ParameterDict",
    "torch.nn.modules.container.ParameterList", "torch.serialization._get_layout", "torch.storage.UntypedStorage",
)  # fmt: skip
_HARMLESS_PACKAGES: Final = ("pytorch_lightning.callbacks.", "lightning.pytorch.callbacks.")
_DICTS: Final = ("collections.OrderedDict", "collections.Counter", "builtins.dict", "__builtin__.dict")
_PARAMETERS: Final = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_PARAMETER_DICT: Final = "_parameters"  # under which torch's ParameterDict keeps them
_MARK: Final = object()
_CONSTANTS: Final = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8",
)  # fmt: skip
_KEYS: Final = (str, int, float, bool, bytes, type(None))


class _Machine:
    """Follows one pickle from where `data` stands; `storages` are those it names, by their keys."""

    def __init__(self, data: io.BytesIO, bounds: Bounds, path: Path) -> None:
        self.storages: dict[str, _Storage] = {}
        self._data = data
        self._left = bounds.operations
        self._path = path
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What it leaves on the stack. Raises _Refused, WebuiError for too many instructions, else anything."""
        for operation, argument, _ in pickletools.genops(self._data):
            self._spend(1)
            if operation.name == "STOP":
                break
            self._follow(operation.name, argument)
        return self._stack.pop()

    def _spend(self, operations: int) -> None:
        self._left -= operations
        if self._left < 0:
            _too_large(self._path)

    def _follow(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _CONSTANTS:
            stack.append(argument)
        elif name in _SIMPLE:
            stack.append(_SIMPLE[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(self._last(count))]
        elif name in ("TUPLE", "LIST", "FROZENSET"):
            items = self._to_mark()
            stack.append(tuple(items) if name == "TUPLE" else items)
        elif name == "DICT":
            items = self._to_mark()
            stack.append({})
            self._set_items(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._popped(2) if name == "SETITEM" else self._to_mark()
            self._set_items(items)
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = self._popped(1) if name == "APPEND" else self._to_mark()
            if isinstance(stack[-1], list):
                cast(list[Any], stack[-1]).extend(items)
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._to_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name not in ("PROTO", "FRAME"):
            self._make(name, argument)

    def _make(self, name: str, argument: Any) -> None:
        """What names classes and functions, and calls them."""
        stack = self._stack
        if name == "GLOBAL":
            stack.append(_named(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_named(*self._popped(2)))
        elif name == "INST":
            self._to_mark()
            stack.append(_made(_named(*argument.split(" ", 1)), ()))
        elif name == "OBJ":
            made, *arguments = self._to_mark()
            stack.append(_made(made, tuple(arguments)))
        elif name in ("REDUCE", "NEWOBJ"):
            made, arguments = self._popped(2)
            self._spend(sum(len(each) for each in arguments if isinstance(each, list | dict | tuple)))
            stack.append(_made(made, arguments))
        elif name == "NEWOBJ_EX":
            made, arguments, _ = self._popped(3)
            stack.append(_made(made, arguments))
        elif name == "BUILD":
            (state,) = self._popped(1)
            if isinstance(stack[-1], _Object):
                stack[-1].state = state
        elif name == "BINPERSID":
            (identity,) = self._popped(1)
            storage = _storage(identity)
            self.storages[storage.key] = storage
            stack.append(storage)
        else:
            raise _Refused(f"the instruction {name}")

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError(count)
        return self._stack[-count:]

    def _popped(self, count: int) -> list[Any]:
        items = self._last(count)
        del self._stack[-count:]
        return items

    def _to_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError("no mark")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _set_items(self, items: list[Any]) -> None:
        """Keys that are not simple are left out: hashing one runs through all its depth, and no tensor is under it."""
        holder = self._stack[-1]
        if isinstance(holder, dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            cast(dict[Any, Any], holder).update((key, value) for key, value in pairs if isinstance(key, _KEYS))


_SIMPLE: Final[Mapping[str, Callable[[], Any]]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list, "EMPTY_SET": list,
    "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "MARK": lambda: _MARK,
}  # fmt: skip


def _named(module: Any, name: Any) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("not a name")
    full = f"{module}.{name}"[:200]
    is_torchs = module in ("torch", "torch.storage") and (name.endswith("Storage") or name in _DTYPES)
    if not is_torchs and full not in _HARMLESS and not full.startswith(_HARMLESS_PACKAGES):
        raise _Refused(ascii(full)[1:-1])
    return _Name(full)


def _made(made: Any, arguments: Any) -> Any:
    """What a class or function makes of `arguments`, as far as it matters."""
    if not isinstance(made, _Name):
        raise ValueError("not a name")
    if made.full == "torch._tensor._rebuild_from_type_v2":
        made, _, arguments = arguments[:3]
        if not isinstance(made, _Name) or made.full == "torch._tensor._rebuild_from_type_v2":
            raise ValueError("not a name")
    if made.full.startswith("torch._utils._rebuild_tensor"):
        storage, offset, shape, stride = arguments[:4]
        if max(len(shape), len(stride)) > _MOST_DIMENSIONS:
            raise ValueError("dimensions")
        dtype = _dtype(arguments[6].full) if made.full.endswith("_v3") else storage.dtype
        return _Tensor(storage, dtype, tuple(shape), tuple(stride), offset)
    if made.full in _PARAMETERS:
        return arguments[0]
    if made.full == "torch.Size":
        return tuple(arguments[0])
    if made.full == "collections.defaultdict":
        return {}
    if made.full in _DICTS:
        pairs = arguments[0] if arguments else ()
        pairs = pairs.items() if isinstance(pairs, dict) else pairs
        return {key: value for key, value in pairs if isinstance(key, _KEYS)}
    return _Object()


def _storage(identity: Any) -> _Storage:
    _, kind, key, _, length = identity[:5]
    if not isinstance(key, str | int):
        raise ValueError("not a key")
    name = kind.full.rpartition(".")[2].removesuffix("Storage")
    return _Storage(_dtype(name.lower()), str(key), _whole(length))


def _dtype(name: str) -> str:
    return _DTYPES[name.rpartition(".")[2]]


def _whole(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 2**48:
        raise ValueError(number)
    return number


# ---- what is told ----


def _told(content: Any, place: Place, bounds: Bounds, path: Path) -> Content:
    """`content` without what nobody asks for, by recursion of at most `_DEEPEST` levels."""
    left = bounds.values

    def told(value: Any, level: int) -> Content:
        nonlocal left
        left -= 1
        if left < 0:
            _too_large(path)
        if isinstance(value, _Object) and isinstance(value.state, dict):
            value = cast(dict[Any, Any], value.state).get(_PARAMETER_DICT)
        if isinstance(value, _Tensor):
            return _placed(value, place)
        if isinstance(value, dict) and level < _DEEPEST:
            items = [(key, each) for key, each in cast(dict[Any, Any], value).items() if isinstance(key, str)]
            left -= sum(len(key) for key, _ in items) // _LONGEST_TEXT
            return {key[:_LONGEST_TEXT]: told(each, level + 1) for key, each in items}
        if isinstance(value, str):
            return value[:_LONGEST_TEXT]
        if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
            return value
        return None

    return told(content, 0)


def _placed(tensor: _Tensor, place: Place) -> Stored:
    """Raises ValueError for one that reaches beyond its storage, or tells some of its numbers twice."""
    storage, size = tensor.storage, ITEM_BYTES[tensor.dtype]
    length = storage.length * ITEM_BYTES[storage.dtype] // size
    shape, stride = tuple(map(_whole, tensor.shape)), tuple(map(_whole, tensor.stride))
    last = _whole(tensor.offset) + sum(step * (side - 1) for step, side in zip(stride, shape, strict=True) if side)
    if math.prod(shape) > length or (0 not in shape and last >= length):
        raise ValueError(shape)
    return Stored(tensor.dtype, shape, stride, tensor.offset, place(storage), length)
