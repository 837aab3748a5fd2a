"""Checks that weights are finite, and converts them to another type, in pieces that fit a CPU's cache.

torch converts fp16 to bf16 one number at a time; converting via fp32 takes a third of the time. NaN and infinity have
all exponent bits set: read as integers they are the largest, and finding a maximum is as fast as reading memory.
"""

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

_AT_ONCE: Final = 2**18  # numbers checked at once; they fit in the cache
_CONVERTED_AT_ONCE: Final = 2**15 - 1  # the most that torch handles on one thread; several would wait for each other
_HALF: Final = (torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


class _Bits(NamedTuple):
    """The signed and unsigned integer types with a number type's bits, and the smallest integer that is not finite."""

    signed: torch.dtype
    unsigned: DTypeLike
    infinity: int

    @property
    def sign(self) -> int:
        return 1 << (self.signed.itemsize * 8 - 1)


_BITS: Final = {
    torch.float64: _Bits(torch.int64, np.uint64, 0x7FF0_0000_0000_0000),
    torch.float32: _Bits(torch.int32, np.uint32, 0x7F80_0000),
    torch.float16: _Bits(torch.int16, np.uint16, 0x7C00),
    torch.bfloat16: _Bits(torch.int16, np.uint16, 0x7F80),
    torch.float8_e5m2: _Bits(torch.int8, np.uint8, 0x7C),
    torch.float8_e4m3fn: _Bits(torch.int8, np.uint8, 0x7F),  # it has NaN but no infinity
}


def all_finite(tensor: Tensor) -> bool:
    """Whether a floating-point tensor on the CPU contains neither NaN nor infinity."""
    bits = _BITS[tensor.dtype]
    signed = tensor.contiguous().view(-1).view(bits.signed).numpy()
    unsigned = signed.view(bits.unsigned)
    for start in range(0, len(signed), _AT_ONCE):
        piece = slice(start, start + _AT_ONCE)
        if signed[piece].max() >= bits.infinity or unsigned[piece].max() >= bits.infinity + bits.sign:
            return False
    return True


def converted(
    tensor: Tensor, device: torch.device, dtype: torch.dtype, order: torch.memory_format = torch.preserve_format
) -> Tensor:
    """`tensor.to(device, dtype, memory_format=order)`, bit for bit, but faster on a CPU, using one thread there."""
    is_same = tensor.dtype == dtype and (order == torch.preserve_format or tensor.is_contiguous(memory_format=order))
    is_here = tensor.device.type == device.type == "cpu"
    is_plain = tensor.is_contiguous() and {tensor.dtype, dtype} <= {*_HALF, torch.float32}
    if is_same or not is_here or not is_plain or tensor.numel() <= _CONVERTED_AT_ONCE:
        return tensor.to(device, dtype, memory_format=order)
    is_reordered = order == torch.channels_last and not tensor.is_contiguous(memory_format=order)
    target = torch.empty(
        tensor.shape, dtype=dtype, memory_format=order if order == torch.channels_last else torch.contiguous_format
    )
    rows = max(1, _CONVERTED_AT_ONCE // (tensor.numel() // len(tensor)))
    by_fp32 = tensor.dtype != dtype and torch.float32 not in (tensor.dtype, dtype)
    steps = [torch.float32] * by_fp32 + [dtype] * (is_reordered and tensor.dtype != dtype)
    buffers = [torch.empty(rows, *tensor.shape[1:], dtype=step) for step in steps]
    for piece, into in zip(tensor.split(rows), target.split(rows), strict=True):
        values = piece
        for buffer in buffers:
            values = buffer[: len(piece)].copy_(values) if len(piece) < rows else buffer.copy_(values)
        into.copy_(values)
    return target
