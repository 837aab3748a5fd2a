"""Checks a safetensors header beyond its JSON: counts, names, and the positions of tensors. Does not import torch.

The safetensors library checks positions too, but only after mapping the file; here they are checked before that.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from modules.base.errors import WebuiError
from modules.base.paths import CONTROLS, legible
from modules.networks.files.foreign import FIELD

MOST_TENSORS: Final = 50_000  # XL checkpoints have 2 500, LoRAs for all their layers 7 000
MOST_SIDES: Final = 8  # of a tensor's shape
LONGEST_KEY: Final = 1000  # characters
_DOWNLOAD: Final = "Download it again."
DTYPE_BITS: Final = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
}  # fmt: skip


class TensorInfo(NamedTuple):
    """A tensor in a header; `dtype` is named as in safetensors (F16, BF16, F32, I64 …)."""

    dtype: str
    shape: tuple[int, ...]


Header = Mapping[str, TensorInfo]


class Span(NamedTuple):
    """The bytes of a tensor, counted from the end of the header."""

    start: int
    stop: int
    key: str


def require_names(path: Path, keys: Sequence[str]) -> None:
    """Raises WebuiError for too many tensors, or for names that cannot be displayed."""
    if len(keys) > MOST_TENSORS:
        raise WebuiError(
            f"{path.name} has {len(keys)} tensors, expected at most {MOST_TENSORS}.", "Choose another file.", FIELD
        )
    bad = next((key for key in keys if len(key) > LONGEST_KEY or CONTROLS.search(key)), None)
    if bad is not None:
        raise WebuiError(
            f"{path.name} is not a safetensors file: the tensor name {legible(bad)[:60]!r} is too long or holds "
            "control characters.",
            _DOWNLOAD,
            FIELD,
        )


def require_apart(path: Path, spans: Sequence[Span]) -> None:
    """Raises WebuiError unless each tensor starts where the one before it ends: no overlaps, no gaps."""
    end, before = 0, ""
    for span in sorted(spans):
        if span.start < end:
            raise WebuiError(
                f"{path.name} is not a safetensors file: its tensors {before} and {span.key} overlap.",
                _DOWNLOAD,
                FIELD,
            )
        if span.start > end:
            raise WebuiError(
                f"{path.name} is not a safetensors file: {span.start - end} bytes before its tensor {span.key} belong "
                "to none.",
                _DOWNLOAD,
                FIELD,
            )
        end, before = span.stop, span.key


def tensor_info(path: Path, value: Any) -> tuple[TensorInfo, int, int]:
    """(a tensor in a header, the position of its first byte, the position after its last byte).

    Raises WebuiError if they are invalid.
    """
    if not isinstance(value, dict):
        raise damaged(path)
    entry = cast(dict[str, Any], value)
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not isinstance(shape, list) or not isinstance(offsets, list):
        raise damaged(path)
    numbers = cast(list[Any], [*shape, *offsets])
    if (
        len(offsets) != 2
        or len(numbers) > 2 + MOST_SIDES
        or any(type(number) is not int or not 0 <= number < 2**60 for number in numbers)
    ):
        raise damaged(path)
    start, stop = cast(list[int], offsets)
    bits = math.prod(cast(list[int], shape)) * DTYPE_BITS.get(dtype, 0)
    if stop < start or (dtype in DTYPE_BITS and (stop - start) * 8 != bits):
        raise damaged(path)
    return TensorInfo(dtype, tuple(shape)), start, stop


def damaged(path: Path) -> WebuiError:
    return WebuiError(
        f"{path.name} is not a safetensors file: its header is damaged.", "Download it again.", field=FIELD
    )
