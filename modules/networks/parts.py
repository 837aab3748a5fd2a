"""Splits large computations into parts, so that a job can be stopped between them.

A convolution or attention over a 2048 x 2048 picture is one torch call that takes minutes on a CPU. Within `InParts`,
such calls run piece by piece, and `hear` checks for a stop before each call and each piece.
The output is split, not the sums, so each number is summed in the same order as in one call.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from modules.base.events import Stop

# Multiplications and additions per piece: about a tenth of a second on two slow cores.
LARGE: Final = 1.6e10
PIECE: Final = 4e9
BLOCK: Final = 32  # queries that the kernel processes at once
LARGE_PIXELS: Final = 768 * 768  # pixels of a job that can be stopped within a step, on a CPU
LARGE_PIXELS_ELSEWHERE: Final = 2048 * 2048
LARGE_STEP: Final = 6e12  # pixels times parameters, about half a second on two cores
LARGE_NUMBERS: Final = 2**28  # numbers in a call that does little work per number


class Stopped(Exception):
    """Someone stopped the batch or the job. Raised in the middle of a computation."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.name)
        self.stop = stop


class Ear:
    """Checks for stop requests. SKIP applies to a batch; before the first batch, it waits for that batch."""

    def __init__(self, should_stop: Callable[[], Stop]) -> None:
        self._should_stop = should_stop
        self._waiting = False
        self._is_deaf = False
        self.is_in_batch = False

    def hear(self) -> None:
        """Raises Stopped if a stop was requested."""
        if self._is_deaf:
            return
        stop = self._should_stop()
        if stop is Stop.SKIP or (self._waiting and not stop):
            self._waiting = not self.is_in_batch
            stop = Stop.SKIP if self.is_in_batch else Stop.NONE
        if stop:
            raise Stopped(stop)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Within the context, stop requests are ignored: for work that must not be left half done, such as changing
        weights."""
        before, self._is_deaf = self._is_deaf, True
        try:
            yield
        finally:
            self._is_deaf = before


def is_large(pixels: int, parameters: int, device: torch.device) -> bool:
    """Whether a step over `pixels` (of all pictures in the batch) may take longer than a user wants to wait.

    Checking before every call costs a tenth of a small network's time, so small jobs only check between steps.
    """
    if device.type != "cpu":
        return pixels >= LARGE_PIXELS_ELSEWHERE
    return pixels >= LARGE_PIXELS or parameters * pixels >= LARGE_STEP


class InParts(TorchFunctionMode):
    """Within the context, torch's large calls run in parts, and `hear` is called before each call and each part."""

    def __init__(self, hear: Callable[[], None]) -> None:
        super().__init__()
        self._hear = hear

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        split = _SPLITS.get(func)
        if split is not None:
            self._hear()
            made = split(self._hear, func, *args, **(kwargs or {}))
            if made is not None:
                return made
        return func(*args, **(kwargs or {}))


def _attention(
    hear: Callable[[], None], func: Any, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any
) -> Tensor | None:
    """Splits the queries (…, N, width)."""
    work = 4.0 * query.numel() * key.shape[-2]
    if work < LARGE or rest or options.get("attn_mask") is not None or options.get("is_causal"):
        return None
    rows = query.shape[-2]
    length = max(1, int(rows * PIECE / work / BLOCK)) * BLOCK
    pieces: list[Tensor] = []
    for start in range(0, rows, length):
        hear()
        pieces.append(func(query[..., start : start + length, :], key, value, **options))
    return torch.cat(pieces, dim=-2)


def _linear(
    hear: Callable[[], None], func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor | None:
    """Splits the rows before the last axis."""
    work = 2.0 * input.numel() * weight.shape[0]
    if work < LARGE or input.dim() < 2:
        return None
    rows = input.flatten(0, -2)
    length = max(1, int(len(rows) * PIECE / work))
    whole = rows.new_empty(len(rows), weight.shape[0])
    for start in range(0, len(rows), length):
        hear()
        whole[start : start + length] = func(rows[start : start + length], weight, bias)
    return whole.view(*input.shape[:-1], -1)


def _convolution(
    hear: Callable[[], None],
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    """Splits the output's rows; each piece gets the input rows that it needs, with the padding at the ends."""
    if input.dim() != 4 or isinstance(padding, str):
        return None
    (down, across), (pad_down, pad_across), (gap, _) = (_pair(each) for each in (stride, padding, dilation))
    reach = gap * (weight.shape[2] - 1) + 1
    height = input.shape[2]
    rows = (height + 2 * pad_down - reach) // down + 1
    work = 2.0 * input.shape[0] * rows * (input.shape[3] / across) * weight.numel()
    if work < LARGE or rows < 2:
        return None
    length = max(1, int(rows * PIECE / work))
    layout = torch.channels_last if input.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    whole: Tensor | None = None
    for start in range(0, rows, length):
        hear()
        stop = min(rows, start + length)
        first, last = start * down - pad_down, (stop - 1) * down - pad_down + reach
        part = input[:, :, max(0, first) : min(height, last)]
        part = functional.pad(part, (0, 0, max(0, -first), max(0, last - height))).contiguous(memory_format=layout)
        piece: Tensor = func(part, weight, bias, stride, (0, pad_across), dilation, groups)
        if whole is None:
            shape = (*piece.shape[:2], rows, piece.shape[3])
            whole = torch.empty(shape, dtype=piece.dtype, device=piece.device, memory_format=layout)
        whole[:, :, start:stop] = piece
    return whole


def _group_norm(
    hear: Callable[[], None],
    func: Any,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor | None:
    """Splits the groups of channels."""
    if input.numel() <= LARGE_NUMBERS or num_groups < 2:
        return None
    whole = torch.empty_like(input)
    width = input.shape[1] // num_groups
    count = max(1, num_groups * LARGE_NUMBERS // (4 * input.numel()))
    for start in range(0, num_groups, count):
        hear()
        channels = slice(start * width, min(num_groups, start + count) * width)
        groups = min(count, num_groups - start)
        scale, shift = (None if each is None else each[channels] for each in (weight, bias))
        whole[:, channels] = func(input[:, channels], groups, scale, shift, eps)
    return whole


def _silu(hear: Callable[[], None], func: Any, input: Tensor, inplace: bool = False) -> Tensor | None:
    """Splits the rows of a picture."""
    if input.numel() <= LARGE_NUMBERS or input.dim() != 4:
        return None
    whole = input if inplace else torch.empty_like(input)
    length = max(1, input.shape[2] * LARGE_NUMBERS // (4 * input.numel()))
    for start in range(0, input.shape[2], length):
        hear()
        rows = slice(start, start + length)
        whole[:, :, rows] = func(input[:, :, rows])
    return whole


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, *rest = value
    return first, rest[0] if rest else first


_SPLITS: Final[Mapping[Any, Callable[..., Tensor | None]]] = {
    functional.scaled_dot_product_attention: _attention,
    functional.linear: _linear,
    functional.conv2d: _convolution,
    functional.group_norm: _group_norm,
    functional.silu: _silu,
}
