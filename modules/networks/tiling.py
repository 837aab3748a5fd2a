"""Pictures that continue at their opposite edge: convolutions that wrap around."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from modules.networks.checkpoint import StableDiffusion


@contextmanager
def wrapping_around(model: StableDiffusion, is_on: bool = True) -> Iterator[None]:
    """While it lasts, the UNet and the VAE see a picture's left edge beside its right one, and its top below."""
    layers = [
        layer
        for network in (model.unet, model.vae)
        for layer in network.modules()
        if is_on and isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros"
    ]
    for layer in layers:
        layer.padding_mode = "circular"
    try:
        yield
    finally:
        for layer in layers:
            layer.padding_mode = "zeros"
