"""Loads the networks of a Stable Diffusion checkpoint, from local files only."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from modules.base.errors import WebuiError
from modules.networks.device import Placement
from modules.networks.files.detect import FileType
from modules.networks.files.foreign import FIELD
from modules.networks.ldm.building import empty, empty_text_encoder, fill_vae, load_vae
from modules.networks.ldm.layout import Config
from modules.networks.ldm.parts import Layout, Parts, TextPart, open_folder, open_single
from modules.networks.ldm.upsampling import double_before_convolving
from modules.networks.model import MissingVae
from modules.networks.weights import fill, require_fitting
from modules.sampling.discrete import DiscreteNoise
from modules.schema.catalog import Checkpoint
from modules.schema.families import Shown

log = logging.getLogger(__name__)

TextNetwork = CLIPTextModel | CLIPTextModelWithProjection


@dataclass(frozen=True)
class Networks:
    """The loaded networks; `size` is the number of bytes of all parameters."""

    parts: Parts
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    texts: tuple[TextNetwork, ...]
    noise: DiscreteNoise
    has_own_vae: bool
    size: int


@dataclass(frozen=True)
class VaeFiles:
    """VAEs from separate files: `chosen` replaces the one inside, `spare` is used only if there is none inside."""

    chosen: Path | None = None
    spare: Path | None = None


def load_networks(
    file: Checkpoint,
    layout_of: Callable[[FileType], Layout],
    place: Placement,
    vaes: VaeFiles,
    make_room: Callable[[int], None],
) -> Networks:
    """Loads `file` onto `place`.

    `make_room` is called with the number of bytes needed, after the header was checked and before any weights are read.
    Raises WebuiError if the file is missing, damaged, a pickle with code in it, of another kind or family, or
    incomplete; MissingVae if it lacks only a VAE.
    """
    parts, vae = _opened(file, layout_of, vaes)
    _require_known_channels(parts.unet_config, file.name)
    unet = empty(UNet2DConditionModel, parts.unet_config, file.name)
    texts = tuple(empty_text_encoder(text.kind, text.config, file.name) for text in parts.texts)
    double_before_convolving(unet)
    require_fitting(unet, parts.unet, parts.unet_names)
    for network, text in zip(texts, parts.texts, strict=True):
        require_fitting(network, text.weights, text.names)
    autoencoder = None
    if vae is None:
        autoencoder = empty(AutoencoderKL, parts.vae_config, file.name)
        require_fitting(autoencoder, parts.vae, parts.vae_names)
    make_room(_bytes(unet, place.dtype) + sum(_bytes(text, place.text_dtype) for text in texts))
    fill(unet, parts.unet, parts.unet_names, place.loaded_to, place.loaded_as(place.dtype), torch.channels_last)
    for network, text in zip(texts, parts.texts, strict=True):
        _fill_text(network, text, place)
    if autoencoder is not None:
        fill_vae(autoencoder, parts.vae, parts.vae_names, place)
    else:
        assert vae is not None
        autoencoder = load_vae(vae, place, parts.scaling_factor)
    loaded = (unet, autoencoder, *texts)
    size = sum(each.numel() * each.element_size() for part in loaded for each in part.parameters())
    log.info("Loaded %s: %s, %.0f MB", file.name, parts.family.name, size / 1e6)
    return Networks(parts, unet, autoencoder, texts, noise_model(parts.scheduler), vae is None, size)


def _opened(file: Checkpoint, layout_of: Callable[[FileType], Layout], vaes: VaeFiles) -> tuple[Parts, Path | None]:
    """The parts, and the VAE's file if it is a separate one."""
    if not file.path.exists():
        raise WebuiError(
            f"The checkpoint {file.name} is no longer there.", "Refresh the list and choose another.", field=FIELD
        )
    opened = open_folder if file.path.is_dir() else partial(open_single, shared=file.text_encoders)
    try:
        return opened(file.path, layout_of, needs_vae=vaes.chosen is None), vaes.chosen
    except MissingVae:
        if vaes.spare is None:
            raise
        return opened(file.path, layout_of, needs_vae=False), vaes.spare


def _require_known_channels(unet: Config, name: str) -> None:
    """Raises WebuiError for a UNet with unknown input channels besides the latent's."""
    own, seen = unet.get("out_channels", 4), unet.get("in_channels", 4)
    if seen not in _shown_channels(own):
        raise WebuiError(
            f"{name} sees {ascii(seen)[:60]} channels: expected {own}, {own + 1} for depth, {2 * own} for "
            f"InstructPix2Pix, or {2 * own + 1} for inpainting.",
            "Use another checkpoint.",
            FIELD,
        )


def shown_by(seen: int, own: int) -> Shown:
    """The other inputs of a UNet with `seen` input channels, of which `own` are the latent's."""
    return _shown_channels(own)[seen]


def _shown_channels(own: int) -> Mapping[int, Shown]:
    return {own: "", own + 1: "depth", 2 * own: "source", 2 * own + 1: "mask"}


def _fill_text(network: TextNetwork, text: TextPart, place: Placement) -> None:
    fill(network, text.weights, text.names, place.loaded_to, place.loaded_as(place.text_dtype))
    # Not stored in files, so it is still on the meta device.
    positions = torch.arange(text.config["max_position_embeddings"], device=place.loaded_to)
    inner = network.text_model if isinstance(network, CLIPTextModelWithProjection) else network
    inner.embeddings.register_buffer("position_ids", positions[None], persistent=False)


def _bytes(model: nn.Module, dtype: torch.dtype) -> int:
    return sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize


def noise_model(scheduler: Config) -> DiscreteNoise:
    """The noise levels (sigmas) that the checkpoint was trained on, and what it predicts."""
    is_rescaled = scheduler.get("rescale_betas_zero_snr") is True
    return DiscreteNoise(alphas_cumprod(scheduler), scheduler["prediction_type"], is_rescaled)


def alphas_cumprod(scheduler: Config) -> Tensor:
    """ᾱ_t for each training step t, fp32: the product of 1 − β, √β linear in t (Rombach et al. 2022), in fp64."""
    steps = int(scheduler["num_train_timesteps"])
    if scheduler.get("beta_schedule", "scaled_linear") == "linear":
        betas = torch.linspace(scheduler["beta_start"], scheduler["beta_end"], steps, dtype=torch.float64)
    else:
        first, last = scheduler["beta_start"] ** 0.5, scheduler["beta_end"] ** 0.5
        betas = torch.linspace(first, last, steps, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()
