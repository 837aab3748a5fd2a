"""The text encoder and tokenizer of a checkpoint: in its diffusers folder, or in files beside the models."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from modules.base.errors import WebuiError
from modules.networks.device import Placement
from modules.networks.files.foreign import FIELD
from modules.networks.ldm.parts import component
from modules.networks.qwen3.encoder import Encoder, encoder_in, found_in
from modules.networks.qwen3.tokens import QwenTokenizer, tokenizer_in
from modules.networks.weights import open_weights
from modules.schema.catalog import Checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextParts:
    """A text encoder that has not been read yet, and its tokenizer."""

    encoder: Encoder
    tokenizer: QwenTokenizer


@dataclass(frozen=True)
class TextNeeds:
    """What a family reads: Qwen3's states up to layer `last` (see `encoder_in`), `width` wide in all.

    states: how many lie side by side.  usual: the name of the file that people have.
    """

    width: int
    last: int = -1
    states: int = 1
    usual: str = "qwen_3_4b.safetensors"


def suited(place: Placement) -> Placement:
    """`place` with bf16 for fp16, in which these transformers and Qwen3 overflow; the text encoder computes in the
    transformer's type, since it is as large."""
    dtype = torch.bfloat16 if place.dtype == torch.float16 else place.dtype
    return Placement(
        place.device, dtype, dtype, place.vae_dtype, place.mode, place.is_fp8, place.tiles_vae, place.ready
    )


def text_of_folder(folder: Path, needs: TextNeeds) -> TextParts:
    """From the folders `text_encoder` and `tokenizer`. Raises WebuiError if one is missing, damaged or does not fit."""
    tokenizer = tokenizer_in(folder / "tokenizer")
    if tokenizer is None:
        raise WebuiError(f"{folder.name} has no tokenizer in its folder tokenizer.", "Download it again.", FIELD)
    encoder = encoder_in(component(folder, "text_encoder"), needs.last)
    return TextParts(_fitting(encoder, folder.name, needs), tokenizer)


def text_beside(file: Checkpoint, needs: TextNeeds) -> TextParts:
    """From the files in `models/text_encoder`; those of the right width come first.

    Raises WebuiError if none is a Qwen3, if it does not fit, or if its tokenizer is missing.
    """
    found: list[tuple[Path, Encoder]] = []
    for path in file.text_encoders:
        try:
            weights = open_weights(path)
            if found_in(weights.header) is not None:
                found.append((path, encoder_in(weights, needs.last)))
        except (WebuiError, OSError) as error:  # another file may serve
            log.info("%s", error)
    if not found:
        raise WebuiError(
            f"{file.name} contains no text encoder, and there is no Qwen3 in models/text_encoder.",
            f"Put {needs.usual} there, or use a diffusers folder.",
            FIELD,
        )
    path, encoder = min(found, key=lambda each: each[1].width * needs.states != needs.width)
    _fitting(encoder, file.name, needs)
    tokenizer = next(filter(None, map(tokenizer_in, (path.with_suffix(""), path.parent))), None)
    if tokenizer is None:
        raise WebuiError(
            f"{file.name} needs the tokenizer of its text encoder: there is no tokenizer.json beside {path.name}.",
            f"Put tokenizer.json, from the folder tokenizer of Qwen3 or the model, into {path.parent.name}.",
            FIELD,
        )
    return TextParts(encoder, tokenizer)


def _fitting(encoder: Encoder, name: str, needs: TextNeeds) -> Encoder:
    if encoder.width * needs.states != needs.width:
        raise WebuiError(
            f"The text encoder {encoder.weights.name} does not fit {name}: its states are {encoder.width} wide, "
            f"expected {needs.width // needs.states}.",
            f"Use {needs.usual}.",
            FIELD,
        )
    return encoder
