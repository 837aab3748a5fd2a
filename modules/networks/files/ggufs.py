"""GGUF files: their headers, and their tensors restored from blocks of quantized numbers. Does not import torch.

The `gguf` package knows the format and its quantizations; here are the limits, and the names that image models add.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

from modules.base.errors import WebuiError
from modules.networks.files.foreign import FIELD, format_of, open_file
from modules.networks.files.listing import Header, TensorInfo, read_header

SUFFIX: Final = ".gguf"
_START: Final = b"GGUF"
_PLAIN: Final = {"F32": np.float32, "F16": np.float16}  # types that are stored as they are
_RESTORED: Final = "F32"  # what the others are restored to
_MOST_TENSORS: Final = 100_000
_ORIGINAL_SHAPE: Final = "comfy.gguf.orig_shape."  # of tensors that were reshaped into whole blocks

Values = NDArray[np.float32] | NDArray[np.float16]


@dataclass(frozen=True)
class GgufFile:
    """A file's tensors: types and shapes as in a safetensors header, and `read(key)` to get one as an array."""

    header: Header
    read: Callable[[str], Values]


def is_gguf(path: Path) -> bool:
    """Whether a file is a GGUF file, by its ending and its first bytes. (With another ending, every reader says so.)

    Raises WebuiError if it is no regular file; OSError.
    """
    if path.suffix.lower() != SUFFIX or path.is_dir():
        return False
    with open_file(path) as file:
        return file.read(len(_START)) == _START


def header_of(path: Path) -> Header | None:
    """The header of a GGUF or safetensors file; None for a file saved by torch. Raises WebuiError, OSError."""
    if is_gguf(path):
        return open_gguf(path).header
    return read_header(path) if format_of(path) == "safetensors" else None


def open_gguf(path: Path) -> GgufFile:
    """Opens a GGUF file; nothing but its header is read. Raises WebuiError if it is damaged; OSError."""
    try:
        reader: Any = GGUFReader(path)
        tensors = {str(tensor.name): tensor for tensor in reader.tensors}
        if len(tensors) > _MOST_TENSORS:
            raise ValueError(f"it lists {len(tensors)} tensors")
        header = {name: TensorInfo(_type_of(tensor), _shape_of(reader, tensor)) for name, tensor in tensors.items()}
    except OSError:
        raise
    except Exception as error:  # the package reads the header without checks: whatever a damaged one leads to
        raise WebuiError(
            f"{path.name} is damaged or of an unknown version: {str(error)[:120] or type(error).__name__}.",
            "Download or copy it again.",
            FIELD,
        ) from error

    def read(key: str) -> Values:
        tensor, info = tensors[key], header[key]
        try:
            values = cast(Values, dequantize(tensor.data, tensor.tensor_type))
            return values.reshape(info.shape)
        except (NotImplementedError, ValueError) as error:
            raise WebuiError(
                f"{path.name}: {key} cannot be read: {str(error)[:120]}.", "Use another version of the model.", FIELD
            ) from error

    return GgufFile(header, read)


def _type_of(tensor: Any) -> str:
    name = GGMLQuantizationType(tensor.tensor_type).name
    return name if name in _PLAIN else _RESTORED


def _shape_of(reader: Any, tensor: Any) -> tuple[int, ...]:
    """The tensor's shape, outermost side first; GGUF lists the innermost first."""
    field = reader.get_field(f"{_ORIGINAL_SHAPE}{tensor.name}")
    if field is not None:
        shape = tuple(int(field.parts[index][0]) for index in field.data)
    else:
        shape = tuple(int(side) for side in reversed(tensor.shape.tolist()))
    numbers = int(np.prod(tensor.shape, dtype=object))
    if int(np.prod(shape, dtype=object)) != numbers or any(side < 0 for side in shape):
        raise ValueError(f"{tensor.name} has the shape {shape} for {numbers} numbers")
    return shape
