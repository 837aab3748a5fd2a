"""Weights that are on the computing device only while they are used: part by part, layer by layer, or as fp8 numbers.

An unused weight stays where it was loaded: in RAM, mapped from the file if possible. While it is used, its parameter
holds a copy on the device, in the type it computes in. Afterwards the copy is dropped and the parameter holds the
original tensor again, so nothing is written back and every bit is restored.
accelerate's hooks are not suitable: they replace the parameters that LoRAs are merged into, and copy unchanged weights
back.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from modules.networks.device import CPU, Mode, Placement, is_out_of_memory, release_memory
from modules.networks.numbers import converted

log = logging.getLogger(__name__)

FP8: Final = torch.float8_e4m3fn
_FP8_LAYERS: Final = (nn.Linear, nn.Conv2d)  # as in A1111; norms and biases are small and need the precision


class Copies:
    """Some tensors and, while they are used, their copies on `device` in `dtype`. Integers keep their type.

    keeps_fp8: 8-bit floats keep their type too.
    """

    def __init__(
        self, tensors: Iterable[Tensor], device: torch.device, dtype: torch.dtype, keeps_fp8: bool = False
    ) -> None:
        self._tensors = list(tensors)
        self._device = device
        self._dtype = dtype
        self._keeps_fp8 = keeps_fp8
        self._rested: list[Tensor] = []

    def bring(self) -> None:
        """Makes the copies and uses them. If one cannot be made, none are used, and the error is raised."""
        try:
            for tensor in self._tensors:
                rested = tensor.data
                tensor.data = self._copy(rested)
                self._rested.append(rested)
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Drops the copies and uses the original tensors again."""
        for tensor, rested in zip(self._tensors, self._rested, strict=False):
            tensor.data = rested
        self._rested = []

    def _copy(self, rested: Tensor) -> Tensor:
        if not rested.is_floating_point() or (self._keeps_fp8 and rested.dtype == FP8):
            return rested.to(self._device)
        return converted(rested, self._device, self._dtype, _order(rested))


@dataclass(frozen=True)
class _Part:
    """How a network is moved. copies: of the whole network; None if it is moved layer by layer."""

    copies: Copies | None
    device: torch.device
    dtype: torch.dtype


class Offloading:
    """Moves the parts of all checkpoints, so that only the parts in use are on the device."""

    def __init__(self) -> None:
        self._parts: WeakKeyDictionary[nn.Module, _Part] = WeakKeyDictionary()
        self._there: list[Copies] = []

    def manage(self, part: nn.Module, place: Placement, dtype: torch.dtype, mode: Mode, is_fp8: bool = False) -> None:
        """Moves a network according to `mode` from now on. `dtype` is the type it computes in.

        `is_fp8` stores the weights of its large layers as 8-bit floats, which rounds them.
        """
        if part in self._parts or place.is_always_there:
            return
        rest = place.device if mode == "whole" else CPU
        large = [layer for layer in part.modules() if isinstance(layer, _FP8_LAYERS)] if is_fp8 else []
        for layer in large:
            layer.weight.data = layer.weight.data.to(rest, FP8, memory_format=_order(layer.weight))
        for tensor in _tensors(part):
            if mode == "whole" and tensor.is_floating_point() and tensor.dtype != FP8:
                tensor.data = tensor.data.to(rest, dtype, memory_format=_order(tensor))
            else:
                tensor.data = tensor.data.to(rest)
        if mode == "layers":
            self._by_layer(part, place.device, dtype)
            return
        for layer in large:
            _while_called(layer, Copies([layer.weight], place.device, dtype))
        if mode == "parts":
            self._parts[part] = _Part(Copies(_tensors(part), place.device, dtype, is_fp8), place.device, dtype)

    def ready(self, *parts: nn.Module) -> None:
        """Moves these networks to the device, and all others away. If memory is short, a network is moved layer by
        layer."""
        managed = [(part, self._parts[part]) for part in parts if part in self._parts]
        copies = [held.copies for _, held in managed if held.copies is not None]
        if not managed or (copies and copies == self._there):
            return
        self.rest()
        for part, held in managed:
            if held.copies is None:
                continue
            try:
                held.copies.bring()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                log.warning("%s goes layer by layer: %s", type(part).__name__, error)
                release_memory(held.device)
                self._by_layer(part, held.device, held.dtype)
            else:
                self._there.append(held.copies)

    def rest(self) -> None:
        """Moves all parts off the device: before weights are changed, or when something else needs the memory."""
        for copies in self._there:
            copies.drop()
        self._there = []

    def _by_layer(self, part: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        for layer in part.modules():
            tensors = list(_tensors(layer, recurse=False))
            if tensors:
                _while_called(layer, Copies(tensors, device, dtype))
        self._parts[part] = _Part(None, device, dtype)


def _while_called(layer: nn.Module, copies: Copies) -> None:
    """Uses the copies only while `layer` is called, even if the call is stopped or runs out of memory."""

    def bring(module: nn.Module, inputs: Any) -> None:
        copies.bring()

    def drop(module: nn.Module, inputs: Any, output: Any) -> None:
        copies.drop()

    layer.register_forward_pre_hook(bring)
    layer.register_forward_hook(drop, always_call=True)


def _tensors(module: nn.Module, recurse: bool = True) -> Iterator[Tensor]:
    yield from module.parameters(recurse)
    yield from module.buffers(recurse)


def _order(tensor: Tensor) -> torch.memory_format:
    """The memory format for a tensor: convolutions are faster with channels last, on every device."""
    return torch.channels_last if tensor.ndim == 4 else torch.preserve_format
