"""The keys of a LoRA file: the layer that a tensor belongs to, and its part in that layer. Does not import torch.

Trainers use different names for both. The table here has the names of parts; the names of layers are in each family.
"""

import re
from typing import Final, NamedTuple

# part -> ending of its key. kohya: lora_up; diffusers: lora.up, lora_linear_layer.up; PEFT: lora_B, with the adapter's
# name before `.weight` unless it was removed. The rest are LyCORIS's names, and PEFT's where those differ.
SUFFIXES: Final = {
    "up_bias": r"lora_B(?:\.\w+)?\.bias|lora_up\.bias",
    "up": r"lora_up(?:\.weight)?|lora_B(?:\.\w+)?(?:\.weight)?|lora\.up\.weight|lora_linear_layer\.up\.weight",
    "down": r"lora_down(?:\.weight)?|lora_A(?:\.\w+)?(?:\.weight)?|lora\.down\.weight|lora_linear_layer\.down\.weight",
    "mid": r"lora_mid\.weight",
    "embedding_up": r"lora_embedding_B(?:\.\w+)?",
    "embedding_down": r"lora_embedding_A(?:\.\w+)?",
    "alpha": r"(?:(?:lora_down|lora_A|lora\.down|lora_linear_layer\.down)\.weight\.)?alpha",
    "scale": r"scale",
    "dora": r"dora_scale",
    "magnitude": r"lora_magnitude_vector(?:\.\w+)?",
    **{part: rf"{part}(?:\.default)?" for part in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")},
    **{part: rf"{part}(?:\.default)?" for part in ("hada_t1", "hada_t2")},
    **{part: rf"{part}(?:\.default)?" for part in ("lokr_w1", "lokr_w1_a", "lokr_w1_b")},
    **{part: rf"{part}(?:\.default)?" for part in ("lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")},
    "oft_blocks": r"oft_blocks",
    "oft_diag": r"oft_diag",
    "rescale": r"rescale",
    "on_input": r"on_input",
    "weight": r"weight",  # IA3's, if there is an on_input
    "ia3_l": r"ia3_l(?:\.\w+)?",
    **{part: rf"{part}\.weight" for part in ("a1", "a2", "b1", "b2", "bm")},
    "diff": r"diff",
    "diff_b": r"diff_b",
    "w_norm": r"w_norm",
    "b_norm": r"b_norm",
    "set_weight": r"set_weight",
}  # fmt: skip
_KEY: Final = re.compile(rf"(.+?)\.(?:{'|'.join(f'(?P<{part}>{ends})' for part, ends in SUFFIXES.items())})")
# diffusers before 0.18: `attn1.processor.to_q_lora.down.weight`
_PROCESSOR: Final = re.compile(r"(?:\.processor)?\.(to_q|to_k|to_v|to_out)_lora\.")


class LoraKey(NamedTuple):
    """A tensor's layer, as spelled in the file, and its part, a key of `SUFFIXES`."""

    layer: str
    part: str


def parse_key(key: str) -> LoraKey | None:
    """The layer and part of a key; None for a key that does not belong to a LoRA.

    >>> parse_key("lora_unet_mid_block_attentions_0_proj_in.hada_w1_a")
    LoraKey(layer='lora_unet_mid_block_attentions_0_proj_in', part='hada_w1_a')
    >>> parse_key("unet.conv_in.lora_A.default.weight")
    LoraKey(layer='unet.conv_in', part='down')
    """
    match = _KEY.fullmatch(_PROCESSOR.sub(r".\1.lora.", key))
    return LoraKey(match[1], match.lastgroup) if match and match.lastgroup else None


def folded(layer: str) -> str:
    """A layer's name as in a model's `lora_targets`: trainers write `unet.conv_in` or `unet_conv_in`."""
    return layer.replace(".", "_")
