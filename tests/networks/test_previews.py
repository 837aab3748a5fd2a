# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# transformers and diffusers declare narrower types for tensors and answers than they accept and return.

from functools import partial

import numpy as np
import torch
from diffusers import AutoencoderKL

from modules.networks.ldm.layout import read_config
from modules.networks.previews import PreviewMap, fit_preview, preview
from modules.networks.sd1.model import StableDiffusion
from modules.networks.vae import encode


class Averaging(torch.nn.Module):
    """An encoder whose latent is a known linear mix of each cell's mean color."""

    MIX = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0], [0.3, 0.3, 0.3], [0.0, 0.0, 2.0]])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = torch.nn.functional.avg_pool2d(images, 8)
        latent = torch.einsum("zc,nchw->nzhw", self.MIX, mean) + 0.25
        return torch.cat([latent, torch.zeros_like(latent)], dim=1)


def test_the_map_of_a_linear_encoder_gives_the_colors_back(tiny: StableDiffusion) -> None:
    config = read_config("sd1", "vae") | {
        "block_out_channels": [32] * 4,
        "use_quant_conv": False,
        "scaling_factor": 0.5,
    }
    vae = AutoencoderKL.from_config(config).eval()
    vae.encoder = Averaging()
    colors = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    pictures = torch.nn.functional.interpolate(colors, scale_factor=8, mode="nearest")
    latent = vae.encoder(pictures * 2 - 1)[0, :4] * 0.5
    seen = preview(latent, fit_preview(partial(encode, vae), 8))
    assert (seen.dtype, seen.shape) == (np.uint8, (4, 5, 3))
    np.testing.assert_allclose(seen / 255, colors[0].movedim(0, -1), atol=0.01)


def test_fitting_twice_gives_the_same_and_moves_no_random_numbers(tiny: StableDiffusion) -> None:
    before = torch.get_rng_state()
    first, second = fit_preview(tiny.encode, 8), fit_preview(tiny.encode, 8)
    assert torch.equal(first.matrix, second.matrix)
    assert torch.equal(first.bias, second.bias)
    assert torch.equal(torch.get_rng_state(), before)
    assert (first.matrix.shape, first.bias.shape) == ((4, 3), (3,))


def test_numbers_out_of_range_and_none_are_drawn_as_well_as_they_can() -> None:
    latent = torch.tensor([9.0, -9.0, float("nan"), 0.5]).reshape(1, 2, 2)
    seen = preview(latent, PreviewMap(torch.ones(1, 3), torch.zeros(3)))
    assert seen[..., 0].tolist() == [[255, 0], [0, 128]]
