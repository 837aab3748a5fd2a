"""Pictures that continue at their opposite edge: convolutions that wrap around."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def wrapping_around(networks: Iterable[nn.Module]) -> Iterator[None]:
    """While it lasts, the networks see a picture's left edge beside its right one, and its top below its bottom."""
    layers = [
        layer
        for network in networks
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros"
    ]
    for layer in layers:
        layer.padding_mode = "circular"
    try:
        yield
    finally:
        for layer in layers:
            layer.padding_mode = "zeros"
