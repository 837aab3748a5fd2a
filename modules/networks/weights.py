"""Reads tensors by name from a file, and fills models with them; nothing here downloads anything."""

import os
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from modules.base.errors import WebuiError
from modules.networks.device import threads
from modules.networks.files.foreign import FIELD, format_of, missing_keys, open_file
from modules.networks.files.ggufs import is_gguf, open_gguf
from modules.networks.files.listing import Header, TensorInfo, read_header
from modules.networks.files.pickles import read_pickle
from modules.networks.files.torch_pickle import Stored, tensors_of
from modules.networks.numbers import all_finite, converted
from modules.networks.quantized import MARKS, is_quantized, restored

DTYPES: Final = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


FLOATS: Final = tuple(name for name, dtype in DTYPES.items() if dtype.is_floating_point)
_MAPPED_AGAIN: Final = 2**27  # bytes
_AHEAD: Final = 2**26  # bytes read ahead while earlier ones are converted
_WORKERS: Final = 8  # threads; more do not help, because memory bandwidth is the limit
_NO_MEMORY: Final = ("mmap", "os error 12", "cannot allocate memory")  # in messages about files that cannot be mapped


Result = TypeVar("Result")


@dataclass(frozen=True)
class Weights:
    """A file's tensors: their types and shapes, and `read(key)` to get one. `name` is for messages.

    `forget` frees the memory of tensors that were read and are no longer used.
    """

    name: str
    header: Header
    read: Callable[[str], Tensor]
    forget: Callable[[], None] = lambda: None

    def renamed(self, new_name: Callable[[str], str]) -> "Weights":
        """The same tensors under other names."""
        old = {new_name(key): key for key in self.header}
        header = {key: self.header[key_before] for key, key_before in old.items()}
        return Weights(self.name, header, lambda key: self.read(old[key]), self.forget)


def open_weights(path: Path) -> Weights:
    """Opens a safetensors or GGUF file, or a file of weights saved by torch; the content decides, not the suffix.

    Tensors are read on demand, and quantized ones restored (`quantized.restored`). Raises WebuiError for a file that is
    empty, truncated, of another kind, or contains more than weights; OSError.
    """
    if is_gguf(path):
        blocks = open_gguf(path)
        # Copies: plain tensors are views of the file, which is read-only.
        return Weights(path.name, blocks.header, lambda key: torch.from_numpy(np.array(blocks.read(key))))
    if format_of(path) == "safetensors":
        header = read_header(path)
        try:
            with _openable(path) as name:
                file = cast(Any, safe_open(name, framework="pt", device="cpu"))
        except (SafetensorError, OSError) as error:
            if any(words in str(error).lower() for words in _NO_MEMORY):
                raise WebuiError(
                    f"{path.name} has {path.stat().st_size / 1e9:.1f} GB, for which there is not enough memory.",
                    "Close other programs, or choose a smaller checkpoint.",
                    field=FIELD,
                ) from error
            why = str(error).replace(str(path), path.name)
            raise WebuiError(f"{path.name} is damaged: {why}.", "Download or copy it again.", field=FIELD) from error
        mapped = _Mapped(path, file)
        read: Callable[[str], Tensor] = mapped.read
        if is_quantized(header):
            header, read = restored(header, read)
        return Weights(path.name, header, read, mapped.forget)
    tensors = tensors_of(read_pickle(path))
    if not tensors:
        raise WebuiError(f"{path.name} holds no weights.", "Use another checkpoint.", field=FIELD)
    header = {key: TensorInfo(value.dtype, value.shape) for key, value in tensors.items()}
    return Weights(path.name, header, lambda key: read_stored(path, tensors[key]))


class _Mapped:
    """A mapped safetensors file. Pages that were read count as this process's memory until the file is unmapped."""

    def __init__(self, path: Path, file: Any) -> None:
        self._file = file
        self._read = 0
        self._descriptor = None
        if sys.platform == "linux":
            with open_file(path) as stream:  # the same file, even if its path is replaced
                self._descriptor = os.dup(stream.fileno())
            weakref.finalize(self, os.close, self._descriptor)

    def read(self, key: str) -> Tensor:
        tensor: Tensor = self._file.get_tensor(key)
        self._read += tensor.nbytes
        return tensor

    def forget(self) -> None:
        """Maps the file again after enough reading; the old mapping ends with the last tensor that uses it."""
        if self._read > _MAPPED_AGAIN and self._descriptor is not None:
            self._file = cast(Any, safe_open(f"/proc/self/fd/{self._descriptor}", framework="pt", device="cpu"))
            self._read = 0


@contextmanager
def _openable(path: Path) -> Iterator[str]:
    """A UTF-8 name under which safetensors can open the file; only Linux has names that are not UTF-8."""
    if str(path).encode("utf-8", "replace") == os.fsencode(path):
        yield str(path)
        return
    with open_file(path) as file:
        yield f"/proc/self/fd/{file.fileno()}"


def read_stored(path: Path, stored: Stored) -> Tensor:
    """A tensor from a file saved by torch. Raises WebuiError if the file has become shorter; OSError."""
    dtype = DTYPES[stored.dtype]
    first, sides = stored.offset, zip(stored.shape, stored.stride, strict=True)
    count = 0 if 0 in stored.shape else 1 + sum(step * (side - 1) for side, step in sides)
    with open_file(path) as file:
        file.seek(stored.start + first * dtype.itemsize)
        data = bytearray(count * dtype.itemsize)
        if file.readinto(data) != len(data):
            raise WebuiError(f"{path.name} has become shorter while it was read.", "Use it again.", field=FIELD)
    if not count:
        return torch.empty(stored.shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).as_strided(stored.shape, stored.stride)


def merged(parts: Sequence[Weights]) -> Weights:
    """Several files (the shards of a model) as one."""
    owner = {key: part for part in parts for key in part.header}

    def forget() -> None:
        for part in parts:
            part.forget()

    header = {key: part.header[key] for key, part in owner.items()}
    return Weights(parts[0].name, header, lambda key: owner[key].read(key), forget)


def fill(
    model: nn.Module,
    weights: Weights,
    names: Callable[[str], Sequence[str]],
    device: torch.device,
    dtype: torch.dtype | None,
    memory_format: torch.memory_format = torch.preserve_format,
) -> None:
    """Gives every parameter and buffer of `model`, which is on the meta device, its tensor from `weights`.

    `names(parameter)` are the possible keys; the first that exists counts. Tensors are converted one by one, so that
    the whole file is never in memory twice. Without a `dtype` they keep the file's type, and on a CPU they are mapped
    from it. A 1×1 convolution and a linear layer of the same size are interchangeable. Raises WebuiError that names the
    first missing key, or the key with the wrong shape; the model is then unusable.
    """
    require_fitting(model, weights, names)
    parameters = model.state_dict()
    keys = {name: next(key for key in names(name) if key in weights.header) for name in parameters}

    def usable(name: str, tensor: Tensor) -> Tensor | None:
        """The converted tensor; None if it contains NaN or infinity."""
        if not all_finite(tensor):
            return None
        shape = parameters[name].shape
        order = memory_format if len(shape) == 4 else torch.preserve_format
        return tensor.reshape(shape) if dtype is None else converted(tensor.reshape(shape), device, dtype, order)

    state: dict[str, Tensor] = {}
    for name, tensor in _worked_on(weights, keys, usable):
        if tensor is None:
            raise WebuiError(
                f"{weights.name} is damaged: {keys[name]} contains NaN or infinite numbers.",
                "Download or merge it again.",
                field=FIELD,
            )
        state[name] = tensor.to(device)
        if dtype is not None:
            weights.forget()
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False).eval()


def require_fitting(model: nn.Module, weights: Weights, names: Callable[[str], Sequence[str]]) -> None:
    """Checks only the header. Raises WebuiError if a tensor for `fill` is missing, of another shape or quantized."""
    missing: list[str] = []
    mark = next((key for key in weights.header if key.rpartition(".")[2] in MARKS), None)
    if mark is not None:
        raise WebuiError(
            f"{weights.name} is quantized in a format that is not known here ({mark}).",
            "Use the version in bf16, fp16, fp8 or int8.",
            field=FIELD,
        )
    for name, parameter in model.state_dict().items():
        candidates = names(name)
        key = next((key for key in candidates if key in weights.header), None)
        if key is None:
            missing.append(candidates[0])
            continue
        dtype, shape = weights.header[key]
        if dtype not in FLOATS:
            raise WebuiError(f"{weights.name} is quantized ({key} is {dtype}).", "Use the fp16 version.", field=FIELD)
        if _without_ones(shape) != _without_ones(parameter.shape):
            raise WebuiError(
                f"{weights.name}: {key} has the shape {list(shape)}, expected {list(parameter.shape)}.",
                "A .yaml or config.json beside it may belong to another model.",
                field=FIELD,
            )
    if missing:
        raise missing_keys(missing, weights.name)


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [side for side in shape if side != 1]


def _worked_on(
    weights: Weights, keys: Mapping[str, str], work: Callable[[str, Tensor], Result]
) -> Iterator[tuple[str, Result]]:
    """(name, result of `work` for its tensor) for each name, computed by several threads; the caller's thread reads.

    At most `_AHEAD` bytes are read ahead of the yielded tensor.
    """
    ahead: deque[tuple[str, int, Future[Result]]] = deque()
    left = iter(keys.items())
    read = 0
    with ThreadPoolExecutor(min(_WORKERS, threads()), thread_name_prefix="weights") as pool:
        while True:
            while read < _AHEAD and (following := next(left, None)):
                name, key = following
                tensor = weights.read(key)
                read += tensor.nbytes
                ahead.append((name, tensor.nbytes, pool.submit(work, name, tensor)))
                del tensor  # its file stays mapped while it is referenced
            if not ahead:
                return
            name, size, result = ahead.popleft()
            read -= size
            yield name, result.result()
            del result
