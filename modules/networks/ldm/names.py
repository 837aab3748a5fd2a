"""LDM's names of diffusers' parameters, without prefix."""

import re
from collections.abc import Mapping
from typing import Any, Final

_RESIDUAL: Final = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_UNET_ENDS: Final = {
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_VAE_ATTENTION: Final = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_UNET_BLOCK: Final = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_UNET_MIDDLE: Final = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_VAE_BLOCK: Final = re.compile(
    r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_VAE_MIDDLE: Final = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def _renamed(name: str, table: Mapping[str, str]) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{table.get(layer, layer)}.{kind}"


def unet_ldm_name(name: str, config: Mapping[str, Any]) -> str:
    """LDM's name, without prefix, of the UNet parameter that diffusers calls `name`; `config` is diffusers' own."""
    layers: int = config["layers_per_block"]
    block = _UNET_BLOCK.fullmatch(name)
    if block:
        side, part, rest = block[1], block[3], block[5]
        level, index = int(block[2]), int(block[4])
        first = level * (layers + 1)  # a down level has its blocks and a downsampler, an up level one block more
        if part == "downsamplers":
            return f"input_blocks.{first + layers + 1}.0.op.{rest.removeprefix('conv.')}"
        if part == "upsamplers":
            attends = config["up_block_types"][level] == "CrossAttnUpBlock2D"
            return f"output_blocks.{first + layers}.{2 if attends else 1}.{rest}"
        number = f"input_blocks.{first + 1 + index}" if side == "down" else f"output_blocks.{first + index}"
        return f"{number}.0.{_renamed(rest, _RESIDUAL)}" if part == "resnets" else f"{number}.1.{rest}"
    middle = _UNET_MIDDLE.fullmatch(name)
    if middle:
        part, index, rest = middle[1], int(middle[2]), middle[3]
        return (
            f"middle_block.{2 * index}.{_renamed(rest, _RESIDUAL)}" if part == "resnets" else f"middle_block.1.{rest}"
        )
    return _renamed(name, _UNET_ENDS)


def vae_ldm_name(name: str, config: Mapping[str, Any]) -> str:
    """LDM's name, without prefix, of the VAE parameter that diffusers calls `name`; `config` is diffusers' own."""
    block = _VAE_BLOCK.fullmatch(name)
    if block:
        half, side, level, part, index, rest = block[1], block[2], int(block[3]), block[4], block[5], block[6]
        number = level if side == "down" else len(config["block_out_channels"]) - 1 - level
        if part == "resnets":
            return f"{half}.{side}.{number}.block.{index}.{_renamed(rest, {'conv_shortcut': 'nin_shortcut'})}"
        return f"{half}.{side}.{number}.{part.removesuffix('rs')}.{rest}"  # upsamplers.0.conv -> upsample.conv
    middle = _VAE_MIDDLE.fullmatch(name)
    if middle:
        half, part, index, rest = middle[1], middle[2], int(middle[3]), middle[4]
        if part == "resnets":
            return f"{half}.mid.block_{index + 1}.{_renamed(rest, {'conv_shortcut': 'nin_shortcut'})}"
        return f"{half}.mid.attn_1.{_renamed(rest, _VAE_ATTENTION)}"
    return name.replace("conv_norm_out.", "norm_out.")
