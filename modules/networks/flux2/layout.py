"""FLUX.2's transformer in a file: its configuration from shapes, and its tensors under diffusers' names.

Single files have the names of the original code, with one matrix for queries, keys and values of the double blocks.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from modules.base.errors import WebuiError
from modules.networks.files.foreign import FIELD
from modules.networks.files.listing import Header, TensorInfo
from modules.networks.weights import Weights

PREFIXES: Final = ("model.diffusion_model.", "diffusion_model.", "")
_MARKS: Final = ("double_stream_modulation_img.lin.weight", "double_stream_modulation_img.linear.weight")
_NAMES: Final = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"^img_in\.", "x_embedder."),
        (r"^txt_in\.", "context_embedder."),
        (r"^time_in\.in_layer\.", "time_guidance_embed.timestep_embedder.linear_1."),
        (r"^time_in\.out_layer\.", "time_guidance_embed.timestep_embedder.linear_2."),
        (r"^guidance_in\.in_layer\.", "time_guidance_embed.guidance_embedder.linear_1."),
        (r"^guidance_in\.out_layer\.", "time_guidance_embed.guidance_embedder.linear_2."),
        (r"^(double_stream_modulation_(?:img|txt)|single_stream_modulation)\.lin\.", r"\1.linear."),
        (r"^final_layer\.linear\.", "proj_out."),
        (r"^final_layer\.adaLN_modulation\.1\.", "norm_out.linear."),
        (r"_blocks\.(\d+)\.(.*)norm\.query_norm\.scale$", r"_blocks.\1.\2norm_q.weight"),
        (r"_blocks\.(\d+)\.(.*)norm\.key_norm\.scale$", r"_blocks.\1.\2norm_k.weight"),
        (r"^double_blocks\.(\d+)\.img_attn\.norm_", r"transformer_blocks.\1.attn.norm_"),
        (r"^double_blocks\.(\d+)\.txt_attn\.norm_", r"transformer_blocks.\1.attn.norm_added_"),
        (r"^double_blocks\.(\d+)\.img_attn\.proj\.", r"transformer_blocks.\1.attn.to_out.0."),
        (r"^double_blocks\.(\d+)\.txt_attn\.proj\.", r"transformer_blocks.\1.attn.to_add_out."),
        (r"^double_blocks\.(\d+)\.img_attn\.qkv\.", r"transformer_blocks.\1.attn.to_*."),
        (r"^double_blocks\.(\d+)\.txt_attn\.qkv\.", r"transformer_blocks.\1.attn.add_*_proj."),
        (r"^double_blocks\.(\d+)\.img_mlp\.0\.", r"transformer_blocks.\1.ff.linear_in."),
        (r"^double_blocks\.(\d+)\.img_mlp\.2\.", r"transformer_blocks.\1.ff.linear_out."),
        (r"^double_blocks\.(\d+)\.txt_mlp\.0\.", r"transformer_blocks.\1.ff_context.linear_in."),
        (r"^double_blocks\.(\d+)\.txt_mlp\.2\.", r"transformer_blocks.\1.ff_context.linear_out."),
        (r"^single_blocks\.(\d+)\.linear1\.", r"single_transformer_blocks.\1.attn.to_qkv_mlp_proj."),
        (r"^single_blocks\.(\d+)\.linear2\.", r"single_transformer_blocks.\1.attn.to_out."),
        (r"^single_blocks\.(\d+)\.norm_", r"single_transformer_blocks.\1.attn.norm_"),
    )
)  # fmt: skip
_SWAPPED: Final = "final_layer.adaLN_modulation.1."  # shift before scale in the original code, after it in diffusers
_LAYER: Final = re.compile(r"^(transformer_blocks|single_transformer_blocks)\.(\d+)\.")
_AXES: Final = (32, 32, 32, 32)  # of a head's 128 numbers: reference, row, column, place in the text
_MOST_LAYERS: Final = 256

Config = dict[str, Any]


@dataclass(frozen=True)
class _Source:
    key: str
    change: Callable[[Tensor], Tensor] = lambda tensor: tensor


def prefix_of(header: Header) -> str | None:
    """The prefix of FLUX.2's tensors; None if the file has none."""
    return next((prefix for prefix in PREFIXES for mark in _MARKS if prefix + mark in header), None)


def renamed(weights: Weights) -> Weights:
    """The transformer's tensors under diffusers' names; the fused matrices are split as they are read."""
    prefix = prefix_of(weights.header) or ""
    header: Header = {}
    sources: dict[str, _Source] = {}
    for key, info in weights.header.items():
        if not key.startswith(prefix):
            continue
        old = key.removeprefix(prefix)
        name = new_name(old)
        if "*" in name:
            for part, letter in enumerate("qkv"):
                own = name.replace("*", letter)
                header[own] = TensorInfo(info.dtype, (info.shape[0] // 3, *info.shape[1:]))
                sources[own] = _Source(key, lambda tensor, part=part: tensor.chunk(3)[part])
            continue
        header[name] = info
        sources[name] = _Source(key, _swapped) if old.startswith(_SWAPPED) else _Source(key)
    return replace(weights, header=header, read=lambda name: sources[name].change(weights.read(sources[name].key)))


def new_name(name: str) -> str:
    """diffusers' name for one of the original code; "*" stands for q, k and v."""
    for old, new in _NAMES:
        name = old.sub(new, name)
    return name


def _swapped(tensor: Tensor) -> Tensor:
    shift, scale = tensor.chunk(2)
    return torch.cat([scale, shift])


def config_of(header: Header, name: str) -> Config:
    """diffusers' configuration for tensors under diffusers' names. Raises WebuiError for unusual shapes."""

    def shape(key: str) -> Sequence[int]:
        info = header.get(key)
        if info is None or not info.shape or not all(side > 0 for side in info.shape):
            raise WebuiError(f"{name} is incomplete: {key} is missing.", "Download it again.", FIELD)
        return info.shape

    counts: dict[str, int] = {}
    for key in header:
        if match := _LAYER.match(key):
            counts[match[1]] = max(counts.get(match[1], 0), int(match[2]) + 1)
    width, channels = shape("x_embedder.weight")
    (head,), text = shape("transformer_blocks.0.attn.norm_q.weight"), shape("context_embedder.weight")[1]
    inner = shape("transformer_blocks.0.ff.linear_out.weight")[1]
    if head != sum(_AXES) or width % head or max(counts.values()) > _MOST_LAYERS or len(counts) != 2:
        raise WebuiError(
            f"{name} has unusual shapes for FLUX.2: {width} wide, heads of {head}, layers {sorted(counts.items())}.",
            "Download it again.",
            FIELD,
        )
    return {
        "in_channels": channels,
        "num_layers": counts["transformer_blocks"],
        "num_single_layers": counts["single_transformer_blocks"],
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": text,
        "timestep_guidance_channels": shape("time_guidance_embed.timestep_embedder.linear_1.weight")[1],
        "mlp_ratio": inner / width,
        "axes_dims_rope": list(_AXES),
        "guidance_embeds": "time_guidance_embed.guidance_embedder.linear_1.weight" in header,
    }
