"""Quick previews of latents: a linear map from channels to RGB instead of the decoder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modules.networks.posterior import Posterior

_CELLS: Final = 8  # latent cells per side of the picture used for fitting
_RIDGE: Final = 1e-3
_SEED: Final = 20


@dataclass(frozen=True)
class PreviewMap:
    """`rgb = latent @ matrix + bias`: latent in the UNet's scale, rgb in [0, 1], matrix (channels, 3), bias (3,)."""

    matrix: Tensor
    bias: Tensor


def fit_preview(encode: Callable[[Tensor], Posterior], cell: int) -> PreviewMap:
    """Fits the map by least squares, from the latents of a small generated picture to the mean color of each cell.

    `encode` is the autoencoder's, `cell` its pixels per side of a latent cell. Every autoencoder has its own latent
    space, so nothing is assumed about it. This costs one encoding of 8 x 8 cells, and uses no shared random generator.
    """
    picture = _patches(cell)
    latent = encode(picture * 2 - 1).mean[0].cpu()
    x = latent.flatten(1).T
    y = torch.nn.functional.avg_pool2d(picture, cell)[0].flatten(1).T
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = (x - mean_x).double(), (y - mean_y).double()
    damping = _RIDGE * len(x) * x.square().mean() * torch.eye(x.shape[1], dtype=torch.float64)
    matrix = torch.linalg.solve(x.T @ x + damping, x.T @ y).float()
    return PreviewMap(matrix, mean_y - mean_x @ matrix)


def _patches(cell: int) -> Tensor:
    """A picture (1, 3, H, W) in [0, 1]: soft color gradients, hard-edged patches and some grain."""
    generator = torch.Generator().manual_seed(_SEED)
    side = _CELLS * cell
    fields = torch.rand(1, 3, _CELLS // 4 + 1, _CELLS // 4 + 1, generator=generator)
    soft = torch.nn.functional.interpolate(fields, size=(side, side), mode="bilinear", align_corners=True)
    tiles = torch.rand(1, 3, _CELLS // 2, _CELLS // 2, generator=generator)
    hard = torch.nn.functional.interpolate(tiles, size=(side, side), mode="nearest")
    grain = torch.randn(1, 1, side, side, generator=generator)
    mix = (torch.rand(1, 1, _CELLS // 2, _CELLS // 2, generator=generator) < 0.5).float()
    mix = torch.nn.functional.interpolate(mix, size=(side, side), mode="nearest")
    return (soft * mix + hard * (1 - mix) + 0.03 * grain).clamp(0.0, 1.0)


@torch.inference_mode()
def preview(latent: Tensor, preview_map: PreviewMap) -> NDArray[np.uint8]:
    """A small picture (h, w, 3) of one latent (channels, h, w), with one pixel per cell."""
    rgb = latent.float().cpu().movedim(0, -1) @ preview_map.matrix + preview_map.bias
    return (rgb.nan_to_num(0.0).clamp(0.0, 1.0) * 255).round().to(torch.uint8).numpy()
