"""The model family that a LoRA was trained on, from its keys and from the width of its cross-attention context."""

import re
from collections.abc import Mapping
from typing import Final

from modules.networks.lora.kinds import Misfit
from modules.networks.lora.layers import Change
from modules.networks.lora.roles import folded

SD1, SD2, SDXL = "Stable Diffusion 1", "Stable Diffusion 2", "Stable Diffusion XL"
# Parts of layer names that occur in one family only; the first match counts.
_NAMES: Final = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (r"distilled_guidance_layer", "Chroma"),
        (r"double_stream_modulation|single_stream_modulation", "Flux.2"),
        (r"double_stream_blocks_\d+_block", "HiDream"),
        (r"double_blocks_\d+|single_transformer_blocks_\d+", "Flux"),
        (r"joint_blocks_\d+", "Stable Diffusion 3"),
        (r"txtfusion|text_fusion", "Krea 2"),
        (r"transformer_blocks_\d+_(img_mod|txt_mod|img_mlp|txt_mlp)", "Qwen-Image"),
        (r"transformer_blocks_\d+_attn_add_[qkv]_proj", "Stable Diffusion 3"),
        (r"layers_\d+_(attention_to_q|attention_qkv|adaLN_modulation|feed_forward_w1)", "Z-Image or Lumina 2"),
        (r"(^|_)blocks_\d+_(self|cross)_attn_q_proj|llm_adapter", "Anima"),
        (r"(^|_)blocks_\d+_(self|cross)_attn_q", "Wan"),
        (r"text_encoder_2_|lora_te2_|clip_g_|add_embedding|label_emb", SDXL),
        (r"(down|up)_blocks_\d_attentions_\d_transformer_blocks_[1-9]", SDXL),
        (r"(input|output)_blocks_\d_1_transformer_blocks_[1-9]", SDXL),
        (r"^(diffusion_model_)?transformer_", "a transformer such as Flux or Stable Diffusion 3"),
    )
)
_CROSS_ATTENTION: Final = {768: SD1, 1024: SD2, 2048: SDXL, 1280: "Stable Diffusion XL's refiner"}
_KEY: Final = re.compile(r"attn2_to_[kv]$")


def made_for(layers: Mapping[str, tuple[Change, ...]]) -> str:
    """The family's name, "" if it is unknown."""
    names = [folded(layer) for layer in layers]
    for pattern, family in _NAMES:
        if any(pattern.search(name) for name in names):
            return family
    for name, changes in zip(names, layers.values(), strict=True):
        for change in changes if _KEY.search(name) else ():
            try:
                columns = change.kind.size(change.shapes, (0, 0)).columns
            except Misfit:
                continue
            if columns in _CROSS_ATTENTION:
                return _CROSS_ATTENTION[columns]
    return ""
