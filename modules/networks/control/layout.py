"""The layout of a ControlNet file: its keys in the three existing naming schemes, and its diffusers configuration.

A ControlNet is a copy of the encoder of the UNet that it was trained with. Its widths and depths follow from shapes;
what shapes cannot show (heads, norm groups) is taken from the UNet that it is used with.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modules.base.errors import WebuiError
from modules.networks.files.listing import Header, TensorInfo
from modules.networks.ldm.layout import Config
from modules.networks.ldm.names import unet_ldm_name
from modules.networks.ldm.shapes import Shapes

FIELD: Final = "controlnet"
PREFIX: Final = "control_model."  # in files extracted from a whole LDM checkpoint
DIFFUSERS_SIGN: Final = "controlnet_cond_embedding.conv_in.weight"
LDM_SIGN: Final = "input_hint_block.0.weight"
OF_THE_UNET: Final = ("attention_head_dim", "norm_num_groups", "addition_embed_type", "addition_time_embed_dim",
                      "class_embed_type", "flip_sin_to_cos", "freq_shift")  # fmt: skip
_HINT_BLOCK: Final = re.compile(r"controlnet_cond_embedding\.blocks\.(\d+)\.(weight|bias)")
_ZERO: Final = re.compile(r"controlnet_down_blocks\.(\d+)\.(weight|bias)")


def prefix_of(header: Header) -> str:
    """The prefix of all keys of a ControlNet."""
    return PREFIX if any(key.startswith(PREFIX) for key in header) else ""


def is_diffusers(header: Header) -> bool:
    return DIFFUSERS_SIGN in header


def is_control_net(header: Header) -> bool:
    return is_diffusers(header) or f"{prefix_of(header)}{LDM_SIGN}" in header


def stored_name(name: str, header: Header, config: Mapping[str, Any]) -> str:
    """The key in the file of the parameter that diffusers' ControlNetModel calls `name`."""
    return name if is_diffusers(header) else prefix_of(header) + ldm_name(name, config)


def ldm_name(name: str, config: Mapping[str, Any]) -> str:
    """ControlNet's own name of a parameter, without prefix; `config` is diffusers'.

    >>> config = {"layers_per_block": 2, "conditioning_embedding_out_channels": (16, 32, 96, 256)}
    >>> ldm_name("controlnet_cond_embedding.blocks.1.weight", config), ldm_name("controlnet_mid_block.bias", config)
    ('input_hint_block.4.weight', 'middle_block_out.0.bias')
    """
    last = 2 * (2 * len(config["conditioning_embedding_out_channels"]) - 1)
    if match := _HINT_BLOCK.fullmatch(name):
        return f"input_hint_block.{2 * (int(match[1]) + 1)}.{match[2]}"
    if match := _ZERO.fullmatch(name):
        return f"zero_convs.{match[1]}.0.{match[2]}"
    ends = {
        "controlnet_cond_embedding.conv_in": "input_hint_block.0",
        "controlnet_cond_embedding.conv_out": f"input_hint_block.{last}",
        "controlnet_mid_block": "middle_block_out.0",
    }
    layer, _, kind = name.rpartition(".")
    return f"{ends[layer]}.{kind}" if layer in ends else unet_ldm_name(name, config)


def control_config(header: Header, unet: Mapping[str, Any], name: str) -> Config:
    """diffusers' configuration of the ControlNet in a file, for use with a UNet with the configuration `unet`.

    Raises WebuiError if the file contains no ControlNet, or one for another family.
    """
    if not is_control_net(header):
        raise WebuiError(f"{name} holds no ControlNet.", "Choose another model for the control unit.", FIELD)
    shape = Shapes(_in_diffusers_names(header), "", name)
    levels = shape.count("down_blocks")
    depths = [shape.count(f"down_blocks.{level}.attentions.0.transformer_blocks") for level in range(levels)]
    middle = shape.count("mid_block.attentions.0.transformer_blocks")
    blocks = [shape.count(f"down_blocks.{level}.resnets") for level in range(levels)]
    if not levels or len(set(blocks)) != 1 or not blocks[0]:
        raise shape.unusual("its levels have different numbers of blocks")
    to_k = shape.first(".attn2.to_k.weight")
    config: Config = {key: unet[key] for key in OF_THE_UNET if key in unet} | {
        "in_channels": shape.of("conv_in.weight")[1],
        "conditioning_channels": shape.of(DIFFUSERS_SIGN)[1],
        "block_out_channels": [shape.of(f"down_blocks.{level}.resnets.0.conv1.weight")[0] for level in range(levels)],
        "layers_per_block": blocks[0],
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "transformer_layers_per_block": [depth or 1 for depth in depths],
        "cross_attention_dim": unet["cross_attention_dim"] if to_k is None else shape.of(to_k)[1],
        "use_linear_projection": unet["use_linear_projection"],
        "conditioning_embedding_out_channels": _hint_widths(shape),
    }
    if middle and not depths[-1]:
        config["transformer_layers_per_block"][-1] = middle
    if shape.has("add_embedding."):
        config["projection_class_embeddings_input_dim"] = shape.of("add_embedding.linear_1.weight")[1]
    _require_fit(config, unet, name)
    return config


def _hint_widths(shape: Shapes) -> list[int]:
    """The channel widths of the hint's encoder: before each downsampling, and at the end."""
    blocks = shape.count("controlnet_cond_embedding.blocks")
    widths = [shape.of(f"controlnet_cond_embedding.blocks.{number}.weight")[0] for number in range(1, blocks, 2)]
    return [shape.of(DIFFUSERS_SIGN)[0], *widths]


def _in_diffusers_names(header: Header) -> dict[str, TensorInfo]:
    """The tensors under diffusers' names, whatever names the file uses."""
    if is_diffusers(header):
        return dict(header)
    prefix = prefix_of(header)
    bare = {key.removeprefix(prefix): info for key, info in header.items() if key.startswith(prefix)}
    config = {"layers_per_block": _blocks_a_level(bare), "conditioning_embedding_out_channels": _hint_steps(bare)}
    return {ours: bare[theirs] for ours in _names(bare) if (theirs := ldm_name(ours, config)) in bare}


def _blocks_a_level(bare: Mapping[str, TensorInfo]) -> int:
    """The number of residual blocks before the first downsampling."""
    number = 1
    while f"input_blocks.{number}.0.in_layers.2.weight" in bare:
        number += 1
    return number - 1


def _hint_steps(bare: Mapping[str, TensorInfo]) -> tuple[int, ...]:
    """One entry for each width of the hint's encoder."""
    return tuple(range((sum(key.startswith("input_hint_block.") for key in bare) // 2) // 2))


def _names(bare: Mapping[str, TensorInfo]) -> list[str]:
    """diffusers' names of the layers whose shapes matter, as many as a ControlNet with these tensors may have."""
    levels = range(1 + sum(key.endswith(".0.op.weight") for key in bare))
    blocks = range(_blocks_a_level(bare))
    names = ["conv_in.weight", "add_embedding.linear_1.weight", DIFFUSERS_SIGN]
    names += [f"controlnet_cond_embedding.blocks.{number}.weight" for number in range(2 * len(_hint_steps(bare)) - 2)]
    inner = [f"transformer_blocks.{depth}.attn2.to_k.weight" for depth in range(64)]
    for level in levels:
        names += [f"down_blocks.{level}.resnets.{block}.conv1.weight" for block in blocks]
        names += [f"down_blocks.{level}.attentions.0.{each}" for each in inner]
    return [*names, *(f"mid_block.attentions.0.{each}" for each in inner)]


def _require_fit(config: Config, unet: Mapping[str, Any], name: str) -> None:
    """Raises WebuiError unless the ControlNet is a copy of this UNet's encoder."""
    ours = (list(config["block_out_channels"]), config["cross_attention_dim"])
    theirs = (list(unet["block_out_channels"]), unet["cross_attention_dim"])
    if ours != theirs or config["in_channels"] != unet["out_channels"]:
        raise WebuiError(
            f"The ControlNet {Path(name).stem} is made for another family of checkpoints: its prompts are "
            f"{ours[1]} wide, those of the checkpoint {theirs[1]}.",
            "Choose a ControlNet for this checkpoint's family.",
            FIELD,
        )
