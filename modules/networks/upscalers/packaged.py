"""Real-ESRGAN's networks, from a package that contains only their weights, so that nothing is downloaded.

Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data" (2021).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from modules.networks.upscalers.ncnn import Layer, read_layers

StateDict = dict[str, Tensor]
CONVOLUTIONS_A_BLOCK: Final = 5
BLOCKS_A_GROUP: Final = 3  # dense blocks per residual-in-residual block
TAIL: Final = ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")


def rrdb_names(convolutions: int) -> Iterator[str]:
    """Names of RRDBNet's convolutions in order of evaluation, as in Real-ESRGAN's own files."""
    groups = (convolutions - 1 - len(TAIL)) // (CONVOLUTIONS_A_BLOCK * BLOCKS_A_GROUP)
    yield "conv_first"
    for group in range(groups):
        for block in range(1, BLOCKS_A_GROUP + 1):
            for convolution in range(1, CONVOLUTIONS_A_BLOCK + 1):
                yield f"body.{group}.rdb{block}.conv{convolution}"
    yield from TAIL


def compact_names(layers: int) -> Iterator[str]:
    """Names of SRVGGNetCompact's alternating convolutions and PReLUs, in order."""
    for number in range(layers):
        yield f"body.{number}"


def state_dict(layers: Sequence[Layer], names: Callable[[int], Iterator[str]]) -> StateDict:
    """The weights by the names of Real-ESRGAN's own files, which spandrel recognizes."""
    state: StateDict = {}
    for name, layer in zip(names(len(layers)), layers, strict=True):
        state[f"{name}.weight"] = torch.from_numpy(layer.weight)
        if layer.bias is not None:
            state[f"{name}.bias"] = torch.from_numpy(layer.bias)
    return state


@dataclass(frozen=True)
class Packaged:
    """A network of the package: the stem of its two files, and how its layers are named."""

    stem: str
    names: Callable[[int], Iterator[str]]

    def read(self, folder: Path) -> StateDict:
        """The network's weights. Raises WebuiError if a file is damaged, OSError if it cannot be read."""
        return state_dict(read_layers(folder / f"{self.stem}.param", folder / f"{self.stem}.bin"), self.names)
