"""Reads weights from ncnn's two files: a .param that lists the layers, and a .bin with their numbers in that order.

Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modules.base.errors import WebuiError

MAGIC: Final = "7767517"
FP16: Final = 0x01306B47  # tag before weights stored in half precision
FP32: Final = 0
MAX_PARAM: Final = 4 << 20  # bytes; RRDBNet's has 117 kB
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A layer with weights. `weight`: (out, in, kernel, kernel) for a convolution, (channels,) for PReLU slopes."""

    kind: str
    weight: Array
    bias: Array | None = None


def read_layers(param: Path, binary: Path) -> list[Layer]:
    """The convolutions and PReLUs of a network, in order. Raises WebuiError for other layers with weights."""
    if param.stat().st_size > MAX_PARAM:
        raise _damaged(param, "it is too large")
    lines = param.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0].strip() != MAGIC:
        raise _damaged(param, "it is not ncnn's")
    numbers = _Numbers(binary)
    layers: list[Layer] = []
    for line in lines[2:]:
        try:
            layers += _layer(line.split(), numbers)
        except (ValueError, KeyError) as error:
            raise _damaged(param, f"a line cannot be read ({line.strip()[:60]})") from error
    if not numbers.is_at_end:
        raise _damaged(binary, "it holds more numbers than its layers take")
    return layers


class _Numbers:
    """Reads the .bin file from start to end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data = memoryview(path.read_bytes())
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def plain(self, count: int) -> Array:
        """The next `count` 32-bit numbers."""
        return np.frombuffer(self._taken(4 * count), "<f4").astype(np.float32)

    def tagged(self, count: int) -> Array:
        """The next `count` numbers, after a tag with their precision; they are padded to a multiple of four bytes."""
        (tag,) = struct.unpack("<I", self._taken(4))
        if tag == FP32:
            return self.plain(count)
        if tag != FP16:
            raise _damaged(self._path, f"its weights are stored in a way that is not read here (tag {tag:#x})")
        padded = -(-2 * count // 4) * 4
        return np.frombuffer(self._taken(padded), "<f2", count).astype(np.float32)

    def _taken(self, count: int) -> memoryview:
        end = self._at + count
        if count < 0 or end > len(self._data):
            raise _damaged(self._path, "it is cut short")
        taken = self._data[self._at : end]
        self._at = end
        return taken


def _layer(words: list[str], numbers: _Numbers) -> Iterator[Layer]:
    if len(words) < 4:
        return
    kind, inputs, outputs = words[0], int(words[2]), int(words[3])
    options = dict(word.split("=", 1) for word in words[4 + inputs + outputs :])
    if kind == "Convolution":
        channels, kernel, count = (int(options[key]) for key in ("0", "1", "6"))
        if count < 1 or count % (channels * kernel * kernel):
            raise ValueError(count)
        weight = numbers.tagged(count).reshape(channels, -1, kernel, kernel)
        bias = numbers.plain(channels) if options.get("5") == "1" else None
        yield Layer(kind, weight, bias)
    elif kind == "PReLU":
        yield Layer(kind, numbers.plain(int(options["0"])))


def _damaged(path: Path, reason: str) -> WebuiError:
    return WebuiError(f"{path.name}: {reason}.", "Install its package again.", "upscaler")
