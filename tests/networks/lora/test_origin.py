"""A LoRA for another family is recognized by its keys and widths, and the message names the family."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modules.base.errors import WebuiError
from modules.networks.files.headers import stamp_of
from modules.networks.files.loras import LoraRequest
from modules.networks.lora.patch import Patch
from modules.networks.sd1.model import StableDiffusion

TO_K = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k"
MADE_FOR = [
    (TO_K, 1024, "Stable Diffusion 2"),
    (TO_K, 2048, "Stable Diffusion XL"),
    ("unet.down_blocks.2.attentions.0.transformer_blocks.9.attn1.to_q", 640, "Stable Diffusion XL"),
    ("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", 1280, "Stable Diffusion XL"),
    (TO_K, 1280, "Stable Diffusion XL's refiner"),
    ("lora_unet_double_blocks_0_img_attn_qkv", 3072, "Flux"),
    ("transformer.single_transformer_blocks.0.attn.to_q", 3072, "Flux"),
    ("diffusion_model.joint_blocks.0.x_block.attn.qkv", 1536, "Stable Diffusion 3"),
    ("transformer.transformer_blocks.0.attn.add_q_proj", 1536, "Stable Diffusion 3"),
    ("transformer_blocks.0.img_mod.1", 3072, "Qwen-Image"),
    ("diffusion_model.layers.0.attention.to_q", 3840, "Z-Image or Lumina 2"),
    ("diffusion_model.blocks.0.self_attn.q", 1536, "Wan"),
    ("diffusion_model.blocks.0.cross_attn.q_proj", 2048, "Anima"),
    ("transformer.blocks.0.attn.to_q", 64, "a transformer such as Flux or Stable Diffusion 3"),
]


def refused(tensors: dict[str, torch.Tensor], tiny: StableDiffusion, path: Path) -> str:
    save_file(tensors, path)
    with pytest.raises(WebuiError) as caught:
        Patch(tiny).changed([LoraRequest(path.stem, stamp_of(path), 1.0, 1.0)])
    return caught.value.message


@pytest.mark.parametrize(("layer", "width", "family"), MADE_FOR)
def test_the_family_is_named(layer: str, width: int, family: str, tiny: StableDiffusion, tmp_path: Path) -> None:
    tensors = {f"{layer}.lora_down.weight": torch.ones(2, width), f"{layer}.lora_up.weight": torch.ones(64, 2)}
    assert refused(tensors, tiny, tmp_path / "other.safetensors") == (
        f"prompt: the LoRA 'other' is made for {family}, and the checkpoint tiny is a Stable Diffusion 1 checkpoint."
    )


def test_the_width_is_that_of_the_change_whatever_its_kind(tiny: StableDiffusion, tmp_path: Path) -> None:
    tensors = {f"{TO_K}.lokr_w1": torch.ones(8, 32), f"{TO_K}.lokr_w2": torch.ones(80, 64)}
    assert "is made for Stable Diffusion XL, and" in refused(tensors, tiny, tmp_path / "lokr.safetensors")
