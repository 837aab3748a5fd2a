"""Upsampling for sizes that the UNet's downsampling does not divide, done as in A1111 to get the same picture."""

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor


class Doubling(Upsample2D):
    """Doubles, convolves, then crops to the size of the skip connection: 2 cells become 4, then 3.

    diffusers resizes 2 to 3 and convolves that, which gives a different picture at sizes not divisible by 64.
    """

    def forward(
        self, hidden_states: Tensor, output_size: tuple[int, int] | None = None, *args: object, **kwargs: object
    ) -> Tensor:
        doubled = super().forward(hidden_states)
        if output_size is None or tuple(doubled.shape[-2:]) == tuple(output_size):
            return doubled
        return torch.nn.functional.interpolate(doubled, size=tuple(output_size), mode="nearest")


def double_before_convolving(unet: UNet2DConditionModel) -> None:
    """Makes `unet` handle odd sizes as A1111 does. Its tensors keep their names."""
    for module in unet.modules():
        if isinstance(module, Upsample2D):
            module.__class__ = Doubling
