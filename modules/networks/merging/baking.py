"""Bakes LoRAs into the tensors of a merged file: the changes of `networks/lora`, by the keys of a single file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from modules.base.errors import WebuiError
from modules.networks.files.detect import FileType, detect, with_text_model
from modules.networks.files.loras import LoraRequest
from modules.networks.ldm.building import empty, empty_text_encoder
from modules.networks.ldm.lora_names import SECOND_TEXT_PREFIXES, TEXT_PREFIXES, text_targets, unet_targets
from modules.networks.ldm.openclip import sources_of
from modules.networks.ldm.parts import Layout, Parts, open_single
from modules.networks.lora.layers import Change, open_lora, require_unchanged
from modules.networks.lora.patch import matched, notes_of, summed
from modules.networks.model import Family, LoraTarget
from modules.networks.sd1.checkpoint import LAYOUT as SD1_LAYOUT
from modules.networks.sd1.checkpoint import SD1
from modules.networks.sdxl.checkpoint import BASE as SDXL_LAYOUT
from modules.networks.sdxl.checkpoint import SDXL
from modules.networks.weights import open_weights

_FAMILIES: Final[Mapping[str, tuple[Family, Layout]]] = {"sd1": (SD1, SD1_LAYOUT), "sdxl": (SDXL, SDXL_LAYOUT)}
_THIRDS: Final = 3  # query, key and value share one tensor in OpenCLIP


class TensorSlice(NamedTuple):
    """The place of a weight in a single file: a key, and which third of its rows if the tensor is shared."""

    key: str
    third: int | None = None


class Laid(NamedTuple):
    """A weight's place, and its changes in the order of the prompt, each with its strength."""

    place: TensorSlice
    changes: tuple[tuple[Change, float], ...]


@dataclass(frozen=True)
class _Checkpoint:
    name: str
    family: Family


@dataclass(frozen=True)
class Baking:
    """The changes to bake, `laid`, by key of the checkpoint. `notes` are sentences about what has no effect."""

    laid: Mapping[str, tuple[Laid, ...]]
    notes: tuple[str, ...]
    loras: tuple[LoraRequest, ...] = ()

    def over(self, key: str, tensor: Tensor) -> Tensor:
        """`tensor`, in fp32 and its own shape, with its changes. Raises WebuiError if a LoRA file has been replaced."""
        for place, changes in self.laid[key]:
            if place.third is None:
                tensor = summed(tensor, changes, torch.float32)
                continue
            rows = tensor.shape[0] // _THIRDS
            part = tensor[place.third * rows : (place.third + 1) * rows]
            part.copy_(summed(part, changes, torch.float32))
        for one in self.loras:
            require_unchanged(one)
        return tensor


NO_BAKING: Final = Baking({}, ())


@torch.no_grad()
def bake(path: Path, loras: Sequence[LoraRequest]) -> Baking:
    """The changes of `loras` to the checkpoint `path`. Raises WebuiError if its family or a file does not fit."""
    if not loras:
        return NO_BAKING
    kind = detect(open_weights(path).renamed(with_text_model).header)
    if kind.family not in _FAMILIES or kind.name == "sdxl-refiner":
        raise WebuiError(
            f"loras: {path.name} is {kind.label}; LoRAs are baked into Stable Diffusion 1 and XL base checkpoints.",
            "Leave the LoRAs out.",
            "loras",
        )
    family, layout = _FAMILIES[kind.family]
    parts = open_single(path, _always(layout), needs_vae=False)
    targets, places = _targets(parts, path.name)
    checkpoint = _Checkpoint(path.stem, family)
    changes: dict[nn.Parameter, list[tuple[Change, float]]] = {}
    notes: list[str] = []
    for one in loras:
        file = open_lora(one)
        for parameter, change, strength in matched(one, file, targets, checkpoint):
            if strength:
                changes.setdefault(parameter, []).append((change, strength))
        notes += notes_of(one, file, targets, checkpoint.name)
    laid: dict[str, list[Laid]] = {}
    for parameter, parted in changes.items():
        place = places[parameter]
        laid.setdefault(place.key, []).append(Laid(place, tuple(parted)))
    return Baking({key: tuple(each) for key, each in laid.items()}, tuple(notes), tuple(loras))


def _always(layout: Layout) -> Callable[[FileType], Layout]:
    return lambda kind: layout


def _targets(parts: Parts, name: str) -> tuple[dict[str, LoraTarget], dict[nn.Parameter, TensorSlice]]:
    """The weights that LoRAs may change, in networks without values, and their places in the file."""
    unet = empty(UNet2DConditionModel, parts.unet_config, name)
    targets = unet_targets(unet)
    places = {weight: TensorSlice(parts.unet_names(own)[0]) for own, weight in unet.named_parameters()}
    prefixes = (TEXT_PREFIXES, SECOND_TEXT_PREFIXES)
    for text, slot, spellings in zip(parts.texts, parts.layout.text_slots, prefixes, strict=False):
        encoder = empty_text_encoder(text.kind, text.config, name)
        targets |= text_targets(encoder, spellings)
        sources = sources_of(parts.unet.header, slot.prefix) if slot.is_openclip else {}
        for own, weight in encoder.named_parameters():
            key = text.names(own)[0]
            source = sources.get(key)
            places[weight] = TensorSlice(source.key, source.third) if source else TensorSlice(key)
    return targets, places
