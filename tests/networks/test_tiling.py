"""Convolutions that wrap around, for as long as they should."""

import pytest
import torch
from torch import nn

from modules.networks.tiling import wrapping_around


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1))


@torch.no_grad()
def test_a_picture_that_is_rolled_gives_a_result_that_is_rolled() -> None:
    layers, x = network(), torch.randn(1, 1, 8, 8)
    rolled = torch.roll(x, (3, 5), (2, 3))
    assert not torch.allclose(layers(rolled), torch.roll(layers(x), (3, 5), (2, 3)))
    with wrapping_around([layers]):
        assert torch.allclose(layers(rolled), torch.roll(layers(x), (3, 5), (2, 3)), atol=1e-6)


@torch.no_grad()
def test_afterwards_and_after_an_error_they_are_as_before() -> None:
    layers, x = network(), torch.randn(1, 1, 8, 8)
    before = layers(x)
    with pytest.raises(ZeroDivisionError), wrapping_around([layers]):
        raise ZeroDivisionError
    assert torch.equal(layers(x), before)


def test_convolutions_that_pad_otherwise_are_left_alone() -> None:
    reflecting = nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")
    with wrapping_around([reflecting]):
        assert reflecting.padding_mode == "reflect"
    assert reflecting.padding_mode == "reflect"
