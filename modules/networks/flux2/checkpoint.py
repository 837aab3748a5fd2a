"""Checkpoints of FLUX.2 Klein: diffusers folders, and transformers in single files with the other parts beside them."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from diffusers import Flux2Transformer2DModel

from modules.base.errors import WebuiError
from modules.networks.files.checkpoints import family_of_folder
from modules.networks.files.detect import detect, require_supported
from modules.networks.files.foreign import FIELD
from modules.networks.flux2.autoencoder import load_autoencoder
from modules.networks.flux2.layout import Config, config_of, renamed
from modules.networks.flux2.model import LAYERS, Flux2Klein
from modules.networks.ldm.building import building
from modules.networks.ldm.parts import belongs_to, component
from modules.networks.model import Family, FileSigns, LoadTools, MissingVae
from modules.networks.qwen3.beside import TextNeeds, suited, text_beside, text_of_folder
from modules.networks.weights import Weights, fill, open_weights, require_fitting
from modules.sampling.flow import EmpiricalFlow
from modules.schema.catalog import Checkpoint
from modules.schema.families import FLUX2_TRAITS

log = logging.getLogger(__name__)


def load(file: Checkpoint, tools: LoadTools) -> Flux2Klein:
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
    needs = TextNeeds(config["joint_attention_dim"], max(LAYERS), len(LAYERS), "qwen_3_4b.safetensors (9B: qwen_3_8b)")
    text = text_of_folder(path, needs) if is_folder else text_beside(file, needs)
    vae = path / "vae" if (path / "vae").is_dir() else _spare_vae(file, tools)
    transformer, encoder = _empty(config, weights, file.name), text.encoder.empty()
    numbers = sum(each.numel() for network in (transformer, encoder) for each in network.parameters())
    tools.make_room(numbers * place.dtype.itemsize)
    fill(transformer, weights, _same, place.loaded_to, place.loaded_as(place.dtype))
    text.encoder.fill(encoder, place)
    autoencoder = load_autoencoder(vae, place)
    loaded = (transformer, autoencoder, encoder)
    size = sum(each.numel() * each.element_size() for part in loaded for each in part.parameters())
    log.info("Loaded %s: FLUX.2 Klein, %.0f MB", file.name, size / 1e6)
    return Flux2Klein(
        transformer=transformer,
        vae=autoencoder,
        text=encoder,
        tokenizer=text.tokenizer,
        family=FLUX2_KLEIN,
        name=file.stem,
        hash=tools.hashes.short(path),
        noise=EmpiricalFlow(),
        place=place,
        size=size,
        has_own_vae=vae.is_dir(),
    )


def _spare_vae(file: Checkpoint, tools: LoadTools) -> Path:
    if tools.spare_vae is None:
        cure = "Put the VAE of FLUX.2 (flux2-vae.safetensors) into models/VAE and choose it."
        raise MissingVae(f"{file.name} has no VAE inside.", cure, FIELD)
    return tools.spare_vae


def _empty(config: Config, weights: Weights, name: str) -> Flux2Transformer2DModel:
    with building(name):
        transformer = cast(Flux2Transformer2DModel, cast(Any, Flux2Transformer2DModel).from_config(config))
    require_fitting(transformer, weights, _same)
    return transformer


def _same(name: str) -> Sequence[str]:
    return [name]


def _matches(signs: FileSigns) -> bool:
    return belongs_to(signs, FLUX2_TRAITS.name)


FLUX2_KLEIN: Final = Family(
    traits=FLUX2_TRAITS, matches=_matches, load=load, abilities=frozenset({"loras", "vae_files"})
)
