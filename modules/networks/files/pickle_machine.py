"""Interprets a pickle's instructions one by one on a stack of plain values, without running any of its code.

The few names that weights need are replaced by values of this file; any other name rejects the pickle.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, cast

from modules.base.errors import WebuiError
from modules.networks.files.foreign import FIELD


class Bounds(NamedTuple):
    """How much of a file is read at most: bytes of its pickle, instructions, values.

    with_lists: also returns lists, tuples and dicts with integer keys, all as dicts with text keys.
    """

    pickle: int
    operations: int
    values: int
    with_lists: bool = False


_DTYPES: Final[Mapping[str, str]] = {
    "float64": "F64", "double": "F64", "float32": "F32", "float": "F32", "float16": "F16", "half": "F16",
    "bfloat16": "BF16", "int64": "I64", "long": "I64", "int32": "I32", "int": "I32", "int16": "I16", "short": "I16",
    "int8": "I8", "char": "I8", "uint8": "U8", "byte": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "untyped": "U8",
}  # fmt: skip
_MOST_DIMENSIONS: Final = 8
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
_MARK: Final = object()
_CONSTANTS: Final = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8",
)  # fmt: skip
_KEYS: Final = (str, int, float, bool, bytes, type(None))


class Refused(Exception):
    """The pickle names something that weights do not need."""


class Name(NamedTuple):
    """A class or function that a pickle names."""

    full: str


class Storage(NamedTuple):
    dtype: str
    key: str
    length: int


class StoredTensor(NamedTuple):
    storage: Storage
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


class Harmless:
    """An object of a harmless class that is not needed, such as a training callback, with its arguments."""

    def __init__(self) -> None:
        self.state: Any = None


class Machine:
    """Interprets one pickle from the current position of `data`; `storages` are the storages it names, by key."""

    def __init__(self, data: io.BytesIO, bounds: Bounds, path: Path) -> None:
        self.storages: dict[str, Storage] = {}
        self._data = data
        self._left = bounds.operations
        self._path = path
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The object left on the stack. Raises Refused; WebuiError for too many instructions; for a damaged pickle,
        any exception."""
        for operation, argument, _ in pickletools.genops(self._data):
            self._spend(1)
            if operation.name == "STOP":
                break
            self._follow(operation.name, argument)
        return self._stack.pop()

    def _spend(self, operations: int) -> None:
        self._left -= operations
        if self._left < 0:
            too_large(self._path)

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
        """Handles the instructions that name classes and functions or call them."""
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
            if isinstance(stack[-1], Harmless):
                stack[-1].state = state
        elif name == "BINPERSID":
            (identity,) = self._popped(1)
            storage = _storage(identity)
            self.storages[storage.key] = storage
            stack.append(storage)
        else:
            raise Refused(f"the instruction {name}")

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
        """Skips keys that are not simple: hashing one would recurse through it, and no tensor is stored under it."""
        holder = self._stack[-1]
        if isinstance(holder, dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            cast(dict[Any, Any], holder).update((key, value) for key, value in pairs if isinstance(key, _KEYS))


_SIMPLE: Final[Mapping[str, Callable[[], Any]]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list, "EMPTY_SET": list,
    "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "MARK": lambda: _MARK,
}  # fmt: skip


def _named(module: Any, name: Any) -> Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("not a name")
    full = f"{module}.{name}"[:200]
    is_torchs = module in ("torch", "torch.storage") and (name.endswith("Storage") or name in _DTYPES)
    if not is_torchs and full not in _HARMLESS and not full.startswith(_HARMLESS_PACKAGES):
        raise Refused(ascii(full)[1:-1])
    return Name(full)


def _made(made: Any, arguments: Any) -> Any:
    """The result of calling a class or function with `arguments`, as far as it matters."""
    if not isinstance(made, Name):
        raise ValueError("not a name")
    if made.full == "torch._tensor._rebuild_from_type_v2":
        made, _, arguments = arguments[:3]
        if not isinstance(made, Name) or made.full == "torch._tensor._rebuild_from_type_v2":
            raise ValueError("not a name")
    if made.full.startswith("torch._utils._rebuild_tensor"):
        storage, offset, shape, stride = arguments[:4]
        if max(len(shape), len(stride)) > _MOST_DIMENSIONS:
            raise ValueError("dimensions")
        dtype = _dtype(arguments[6].full) if made.full.endswith("_v3") else storage.dtype
        return StoredTensor(storage, dtype, tuple(shape), tuple(stride), offset)
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
    return Harmless()


def _storage(identity: Any) -> Storage:
    _, kind, key, _, length = identity[:5]
    if not isinstance(key, str | int):
        raise ValueError("not a key")
    name = kind.full.rpartition(".")[2].removesuffix("Storage")
    return Storage(_dtype(name.lower()), str(key), whole(length))


def _dtype(name: str) -> str:
    return _DTYPES[name.rpartition(".")[2]]


def whole(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 2**48:
        raise ValueError(number)
    return number


def too_large(path: Path) -> NoReturn:
    raise WebuiError(f"{path.name} holds more than a model file of its kind does.", "Choose another file.", FIELD)
