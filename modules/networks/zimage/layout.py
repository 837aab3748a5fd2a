"""Z-Image's transformer in a file: its configuration from shapes, and its tensors under diffusers' names.

Single files have the names of the original code, often below a prefix, with one matrix for queries, keys and values.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from torch import Tensor

from modules.base.errors import WebuiError
from modules.networks.files.foreign import FIELD
from modules.networks.files.listing import Header, TensorInfo
from modules.networks.weights import Weights

PREFIXES: Final = ("model.diffusion_model.", "diffusion_model.", "")
_MARK: Final = "x_pad_token"
_NEW_NAMES: Final = (
    (re.compile(r"^x_embedder\."), "all_x_embedder.2-1."),
    (re.compile(r"^final_layer\."), "all_final_layer.2-1."),
    (re.compile(r"\.attention\.out\."), ".attention.to_out.0."),
    (re.compile(r"\.attention\.q_norm\."), ".attention.norm_q."),
    (re.compile(r"\.attention\.k_norm\."), ".attention.norm_k."),
)
_FUSED: Final = ".attention.qkv."
_SPLIT: Final = (".attention.to_q.", ".attention.to_k.", ".attention.to_v.")
_LAYER: Final = re.compile(r"^(layers|noise_refiner|context_refiner)\.(\d+)\.")
_AXES: Final = (32, 48, 48)  # of a head's 128 numbers: for the order of tokens, the row and the column
_MOST_LAYERS, _WIDEST = 256, 2**16

Config = dict[str, Any]


def renamed(weights: Weights) -> Weights:
    """The transformer's tensors under diffusers' names; the fused matrices are split as they are read."""
    prefix = next((prefix for prefix in PREFIXES if prefix + _MARK in weights.header), "")
    header: Header = {}
    sources: dict[str, tuple[str, int, int]] = {}  # name -> (key, which part, of how many)
    for key, info in weights.header.items():
        if not key.startswith(prefix):
            continue
        name = _new_name(key.removeprefix(prefix))
        if _FUSED not in name:
            header[name], sources[name] = info, (key, 0, 1)
            continue
        for part, ending in enumerate(_SPLIT):
            own = name.replace(_FUSED, ending)
            header[own] = TensorInfo(info.dtype, (info.shape[0] // len(_SPLIT), *info.shape[1:]))
            sources[own] = (key, part, len(_SPLIT))

    def read(name: str) -> Tensor:
        key, part, parts = sources[name]
        tensor = weights.read(key)
        return tensor if parts == 1 else tensor.chunk(parts)[part]

    return replace(weights, header=header, read=read)


def _new_name(name: str) -> str:
    for old, new in _NEW_NAMES:
        name = old.sub(new, name)
    return name


def config_of(header: Header, name: str) -> Config:
    """diffusers' configuration for tensors under diffusers' names. Raises WebuiError for unusual shapes."""

    def shape(key: str) -> Sequence[int]:
        info = header.get(key)
        if info is None or not info.shape or not all(0 < side <= _WIDEST * 16 for side in info.shape):
            raise WebuiError(f"{name} is incomplete: {key} is missing.", "Download it again.", FIELD)
        return info.shape

    counts: dict[str, int] = {}
    for key in header:
        if match := _LAYER.match(key):
            counts[match[1]] = max(counts.get(match[1], 0), int(match[2]) + 1)
    patches = shape("all_x_embedder.2-1.weight")
    width, (head,) = patches[0], shape("layers.0.attention.norm_q.weight")
    keys, text = shape("layers.0.attention.to_k.weight")[0], shape("cap_embedder.0.weight")[0]
    refiners = {counts.get("noise_refiner", 0), counts.get("context_refiner", 0)}
    if head != sum(_AXES) or width % head or keys % head or len(refiners) != 1 or max(counts.values()) > _MOST_LAYERS:
        raise WebuiError(
            f"{name} has unusual shapes for Z-Image: {width} wide, heads of {head}, layers {sorted(counts.items())}.",
            "Download it again.",
            FIELD,
        )
    return {
        "in_channels": patches[1] // 4,
        "dim": width,
        "n_layers": counts["layers"],
        "n_refiner_layers": refiners.pop(),
        "n_heads": width // head,
        "n_kv_heads": keys // head,
        "cap_feat_dim": text,
        "axes_dims": list(_AXES),
    }
