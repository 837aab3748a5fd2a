"""FLUX.2's autoencoder: 32 channels in cells of 8 pixels, taken 2 x 2 at a time and normalized by measured moments."""

from pathlib import Path
from typing import Any, Final, cast

import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2
from torch import Tensor, nn

from modules.base.errors import WebuiError
from modules.networks import vae
from modules.networks.device import Placement
from modules.networks.files.detect import detect
from modules.networks.ldm import layout
from modules.networks.ldm.building import building, fill_vae, old_vae_name, read_part
from modules.networks.ldm.names import vae_ldm_name
from modules.networks.ldm.parts import component
from modules.networks.ldm.sidecar import read_sidecar
from modules.networks.model import LatentFormat
from modules.networks.posterior import Posterior
from modules.networks.weights import Weights, open_weights

PATCH: Final = 2  # cells of the autoencoder per side of one of the transformer's
_MEAN, _VARIANCE = "bn.running_mean", "bn.running_var"
_KEYS: Final = (
    "in_channels", "out_channels", "latent_channels", "block_out_channels", "layers_per_block", "down_block_types",
    "up_block_types", "norm_num_groups", "mid_block_add_attention",
)  # fmt: skip
_MOVED: Final = {"quant_conv.": "encoder.quant_conv.", "post_quant_conv.": "decoder.post_quant_conv."}


class Moments(nn.Module):
    """Mean and standard deviation of each channel, in place of the network's batch norm.

    They are no buffers: the memory modes convert those to the type that weights compute in.
    """

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self._values = (mean, deviation)

    @property
    def mean(self) -> Tensor:
        return self._values[0]

    @property
    def deviation(self) -> Tensor:
        return self._values[1]


def load_autoencoder(path: Path, place: Placement) -> AutoencoderKLFlux2:
    """From a diffusers folder's `vae`, or a file in diffusers' or the original layout. Raises WebuiError, OSError."""
    if path.is_dir():
        config, weights = read_part(path / "config.json", path.parent.name), component(path.parent, path.name)
    else:
        weights = open_weights(path)
        if _MEAN not in weights.header:
            raise WebuiError(
                f"{path.name} is {detect(weights.header).label}, not the VAE of FLUX.2.", "Choose another.", "sd_vae"
            )
        config = _config_of(weights, path)
    with building(path.name):
        network = cast(AutoencoderKLFlux2, cast(Any, AutoencoderKLFlux2).from_config(config))
    blocks = config["block_out_channels"]

    def names(name: str) -> list[str]:
        moved = next((new + name.removeprefix(old) for old, new in _MOVED.items() if name.startswith(old)), name)
        return [name, old_vae_name(name), vae_ldm_name(name, {"block_out_channels": blocks}), moved]

    mean, variance = (_read_moments(weights, key, network.bn.num_features) for key in (_MEAN, _VARIANCE))
    epsilon = float(cast(Any, network.config)["batch_norm_eps"])
    network.bn = cast(Any, Moments(mean, torch.sqrt(variance + epsilon)))
    fill_vae(cast(AutoencoderKL, network), weights, names, place)
    return network


def _read_moments(weights: Weights, key: str, channels: int) -> Tensor:
    if key not in weights.header or weights.header[key].shape != (channels,):
        raise WebuiError(f"{weights.name} lacks the {channels} numbers of {key}.", "Download it again.", "sd_vae")
    return weights.read(key).float()


def _config_of(weights: Weights, path: Path) -> layout.Config:
    header = weights.header
    if any(key.startswith("encoder.down_blocks.") for key in header):
        config = layout.diffusers_vae_config(header, {}, path.name)
    else:
        config = layout.vae_config(header, read_sidecar(path), path.name, "")
    return {key: config[key] for key in _KEYS} | {
        "use_quant_conv": any("quant_conv." in key and "post_" not in key for key in header),
        "use_post_quant_conv": any("post_quant_conv." in key for key in header),
    }


def latent_format(network: AutoencoderKLFlux2) -> LatentFormat:
    """The transformer's latents: 4 x the autoencoder's channels in cells of twice its size."""
    moments = cast(Moments, network.bn)
    mean, deviation = moments.mean, moments.deviation
    return LatentFormat(
        channels=len(mean),
        cell=vae.cell_size(cast(AutoencoderKL, network)) * PATCH,
        scale=tuple((1 / deviation).tolist()),
        shift=tuple(mean.tolist()),
    )


def encode(network: AutoencoderKLFlux2, pixels: Tensor, in_tiles: bool) -> Posterior:
    """The latents of pictures (n, 3, H, W) in -1 … 1: the mode of the posterior, as published, without a deviation."""
    own = vae.encode(cast(AutoencoderKL, network), pixels, in_tiles).mean
    mean = latent_format(network).normalized(_gathered(own))
    return Posterior(mean, torch.zeros_like(mean))


def decode(network: AutoencoderKLFlux2, latents: Tensor, in_tiles: bool) -> Tensor:
    """Pictures (n, 3, H, W) in 0 … 1, decoded from the transformer's latents."""
    own = _spread(latent_format(network).restored(latents.float()))
    return vae.decode(cast(AutoencoderKL, network), own, in_tiles)


def _gathered(latents: Tensor) -> Tensor:
    """(n, C, 2h, 2w) -> (n, 4 · C, h, w)."""
    return torch.nn.functional.pixel_unshuffle(latents, PATCH)


def _spread(latents: Tensor) -> Tensor:
    """The inverse of `_gathered`."""
    return torch.nn.functional.pixel_shuffle(latents, PATCH)
