"""Reads a checkpoint's tensors in slices with plain reads: the pages of a mapped file would count as memory."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from modules.base.errors import WebuiError
from modules.networks.files.foreign import FIELD, format_of, open_file
from modules.networks.files.listing import Header, TensorInfo, read_description
from modules.networks.files.pickles import read_pickle
from modules.networks.files.torch_pickle import Stored, tensors_of
from modules.networks.weights import DTYPES, read_stored


class TensorFile:
    """A file's tensors by name, `read` in slices. `new_name` maps old names to current ones.

    Raises WebuiError for a file that is damaged or not a model; OSError.
    """

    def __init__(self, path: Path, new_name: Callable[[str], str] = str) -> None:
        if path.is_dir():
            raise WebuiError(
                f"{path.name} is a diffusers folder; only single files can be merged.",
                "Convert it to a .safetensors file first.",
                FIELD,
            )
        self.name = path.name
        self._path = path
        self._starts: dict[str, int] = {}
        self._strided: dict[str, Stored] = {}  # tensors that are not contiguous
        self.metadata: Mapping[str, str] = {}
        header: dict[str, TensorInfo] = {}
        if format_of(path) == "safetensors":
            described = read_description(path)
            self.metadata = described.metadata
            for key, info in described.header.items():
                header[new_name(key)] = info
                self._starts[new_name(key)] = described.starts[key]
        else:
            for key, stored in tensors_of(read_pickle(path)).items():
                name = new_name(key)
                header[name] = TensorInfo(stored.dtype, stored.shape)
                if _is_in_a_row(stored):
                    self._starts[name] = stored.start + stored.offset * DTYPES[stored.dtype].itemsize
                else:
                    self._strided[name] = stored
        if not header:
            raise WebuiError(f"{path.name} holds no weights.", "Use another checkpoint.", FIELD)
        unread = next((key for key, info in header.items() if info.dtype not in DTYPES), None)
        if unread is not None:
            raise WebuiError(
                f"{path.name} is quantized ({unread} is {header[unread].dtype}).", "Use the fp16 version.", FIELD
            )
        self.header: Header = header

    def read(self, key: str, first: int, count: int) -> Tensor:
        """The numbers `first` to `first + count` of the flattened tensor. Raises WebuiError, OSError."""
        dtype = DTYPES[self.header[key].dtype]
        if key in self._strided:
            return read_stored(self._path, self._strided[key]).flatten()[first : first + count]
        data = bytearray(count * dtype.itemsize)
        with open_file(self._path) as file:
            file.seek(self._starts[key] + first * dtype.itemsize)
            if file.readinto(data) != len(data):
                raise WebuiError(f"{self.name} has become shorter while it was read.", "Merge again.", FIELD)
        return torch.frombuffer(data, dtype=dtype) if count else torch.empty(0, dtype=dtype)


def _is_in_a_row(stored: Stored) -> bool:
    step = 1
    for side, stride in zip(reversed(stored.shape), reversed(stored.stride), strict=True):
        if side > 1 and stride != step:
            return False
        step *= side
    return True
