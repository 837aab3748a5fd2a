"""Weights that are on the computing device only while they are used: part by part, layer by layer, or as fp8 numbers.

At rest a weight lies where it was loaded to: in RAM, as it lies in the file if that could be mapped. While it is used,
its parameter holds a copy on the device in the type of the arithmetic. Then the copy is dropped and the parameter holds
the tensor of before, so nothing is written back and every bit is restored.

accelerate's hooks do not serve for this: they put other parameters in the place of those that LoRAs are merged into,
and copy back what has not changed.
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
_FP8_LAYERS: Final = (nn.Linear, nn.Conv2d)  # A1111's; norms and biases are small and need the bits


class Copies:
    """Some tensors, and while they are used their copies on `device` in `dtype`. Integers keep their type.

    keeps_fp8: 8 bit numbers are copied as they are.
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
        """Have the copies in use. If they cannot all be made there are none, and the error is raised."""
        try:
            for tensor in self._tensors:
                rested = tensor.data
                tensor.data = self._copy(rested)
                self._rested.append(rested)
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Have the tensors of before in use again."""
        for tensor, rested in zip(self._tensors, self._rested, strict=False):
            tensor.data = rested
        self._rested = []

    def _copy(self, rested: Tensor) -> Tensor:
        if not rested.is_floating_point() or (self._keeps_fp8 and rested.dtype == FP8):
            return rested.to(self._device)
        return converted(rested, self._device, self._dtype, _order(rested))


@dataclass(frozen=True)
class _Part:
    """How a network is moved. copies: all of it, None for one that goes layer by layer."""

    copies: Copies | None
    device: torch.device
    dtype: torch.dtype


class Offloading:
    """Moves the parts of checkpoints, whichever checkpoint they belong to: those that work are on the device."""

    def __init__(self) -> None:
        self._parts: WeakKeyDictionary[nn.Module, _Part] = WeakKeyDictionary()
        self._there: list[Copies] = []

    def manage(self, part: nn.Module, place: Placement, dtype: torch.dtype, mode: Mode, is_fp8: bool = False) -> None:
        """Have a network moved as `mode` says from now on. `dtype` is that of its arithmetic.

        `is_fp8` keeps the weights of its large layers as 8 bit numbers, which rounds them.
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
        """Have these networks on the device, and no others. One without the memory for it goes layer by layer."""
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
        """Have no part on the device: before weights are changed, or when something else needs the memory."""
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
    """Have the copies in use while `layer` is called, also if the call is stopped or finds no memory."""

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
    """Convolutions are faster with their channels last, on every device."""
    return torch.channels_last if tensor.ndim == 4 else torch.preserve_format
