"""The UNet at sizes that cannot be halved evenly."""

import torch
from diffusers.models.upsampling import Upsample2D

from modules.networks.ldm.upsampling import Doubling


def test_doubling_convolves_twice_the_size_and_takes_every_cell_the_other_side_needs() -> None:
    layer = Upsample2D(2, use_conv=True)
    x = torch.arange(16.0).view(1, 2, 2, 4)
    doubled = layer(x)
    layer.__class__ = Doubling
    assert torch.equal(layer(x), doubled)
    assert torch.equal(layer(x, (4, 8)), doubled)
    assert torch.equal(layer(x, (3, 7)), torch.nn.functional.interpolate(doubled, size=(3, 7), mode="nearest"))
    assert list(layer.state_dict()) == ["conv.weight", "conv.bias"]
