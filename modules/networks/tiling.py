"""Tileable pictures: convolutions that wrap around the edges."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def wrapping_around(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Within the context, the networks' convolutions wrap around: left to right, and top to bottom."""
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
