"""Builds empty networks from configurations, and loads a VAE from a file of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from modules.base.errors import WebuiError
from modules.networks.device import Placement
from modules.networks.files.detect import VAE, detect
from modules.networks.files.foreign import FIELD, read_json
from modules.networks.files.listing import is_diffusers_part
from modules.networks.ldm import layout
from modules.networks.ldm.layout import Config
from modules.networks.ldm.names import vae_ldm_name
from modules.networks.ldm.sidecar import read_sidecar
from modules.networks.weights import Weights, fill, open_weights

# diffusers' names of the VAE's attention layers before 0.18, still found in older folders.
_OLD_VAE_NAMES: Final = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

Names = Callable[[str], Sequence[str]]
Network = TypeVar("Network", UNet2DConditionModel, AutoencoderKL)
TextKind = TypeVar("TextKind", bound=CLIPTextModel | CLIPTextModelWithProjection)


def load_vae(path: Path, place: Placement, scaling_factor: float | None = None) -> AutoencoderKL:
    """A VAE from its own file or from a whole checkpoint. Raises WebuiError if the file is damaged or has no VAE.

    `scaling_factor` is that of the checkpoint to use it with: the VAE's file does not contain it, and the UNet needs
    its own.
    """
    try:
        return _loaded_vae(path, place, scaling_factor)
    except WebuiError as error:
        raise WebuiError(error.message, error.hint, "sd_vae") from error
    except OSError as error:
        raise WebuiError(
            f"{path.name} cannot be read: {error.strerror or error}.", "Refresh the list.", "sd_vae"
        ) from error


def _loaded_vae(path: Path, place: Placement, scaling_factor: float | None) -> AutoencoderKL:
    weights = open_weights(path)
    prefix = VAE if any(key.startswith(VAE) for key in weights.header) else ""
    if f"{prefix}decoder.conv_in.weight" not in weights.header:
        raise WebuiError(
            f"{path.name} is {detect(weights.header).label}, not a VAE.", "Choose another.", field="sd_vae"
        )
    is_diffusers = any(key.startswith(f"{prefix}encoder.down_blocks.") for key in weights.header)
    if is_diffusers:
        stored = read_part(path.with_name("config.json"), path.parent.name) if is_diffusers_part(path) else {}
        config = layout.diffusers_vae_config(weights.header, stored, path.name, prefix)
    else:
        config = layout.vae_config(weights.header, read_sidecar(path), path.name, prefix)
    if scaling_factor is not None:
        config |= {"scaling_factor": scaling_factor}

    def names(name: str) -> list[str]:
        theirs = [name, old_vae_name(name)] if is_diffusers else [vae_ldm_name(name, config)]
        return [prefix + each for each in theirs]

    vae = empty(AutoencoderKL, config, weights.name)
    fill_vae(vae, weights, names, place)
    return vae


@contextmanager
def building(name: str) -> Iterator[None]:
    """Builds on the meta device, and turns errors of diffusers and transformers about a configuration into
    WebuiError."""
    try:
        with torch.device("meta"):
            yield
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise WebuiError(
            f"{name} has a configuration that makes no model: {reason[:200]}.", "Download it again.", field=FIELD
        ) from error


def empty(kind: type[Network], config: Config, name: str) -> Network:
    with building(name):
        return cast(Network, cast(Any, kind).from_config(config))


def empty_text_encoder(kind: type[TextKind], config: Config, name: str) -> TextKind:
    with building(name):
        return kind(CLIPTextConfig(**cast(Any, config | {"attn_implementation": "sdpa"})))


def fill_vae(vae: AutoencoderKL, weights: Weights, names: Names, place: Placement) -> None:
    """Fills the VAE with its weights. Raises WebuiError as `fill` does."""
    fill(vae, weights, names, place.loaded_to, place.loaded_as(place.vae_dtype), torch.channels_last)


def old_vae_name(name: str) -> str:
    if ".attentions." not in name:
        return name
    layer, _, kind = name.rpartition(".")
    for new, old in _OLD_VAE_NAMES.items():
        if layer.endswith(new):
            return f"{layer.removesuffix(new)}{old}.{kind}"
    return name


def read_part(path: Path, name: str) -> dict[str, Any]:
    try:
        return layout.require_plausible(read_json(path), f"{path.parent.name}/{path.name} in {name}")
    except FileNotFoundError as error:
        raise WebuiError(
            f"{name} lacks {path.parent.name}/{path.name}.", "Download the folder again.", field=FIELD
        ) from error
    except (OSError, ValueError) as error:
        raise WebuiError(
            f"{path.name} in {name} cannot be read: {error}.", "Download the folder again.", field=FIELD
        ) from error
