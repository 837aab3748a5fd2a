"""The three networks of the starter checkpoint, their widths, and how they begin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from modules.starter.vocabulary import BEGIN, BEGIN_ROW, CLIP_SIZE, END, END_ROW, LENGTH

SCALING_FACTOR: Final = 0.18215
StateDict: TypeAlias = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Widths:
    """Channels and layers. The U-Net attends to the prompt on every level but the first."""

    unet: tuple[int, ...] = (32, 32, 64, 128, 160)
    unet_groups: int = 8
    heads: int = 4
    vae: tuple[int, ...] = (16, 32, 96, 128)
    vae_groups: int = 4
    text: int = 192
    text_layers: int = 2
    text_heads: int = 3
    text_feed_forward: int = 384


def new_unet(widths: Widths) -> UNet2DConditionModel:
    """Every residual branch begins as zero, so that the untrained network is nearly the identity."""
    levels = len(widths.unet)
    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (levels - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (levels - 1), "UpBlock2D"),
        block_out_channels=widths.unet,
        layers_per_block=1,
        norm_num_groups=widths.unet_groups,
        attention_head_dim=widths.heads,
        cross_attention_dim=widths.text,
    )
    for name, module in unet.named_modules():
        if name.endswith(("conv2", "proj_out")) or name == "conv_out":
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return unet


@torch.no_grad()
def grown(old: StateDict, widths: Widths) -> StateDict:
    """Parameters of a U-Net with one more level outside, `widths.unet[0]` twice, from those of a trained smaller one.

    What the old network knew of pictures of some size the new one knows of pictures of twice that size: its first
    level averages the latent and hands it on, its last one repeats the answer, and training fills in what is finer.
    """
    assert widths.unet[0] == widths.unet[1], f"widths {widths.unet}: the new outer level must be as wide as the next"
    unet = new_unet(widths)
    state = unet.state_dict()
    for name, value in old.items():
        block = re.match(r"down_blocks\.(\d+)\.(.*)", name)
        state[f"down_blocks.{int(block[1]) + 1}.{block[2]}" if block else name] = value
    channels = range(widths.unet[0])
    last = len(widths.unet) - 1
    average, repeat = "down_blocks.0.downsamplers.0.conv", f"up_blocks.{last - 1}.upsamplers.0.conv"
    for name in (average, repeat):
        state[f"{name}.weight"].zero_()
        state[f"{name}.bias"].zero_()
    for c in channels:
        state[f"{average}.weight"][c, c, 1:3, 1:3] = 0.25
        state[f"{repeat}.weight"][c, c, 1, 1] = 1
    for resnet in (0, 1):
        shortcut = f"up_blocks.{last}.resnets.{resnet}.conv_shortcut"
        state[f"{shortcut}.weight"].mul_(0.3)
        state[f"{shortcut}.bias"].zero_()
        for c in channels:
            state[f"{shortcut}.weight"][c, : len(channels)] = 0
            state[f"{shortcut}.weight"][c, c] = 1
    unet.load_state_dict(state)
    return state


def new_text_encoder(widths: Widths, rows: int | None = None) -> CLIPTextModel:
    """`rows` is the size of a small vocabulary; without it the table is CLIP's."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=rows or CLIP_SIZE,
            hidden_size=widths.text,
            intermediate_size=widths.text_feed_forward,
            num_hidden_layers=widths.text_layers,
            num_attention_heads=widths.text_heads,
            max_position_embeddings=LENGTH,
            hidden_act="quick_gelu",
            projection_dim=widths.text,
            bos_token_id=BEGIN_ROW if rows else BEGIN,
            eos_token_id=END_ROW if rows else END,
            pad_token_id=END_ROW if rows else END,
        )
    )


def new_vae(widths: Widths) -> AutoencoderKL:
    levels = len(widths.vae)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=widths.vae,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=widths.vae_groups,
        sample_size=256,
        scaling_factor=SCALING_FACTOR,
    )


# How far silent tokens are pushed away from attention, in units of the softmax's exponent.
REPULSION: Final = 7.5
SILENCE_MARK: Final = 8.0
SUMMARY_GAIN: Final = 2.0


@torch.no_grad()
def warm_start_text(model: CLIPTextModel, silent: Sequence[int]) -> None:
    """Begin as a bag of words instead of as noise.

    The first layer attends evenly to everything but `silent` rows (the end and the comma) and copies what it reads,
    so that each end token, of which there are many, carries the sum of the words from the first step on, and each
    word carries itself. Channel 0 is reserved to mark silence. Without this a U-Net spends its first pictures, and
    there are few, on learning that words matter.
    """
    text = getattr(model, "text_model", model)
    table = text.embeddings.token_embedding.weight
    table.normal_(std=1.0)
    table[:, 0] = 0
    for row in silent:
        table[row] *= 0.2
        table[row, 0] = SILENCE_MARK
    text.embeddings.position_embedding.weight.normal_(std=0.05)
    width = table.shape[1]
    for i, layer in enumerate(text.encoder.layers):
        layer.mlp.fc2.weight.mul_(0.1)
        attention = layer.self_attn
        if i:
            attention.out_proj.weight.mul_(0.1)
            continue
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight.mul_(0.3)
            projection.bias.zero_()
        head = width // attention.num_heads
        mark = SILENCE_MARK / (SILENCE_MARK**2 / width + 0.04) ** 0.5
        for first in range(0, width, head):
            attention.q_proj.bias[first] = 4.0
            attention.k_proj.weight[first] = 0
            attention.k_proj.weight[first, 0] = -REPULSION * head**0.5 / 4.0 / mark
        attention.v_proj.weight.copy_(torch.eye(width))
        attention.v_proj.bias.zero_()
        attention.out_proj.weight.copy_(SUMMARY_GAIN * torch.eye(width))
        attention.out_proj.bias.zero_()
