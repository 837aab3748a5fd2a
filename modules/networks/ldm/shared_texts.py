"""Text encoders in files of their own, for checkpoints that contain none.

A file may have transformers' layout (also kohya's, diffusers' and ComfyUI's, with different prefixes) or OpenCLIP's,
and contain several. Widths determine what fits: the concatenated states of a family's text encoders are as wide as its
UNet's cross-attention context.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Final, NamedTuple

from modules.base.errors import WebuiError
from modules.networks.files.listing import Header
from modules.networks.ldm.layout import VOCABULARY
from modules.networks.ldm.openclip import as_transformers
from modules.networks.weights import Weights, open_weights

log = logging.getLogger(__name__)

_FIRST: Final = "encoder.layers.0.mlp.fc1.weight"
_FIRST_OPENCLIP: Final = "transformer.resblocks.0.mlp.c_fc.weight"
_TOKENS: Final = "embeddings.token_embedding.weight"
_PROJECTION: Final = "text_projection.weight"
_TEXT_MODEL: Final = "text_model."
_MOST_TRIED: Final = 10_000  # combinations of text encoders


class SharedText(NamedTuple):
    """A text encoder of a file, under transformers' names without a prefix.

    projection: width of its pooled output, 0 without one.  is_openclip: whether the file has OpenCLIP's layout.
    """

    weights: Weights
    width: int
    projection: int
    is_openclip: bool


class EncoderNeeds(NamedTuple):
    """What a checkpoint lacks: the number of text `encoders`, their total `width`, whether the last has pooled output.

    added: the width of the UNet's inputs besides the pooled output, a multiple of `numbers`; 0 if it takes none.
    """

    encoders: int
    width: int
    has_summary: bool = False
    added: int = 0
    numbers: int = 1


def fitting(needs: EncoderNeeds, files: Sequence[Path], stem: str) -> tuple[SharedText, ...]:
    """The first of the text encoders in `files` that fit together; () if none do.

    Files whose names start with the checkpoint's name, `stem`, come first. Unreadable files are skipped.
    """
    ordered = sorted(files, key=lambda path: (not path.name.lower().startswith(stem.lower()), path.name.lower()))
    texts = [text for path in ordered for text in _in_file(path)]
    for chosen in islice(product(texts, repeat=needs.encoders), _MOST_TRIED):
        summary = chosen[-1].projection
        left = needs.added - summary
        has_room = not needs.added or (left > 0 and left % needs.numbers == 0)
        is_whole = not needs.has_summary or (summary > 0 and has_room)
        if sum(text.width for text in chosen) == needs.width and is_whole:
            return chosen
    return ()


def _in_file(path: Path) -> Iterator[SharedText]:
    try:
        weights = open_weights(path)
    except (WebuiError, OSError, ValueError) as error:
        log.warning("The text encoder %s cannot be read and is passed over: %s", path.name, error)
        return
    for key in weights.header:
        is_openclip = key.endswith(_FIRST_OPENCLIP)
        if not is_openclip and not key.endswith(_FIRST):
            continue
        prefix = key.removesuffix(_FIRST_OPENCLIP if is_openclip else _FIRST)
        if prefix.endswith(("visual.", "vision_model.")):  # the vision half of a whole CLIP model
            continue
        own = as_transformers(weights, prefix) if is_openclip else _below(weights, prefix)
        shape = own.header[_TOKENS].shape if _TOKENS in own.header else ()
        if len(shape) == 2 and shape[0] == VOCABULARY:
            yield SharedText(own, shape[1], _projection(own.header), is_openclip)


def _below(weights: Weights, prefix: str) -> Weights:
    """The tensors with `prefix`, and the projection, which is one level above."""
    keys: Mapping[str, str] = {key.removeprefix(prefix): key for key in weights.header if key.startswith(prefix)}
    above = prefix.removesuffix(_TEXT_MODEL) + _PROJECTION
    if above in weights.header:
        keys = {**keys, _PROJECTION: above}
    header: Header = {name: weights.header[key] for name, key in keys.items()}
    return Weights(weights.name, header, lambda name: weights.read(keys[name]), weights.forget)


def _projection(header: Header) -> int:
    return header[_PROJECTION].shape[0] if _PROJECTION in header and header[_PROJECTION].shape else 0
