"""Checkpoints of Z-Image: diffusers folders, and transformers in single files with the other parts beside them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel

from modules.base.errors import WebuiError
from modules.networks.device import Placement
from modules.networks.files.checkpoints import family_of_folder
from modules.networks.files.detect import detect, require_supported
from modules.networks.files.foreign import FIELD
from modules.networks.ldm.building import building, empty, fill_vae, old_vae_name, read_part
from modules.networks.ldm.parts import belongs_to, component
from modules.networks.model import Family, FileSigns, LoadTools, MissingVae
from modules.networks.qwen3.encoder import Encoder, encoder_in, found_in
from modules.networks.qwen3.tokens import QwenTokenizer, tokenizer_in
from modules.networks.weights import Weights, fill, open_weights, require_fitting
from modules.networks.zimage.layout import Config, config_of, renamed
from modules.networks.zimage.model import SHIFT, ZImage, flux_vae
from modules.sampling.flow import FlowNoise
from modules.schema.catalog import Checkpoint
from modules.schema.families import ZIMAGE_TRAITS

log = logging.getLogger(__name__)

FLOW_SHIFT: Final = 3.0  # of the noise levels, as in the published scheduler configuration
_SHIFTS: Final = (0.1, 100.0)


@dataclass(frozen=True)
class _Sources:
    """Where the parts come from. vae: a folder with its configuration and weights, or a file of its own."""

    transformer: Weights
    encoder: Encoder
    tokenizer: QwenTokenizer
    vae: Path
    shift: float = FLOW_SHIFT


def load(file: Checkpoint, tools: LoadTools) -> ZImage:
    """Loads a checkpoint.

    Raises WebuiError if the file is missing, damaged, of another family or quantized, or if nothing beside it is a
    text encoder with its tokenizer; MissingVae if only a VAE is missing.
    """
    if not file.path.exists():
        raise WebuiError(
            f"The checkpoint {file.name} is no longer there.", "Refresh the list and choose another.", FIELD
        )
    place = suited(tools.place)
    sources = _of_folder(file, tools) if file.path.is_dir() else _of_file(file, tools)
    config = config_of(sources.transformer.header, file.name)
    if config["cap_feat_dim"] != sources.encoder.width:
        raise WebuiError(
            f"The text encoder {sources.encoder.weights.name} does not fit {file.name}: its states are "
            f"{sources.encoder.width} wide, expected {config['cap_feat_dim']}.",
            "Z-Image uses Qwen3 4B.",
            FIELD,
        )
    transformer = _empty(config, sources.transformer, file.name)
    text = sources.encoder.empty()
    weights = sum(each.numel() for network in (transformer, text) for each in network.parameters())
    tools.make_room(weights * place.dtype.itemsize)
    fill(transformer, sources.transformer, _same, place.loaded_to, place.loaded_as(place.dtype))
    sources.encoder.fill(text, place)
    autoencoder = _folder_vae(sources.vae, file.name, place) if sources.vae.is_dir() else flux_vae(sources.vae, place)
    loaded = (transformer, autoencoder, text)
    size = sum(each.numel() * each.element_size() for part in loaded for each in part.parameters())
    log.info("Loaded %s: Z-Image, %.0f MB", file.name, size / 1e6)
    return ZImage(
        transformer=transformer,
        vae=autoencoder,
        text=text,
        tokenizer=sources.tokenizer,
        family=ZIMAGE,
        name=file.stem,
        hash=tools.hashes.short(file.path),
        noise=FlowNoise(sources.shift),
        place=place,
        size=size,
        has_own_vae=sources.vae.is_dir(),
    )


def suited(place: Placement) -> Placement:
    """`place` with bf16 for fp16, in which the transformer and the text encoder overflow; the text encoder computes in
    the transformer's type, since it is as large."""
    dtype = torch.bfloat16 if place.dtype == torch.float16 else place.dtype
    return replace(place, dtype=dtype, text_dtype=dtype)


def _of_folder(file: Checkpoint, tools: LoadTools) -> _Sources:
    path = file.path
    require_supported(family_of_folder(path), path)
    tokenizer = tokenizer_in(path / "tokenizer")
    if tokenizer is None:
        raise WebuiError(f"{path.name} has no tokenizer in its folder tokenizer.", "Download it again.", FIELD)
    vae = path / "vae"
    if not vae.is_dir():
        vae = _spare_vae(file, tools)
    scheduler = read_part(path / "scheduler" / "scheduler_config.json", path.name)
    transformer, encoder = renamed(component(path, "transformer")), encoder_in(component(path, "text_encoder"))
    return _Sources(transformer, encoder, tokenizer, vae, _shift(scheduler, path.name))


def _of_file(file: Checkpoint, tools: LoadTools) -> _Sources:
    weights = open_weights(file.path)
    require_supported(detect(weights.header), file.path)
    text, encoder = _text_beside(file)
    tokenizer = next(filter(None, map(tokenizer_in, (text.with_suffix(""), text.parent))), None)
    if tokenizer is None:
        raise WebuiError(
            f"{file.name} needs the tokenizer of its text encoder: there is no tokenizer.json beside {text.name}.",
            f"Put tokenizer.json, from the folder tokenizer of Z-Image or Qwen3, into {text.parent.name}.",
            FIELD,
        )
    return _Sources(renamed(weights), encoder, tokenizer, _spare_vae(file, tools))


def _text_beside(file: Checkpoint) -> tuple[Path, Encoder]:
    """The first text encoder beside the models that is a Qwen3, and its file; those that fit the width come first."""
    found: list[tuple[Path, Encoder]] = []
    for path in file.text_encoders:
        try:
            weights = open_weights(path)
            if found_in(weights.header) is not None:
                found.append((path, encoder_in(weights)))
        except (WebuiError, OSError) as error:  # another file may serve
            log.info("%s", error)
    if not found:
        raise WebuiError(
            f"{file.name} contains no text encoder, and there is no Qwen3 in models/text_encoder.",
            "Put qwen_3_4b.safetensors there, or use a diffusers folder.",
            FIELD,
        )
    width = config_of(renamed(open_weights(file.path)).header, file.name)["cap_feat_dim"]
    return min(found, key=lambda each: each[1].width != width)


def _spare_vae(file: Checkpoint, tools: LoadTools) -> Path:
    if tools.spare_vae is None:
        raise MissingVae(
            f"{file.name} has no VAE inside.",
            "Put the VAE of Flux (ae.safetensors) into models/VAE and choose it.",
            FIELD,
        )
    return tools.spare_vae


def _shift(scheduler: Config, name: str) -> float:
    """The shift of the noise levels that a folder's scheduler names."""
    shift = scheduler.get("shift", FLOW_SHIFT)
    is_number = isinstance(shift, int | float) and not isinstance(shift, bool) and _SHIFTS[0] <= shift <= _SHIFTS[1]
    if not is_number or scheduler.get("use_dynamic_shifting") is True:
        raise WebuiError(
            f"{name} has noise levels of another kind: shift {ascii(shift)[:40]}, expected one number from "
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
