"""Encodes pictures as latents and decodes them: in tiles if memory is short, in fp32 if half precision overflows."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from modules.base.errors import WebuiError
from modules.networks.device import available_bytes, is_out_of_memory, release_memory
from modules.networks.posterior import Posterior
from modules.networks.shared_norms import MeasuredNorms, Moments, SharedNorms

log = logging.getLogger(__name__)

TILE: Final = 64  # latent cells per side of a tile at the first try; halved until it fits in memory
SMALLEST_TILE: Final = 16
OVERLAP: Final = 0.25  # fraction of a tile's side that overlaps its neighbor
Network = Callable[[AutoencoderKL, Tensor], Tensor]

# Memory of a pass in units of its widest full-size layer in fp32; measured on SD 1's decoder, 4.5 at 256² and 2.9 at
# 384².
_LAYERS_HELD: Final = 3.5


class NoRoomForVae(WebuiError):
    """There is not enough memory even for the smallest tiles."""


class Span(NamedTuple):
    """A range along one axis, in latent cells; `stop` is exclusive."""

    start: int
    stop: int


def cell_size(vae: AutoencoderKL) -> int:
    """Pixels per side of a latent cell."""
    return 2 ** (len(vae.config["block_out_channels"]) - 1)


def scale_and_shift(vae: AutoencoderKL) -> tuple[float, float]:
    """A network's units are (latent - shift) * scale; the shift is 0 in the Stable Diffusion families."""
    return float(vae.config.get("scaling_factor", 1.0)), float(vae.config.get("shift_factor") or 0.0)


@torch.inference_mode()
def encode(vae: AutoencoderKL, images: Tensor, in_tiles: bool = False) -> Posterior:
    """The posterior of `images` (n, 3, H, W) in [-1, 1]; H and W are multiples of the cell size.

    `in_tiles` splits pictures larger than a tile even if there is memory for the whole. Raises WebuiError if the
    latents are not finite even in fp32, NoRoomForVae if there is not enough memory for the smallest tiles.
    """
    moments = _finite(vae, images, _encode_moments, "The VAE's encoder", in_tiles)
    mean, log_variance = moments.chunk(2, dim=1)
    scale, shift = scale_and_shift(vae)
    if shift:
        mean = mean - shift
    return Posterior(mean * scale, torch.exp(0.5 * log_variance.clamp(-30.0, 20.0)) * scale)


@torch.inference_mode()
def decode(vae: AutoencoderKL, latents: Tensor, in_tiles: bool = False) -> Tensor:
    """Pictures (n, 3, H, W) in [0, 1], fp32 on the VAE's device, of `latents` (n, channels, h, w) in the UNet's scale.

    Decodes one at a time, so that a batch gives the same bytes as single pictures. Raises like `encode`.
    """
    scale, shift = scale_and_shift(vae)
    scaled = (latent[None] / scale + shift if shift else latent[None] / scale for latent in latents.float())
    pictures = [_finite(vae, latent, _decode_pixels, "The VAE's decoder", in_tiles) for latent in scaled]
    return (torch.cat(pictures) / 2 + 0.5).clamp(0.0, 1.0)


def to_uint8(pictures: Tensor, is_exact: bool = True) -> NDArray[np.uint8]:
    """Pictures (n, 3, H, W) in [0, 1] as bytes (n, H, W, 3): truncated as in A1111 (`is_exact`), or rounded."""
    values = 255.0 * pictures.movedim(1, -1)
    return (values if is_exact else values.round()).to(torch.uint8).cpu().numpy()


def from_uint8(pictures: NDArray[np.uint8], device: torch.device | None = None) -> Tensor:
    """Pictures (n, H, W, 3) as (n, 3, H, W) in [-1, 1], fp32: what `encode` takes."""
    return torch.from_numpy(pictures).to(device).float().movedim(-1, 1).contiguous() / 255.0 * 2.0 - 1.0


# ---- one forward pass, with fallbacks ----


def _encode_moments(vae: AutoencoderKL, images: Tensor) -> Tensor:
    hidden = vae.encoder(images)
    return vae.quant_conv(hidden) if vae.quant_conv is not None else hidden


def _decode_pixels(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    return vae.decoder(vae.post_quant_conv(latents) if vae.post_quant_conv is not None else latents)


def _finite(vae: AutoencoderKL, x: Tensor, network: Network, what: str, in_tiles: bool) -> Tensor:
    """`network(vae, x)` as fp32. If half precision overflows, the VAE stays in fp32 from then on."""
    result = _forward(vae, x, network, in_tiles)
    if not bool(torch.isfinite(result).all()) and vae.dtype != torch.float32:
        log.warning("%s overflowed in %s; the VAE continues in fp32.", what, vae.dtype)
        torch.nn.Module.to(vae, dtype=torch.float32)  # diffusers' own `to` logs a warning
        result = _forward(vae, x, network, in_tiles)
    if not bool(torch.isfinite(result).all()):
        raise WebuiError(f"{what} produced NaN.", "Choose another VAE or checkpoint.", status=500)
    return result


def _forward(vae: AutoencoderKL, x: Tensor, network: Network, in_tiles: bool) -> Tensor:
    x = x.to(vae.device, vae.dtype).contiguous(memory_format=torch.channels_last)
    cells = max(x.shape[-2:]) if network is _decode_pixels else max(x.shape[-2:]) // cell_size(vae)
    if in_tiles and cells > TILE:
        reason = "so it was asked"
    elif _fits(vae, x, network):
        try:
            return network(vae, x).float()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error)
    else:
        reason = "less memory is free than it takes at once"
    log.warning("The picture goes through the VAE in tiles: %s", reason)
    tile = TILE
    while tile >= SMALLEST_TILE:
        release_memory(x.device)
        if tile < cells:
            try:
                return encode_tiled(vae, x, tile) if network is _encode_moments else decode_tiled(vae, x, tile)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
        tile //= 2
    raise NoRoomForVae("Not enough memory for the VAE, even in small tiles.", "Choose a smaller size.", status=507)


def _fits(vae: AutoencoderKL, x: Tensor, network: Network) -> bool:
    """Whether there is enough memory for one pass.

    On CUDA trying is cheap; on a CPU the system may kill the process instead of refusing the memory.
    """
    if x.device.type != "cpu":
        return True
    pixels = x.shape[0] * x.shape[-1] * x.shape[-2] * (cell_size(vae) ** 2 if network is _decode_pixels else 1)
    channels: list[int] = vae.config["block_out_channels"]
    widest = channels[min(1, len(channels) - 1)]  # the decoder's last level starts with those of the level before
    return _LAYERS_HELD * pixels * widest * 4 < available_bytes(x.device)


# ---- tiles ----


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Equal spans of `tile` cells that cover `length`, each overlapping the next by at least `overlap`.

    A single span if `length` is no longer than a tile.

    >>> spans(100, 64, 16)
    [Span(start=0, stop=64), Span(start=36, stop=100)]
    """
    if length <= tile:
        return [Span(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    return [Span(start, start + tile) for start in (round(i * (length - tile) / (count - 1)) for i in range(count))]


def feather(length: int, ramp: int) -> Tensor:
    """Blending weights (length,) in (0, 1] that rise over the first `ramp` places and fall over the last `ramp`."""
    place = torch.arange(1, length + 1, dtype=torch.float32)
    return torch.minimum(place, place.flip(0)).clamp(max=ramp) / ramp


def decode_tiled(vae: AutoencoderKL, latents: Tensor, tile: int) -> Tensor:
    """The decoder's output (n, 3, H, W), fp32, from overlapping, blended tiles of `tile` latent cells per side.

    All tiles use the norms of the whole picture at a small size, so tones differ slightly from one whole pass.
    """
    return _tiled(vae, latents, _decode_pixels, tile, 1, cell_size(vae))


def encode_tiled(vae: AutoencoderKL, images: Tensor, tile: int) -> Tensor:
    """The encoder's moments (n, 2 * channels, h, w), fp32, from overlapping, blended tiles of `tile` cells per side."""
    return _tiled(vae, images, _encode_moments, tile, cell_size(vae), 1)


def _tiled(vae: AutoencoderKL, x: Tensor, network: Network, tile: int, cell_in: int, cell_out: int) -> Tensor:
    """`cell_in` and `cell_out` are the sides of one latent cell in the input and in the output."""
    overlap = int(tile * OVERLAP)
    rows, columns = (spans(side // cell_in, tile, overlap) for side in x.shape[-2:])
    norms = _small_norms(vae, x, network, tile, cell_in) if len(rows) * len(columns) > 1 else None
    total: Tensor | None = None
    weight = torch.zeros(x.shape[-2] // cell_in * cell_out, x.shape[-1] // cell_in * cell_out)
    for top, bottom in rows:
        for left, right in columns:
            part = x[..., top * cell_in : bottom * cell_in, left * cell_in : right * cell_in]
            with nullcontext() if norms is None else SharedNorms(norms):
                part = network(vae, part.contiguous(memory_format=torch.channels_last)).float().cpu()
            if total is None:
                total = torch.zeros(x.shape[0], part.shape[1], *weight.shape)
            height, width = part.shape[-2:]
            blend = feather(height, overlap * cell_out)[:, None] * feather(width, overlap * cell_out)
            place = (..., slice(top * cell_out, bottom * cell_out), slice(left * cell_out, right * cell_out))
            total[place] += part * blend
            weight[place] += blend
    assert total is not None
    return (total / weight).to(x.device)


def _small_norms(vae: AutoencoderKL, x: Tensor, network: Network, tile: int, cell_in: int) -> list[Moments]:
    """The moments of all of `x`, reduced to the size of a tile.

    The reduction skips pixels instead of averaging: an average would be smoother and have a smaller deviation.
    """
    cells = [side // cell_in for side in x.shape[-2:]]
    size = [max(1, round(side * tile / max(cells))) * cell_in for side in cells]
    small = torch.nn.functional.interpolate(x, size=size, mode="nearest-exact")
    with MeasuredNorms() as norms:
        network(vae, small.contiguous(memory_format=torch.channels_last))
    return norms.seen
