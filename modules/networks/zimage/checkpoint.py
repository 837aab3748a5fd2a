"""Checkpoints of Z-Image: diffusers folders, and transformers in single files with the other parts beside them."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from diffusers import AutoencoderKL, ZImageTransformer2DModel

from modules.base.errors import WebuiError
from modules.networks.device import Placement
from modules.networks.files.checkpoints import family_of_folder
from modules.networks.files.detect import detect, require_supported
from modules.networks.files.foreign import FIELD
from modules.networks.ldm.building import building, empty, fill_vae, old_vae_name, read_part
from modules.networks.ldm.parts import belongs_to, component
from modules.networks.model import Family, FileSigns, LoadTools, MissingVae
from modules.networks.qwen3.beside import TextNeeds, suited, text_beside, text_of_folder
from modules.networks.weights import Weights, fill, open_weights, require_fitting
from modules.networks.zimage.layout import Config, config_of, renamed
from modules.networks.zimage.model import SHIFT, ZImage, flux_vae
from modules.sampling.flow import FlowNoise
from modules.schema.catalog import Checkpoint
from modules.schema.families import ZIMAGE_TRAITS

log = logging.getLogger(__name__)

FLOW_SHIFT: Final = 3.0  # of the noise levels, as in the published scheduler configuration
_SHIFTS: Final = (0.1, 100.0)


def load(file: Checkpoint, tools: LoadTools) -> ZImage:
    """Loads a checkpoint.

    Raises WebuiError if the file is missing, damaged, of another family or quantized in an unknown format, or if
    nothing beside it is a text encoder with its tokenizer; MissingVae if only a VAE is missing.
    """
    path, place = file.path, suited(tools.place)
    if not path.exists():
        cure = "Refresh the list and choose another."
        raise WebuiError(f"The checkpoint {file.name} is no longer there.", cure, FIELD)
    is_folder = path.is_dir()
    weights = component(path, "transformer") if is_folder else open_weights(path)
    require_supported(family_of_folder(path) if is_folder else detect(weights.header), path)
    weights = renamed(weights)
    config = config_of(weights.header, file.name)
    needs = TextNeeds(config["cap_feat_dim"])
    text = text_of_folder(path, needs) if is_folder else text_beside(file, needs)
    vae = path / "vae" if (path / "vae").is_dir() else _spare_vae(file, tools)
    shift = _shift(path) if is_folder else FLOW_SHIFT
    transformer, encoder = _empty(config, weights, file.name), text.encoder.empty()
    numbers = sum(each.numel() for network in (transformer, encoder) for each in network.parameters())
    tools.make_room(numbers * place.dtype.itemsize)
    fill(transformer, weights, _same, place.loaded_to, place.loaded_as(place.dtype))
    text.encoder.fill(encoder, place)
    autoencoder = _folder_vae(vae, file.name, place) if vae.is_dir() else flux_vae(vae, place)
    loaded = (transformer, autoencoder, encoder)
    size = sum(each.numel() * each.element_size() for part in loaded for each in part.parameters())
    log.info("Loaded %s: Z-Image, %.0f MB", file.name, size / 1e6)
    return ZImage(
        transformer=transformer,
        vae=autoencoder,
        text=encoder,
        tokenizer=text.tokenizer,
        family=ZIMAGE,
        name=file.stem,
        hash=tools.hashes.short(path),
        noise=FlowNoise(shift),
        place=place,
        size=size,
        has_own_vae=vae.is_dir(),
    )


def _spare_vae(file: Checkpoint, tools: LoadTools) -> Path:
    if tools.spare_vae is None:
        cure = "Put the VAE of Flux (ae.safetensors) into models/VAE and choose it."
        raise MissingVae(f"{file.name} has no VAE inside.", cure, FIELD)
    return tools.spare_vae


def _shift(folder: Path) -> float:
    """The shift of the noise levels that a folder's scheduler names."""
    scheduler = read_part(folder / "scheduler" / "scheduler_config.json", folder.name)
    shift = scheduler.get("shift", FLOW_SHIFT)
    is_number = isinstance(shift, int | float) and not isinstance(shift, bool) and _SHIFTS[0] <= shift <= _SHIFTS[1]
    if not is_number or scheduler.get("use_dynamic_shifting") is True:
        raise WebuiError(
            f"{folder.name} has noise levels of another kind: shift {ascii(shift)[:40]}, expected one number from "
            f"{_SHIFTS[0]} to {_SHIFTS[1]} for all sizes.",
            "Download the folder again.",
            FIELD,
        )
    return float(shift)


def _empty(config: Config, weights: Weights, name: str) -> ZImageTransformer2DModel:
    with building(name):
        transformer = cast(ZImageTransformer2DModel, cast(Any, ZImageTransformer2DModel).from_config(config))
    require_fitting(transformer, weights, _same)
    return transformer


def _folder_vae(folder: Path, name: str, place: Placement) -> AutoencoderKL:
    config = read_part(folder / "config.json", name)
    config.setdefault("shift_factor", SHIFT)
    vae = empty(AutoencoderKL, config, name)
    weights = component(folder.parent, folder.name)
    fill_vae(vae, weights, lambda parameter: [parameter, old_vae_name(parameter)], place)
    return vae


def _same(name: str) -> Sequence[str]:
    return [name]


def _matches(signs: FileSigns) -> bool:
    return belongs_to(signs, ZIMAGE_TRAITS.name)


ZIMAGE: Final = Family(traits=ZIMAGE_TRAITS, matches=_matches, load=load, abilities=frozenset({"loras", "vae_files"}))
