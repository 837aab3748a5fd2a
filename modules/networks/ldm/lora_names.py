"""The weights of Stable Diffusion models that a LoRA may change, and their names in files: prefixes for each part.

Dots count as underscores, as in kohya's names, so `unet.conv_in`, `unet_conv_in` and `lora_unet_conv_in` need three
prefixes and one name. A UNet's layers have two names each: diffusers' and LDM's (`input_blocks.1.1...`).
"""

from collections.abc import Sequence
from typing import Final

from diffusers import UNet2DConditionModel
from torch import nn

from modules.networks.ldm.names import unet_ldm_name
from modules.networks.lora.roles import folded
from modules.networks.lora.targets import layers_of
from modules.networks.model import LoraTarget

# kohya; kohya's OFT; LyCORIS's wrapper; diffusers; PEFT, alone or below the part's name; ComfyUI and ai-toolkit; none.
UNET_PREFIXES: Final = (
    "lora_unet_", "oft_unet_", "lycoris_", "lycoris_unet_", "unet_", "base_model_model_", "base_model_model_unet_",
    "unet_base_model_model_", "diffusion_model_", "model_diffusion_model_", "",
)  # fmt: skip
# For the only text encoder of a checkpoint, and for the first of two. OneTrainer writes `lora_te1_` in both cases.
TEXT_PREFIXES: Final = (
    "lora_te_", "lora_te1_", "oft_te_", "oft_te1_", "lycoris_", "lycoris_te_", "lycoris_te1_", "text_encoder_",
    "base_model_model_", "base_model_model_text_encoder_", "text_encoder_base_model_model_",
    "text_encoders_clip_l_transformer_", "text_encoders_clip_h_transformer_", "clip_l_transformer_",
    "clip_h_transformer_", "",
)  # fmt: skip
SECOND_TEXT_PREFIXES: Final = (
    "lora_te2_", "oft_te2_", "lycoris_te2_", "text_encoder_2_", "base_model_model_text_encoder_2_",
    "text_encoder_2_base_model_model_", "text_encoders_clip_g_transformer_", "clip_g_transformer_",
)  # fmt: skip
_MIDDLE, _FIRST_INPUT, _FIRST_OUTPUT = 13, 1, 14  # indices in `LoraRequest.blocks`
_BLOCKS_OF_A_SIDE: Final = 12


def unet_targets(unet: UNet2DConditionModel) -> dict[str, LoraTarget]:
    """The weights of a UNet, by every name used in files."""
    targets: dict[str, LoraTarget] = {}
    for name, weight, bias in layers_of(unet):
        ldm = unet_ldm_name(f"{name}.weight", unet.config).removesuffix(".weight")
        target = LoraTarget(weight, is_text=False, block=_block(ldm), bias=bias)
        for spelling in {name, name.replace("to_out.0", "to_out"), ldm, ldm.replace("to_out.0", "to_out")}:
            for prefix in UNET_PREFIXES:
                targets[prefix + folded(spelling)] = target
    return targets


def text_targets(encoder: nn.Module, *prefixes: Sequence[str]) -> dict[str, LoraTarget]:
    """The weights of a CLIP text encoder, by every name used in files, with each of these prefixes."""
    targets: dict[str, LoraTarget] = {}
    for name, weight, bias in layers_of(encoder):
        target = LoraTarget(weight, is_text=True, block=0, bias=bias)
        name = name.removeprefix("text_model.")
        side, _, kind = name.rpartition(".")
        old = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}.get(kind, kind)
        for spelling in {name, f"{side}.{old}".removeprefix(".")}:
            for prefix in (each for some in prefixes for each in some):
                own = folded(prefix + spelling)
                targets[own] = targets[folded(f"{prefix}text_model.{spelling}")] = target
    return targets


def _block(ldm: str) -> int | None:
    """The index in `LoraRequest.blocks` for the UNet layer with this LDM name; None if it is outside all blocks."""
    side, _, rest = ldm.partition(".")
    if side == "middle_block":
        return _MIDDLE
    number = rest.partition(".")[0]
    starts = {"input_blocks": _FIRST_INPUT, "output_blocks": _FIRST_OUTPUT}
    return starts[side] + int(number) if side in starts and int(number) < _BLOCKS_OF_A_SIDE else None
