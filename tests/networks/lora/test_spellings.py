"""The same LoRA produces the same weights with every naming scheme as with kohya's."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import lora_conversion_utils
from safetensors.torch import save_file
from torch import Tensor

from modules.networks.files.headers import stamp_of
from modules.networks.files.loras import LoraRequest
from modules.networks.lora.patch import Patch
from modules.networks.sd1.model import StableDiffusion

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
UNET = {
    f"{ATTENTION}.to_q": (32, 32),
    f"{ATTENTION}.to_out.0": (32, 32),
    "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj": (256, 32),
    "mid_block.attentions.0.proj_in": (32, 32, 1, 1),
    "down_blocks.0.resnets.0.conv1": (32, 32, 3, 3),
    "up_blocks.1.resnets.0.time_emb_proj": (32, 128),
    "up_blocks.0.upsamplers.0.conv": (32, 32, 3, 3),
}
TEXT = {"encoder.layers.1.self_attn.q_proj": (16, 16), "encoder.layers.0.mlp.fc1": (64, 16)}
RANK = 2
LDM = {
    "down_blocks_1_attentions_0": "input_blocks_3_1",
    "down_blocks_0_resnets_0_conv1": "input_blocks_1_0_in_layers_2",
    "mid_block_attentions_0": "middle_block_1",
    "up_blocks_1_resnets_0_time_emb_proj": "output_blocks_2_0_emb_layers_1",
    "up_blocks_0_upsamplers_0_conv": "output_blocks_1_2_conv",
}


def factors(layer: str) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(len(layer))
    rows, *rest = (UNET | TEXT)[layer]
    up, down = torch.randn(rows, RANK, generator=draw), torch.randn(RANK, *rest, generator=draw)
    return (up[:, :, None, None].clone() if len(rest) > 1 else up), down


def written(name: Callable[[str, bool], str], up: str, down: str, layers: dict[str, Any]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        first, second = factors(layer)
        spelled = name(layer, layer in TEXT)
        tensors |= {f"{spelled}{up}": first, f"{spelled}{down}": second}
    return tensors


def kohya(layer: str, is_text: bool) -> str:
    return ("lora_te_text_model_" if is_text else "lora_unet_") + layer.replace(".", "_")


def ldm(layer: str, is_text: bool) -> str:
    name = kohya(layer, is_text)
    for own, other in LDM.items():
        name = name.replace(own, other)
    return name


def prefixed(unet: str, text: str) -> Callable[[str, bool], str]:
    return lambda layer, is_text: (text if is_text else unet) + layer


def processor(layer: str, is_text: bool) -> str:
    block, kind = layer.removesuffix(".0").rsplit(".", 1)
    return f"unet.{block}.processor.{kind}_lora"


BOTH, ATTENTION_ONLY = UNET | TEXT, {layer: UNET[layer] for layer in UNET if ".attn1." in layer}
KOHYA = (".lora_up.weight", ".lora_down.weight")
PEFT = (".lora_B.weight", ".lora_A.weight")
DIFFUSERS = prefixed("unet.", "text_encoder.text_model.")
SPELLINGS: dict[str, tuple[Callable[[str, bool], str], tuple[str, str], dict[str, Any]]] = {
    "kohya, LDM's blocks": (ldm, KOHYA, BOTH),
    "OneTrainer": (lambda layer, is_text: kohya(layer, is_text).replace("lora_te_", "lora_te1_"), KOHYA, BOTH),
    "OneTrainer, dots": (prefixed("lora_unet.", "lora_te1.text_model."), KOHYA, BOTH),
    "LyCORIS": (lambda layer, is_text: re.sub("lora_(unet|te)_", "lycoris_", kohya(layer, is_text)), KOHYA, BOTH),
    "diffusers": (DIFFUSERS, PEFT, BOTH),
    "diffusers, lora.up": (DIFFUSERS, (".lora.up.weight", ".lora.down.weight"), BOTH),
    "diffusers, linear layers": (DIFFUSERS, (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"), BOTH),
    "diffusers, processors": (processor, (".up.weight", ".down.weight"), ATTENTION_ONLY),
    "PEFT": (prefixed("base_model.model.", "base_model.model.text_model."), PEFT, BOTH),
    "PEFT, an adapter's name": (DIFFUSERS, (".lora_B.default.weight", ".lora_A.default.weight"), BOTH),
    "PEFT, another's name": (
        prefixed("unet.base_model.model.", "text_encoder.base_model.model.text_model."),
        (".lora_B.style.weight", ".lora_A.style.weight"),
        BOTH,
    ),
    "no prefix": (prefixed("", "text_model."), PEFT, BOTH),
    "ComfyUI": (
        lambda layer, is_text: (
            f"text_encoders.clip_l.transformer.text_model.{layer}"
            if is_text
            else "diffusion_model."
            + ldm(layer, False).removeprefix("lora_unet_").replace("input_blocks_", "input_blocks.")
        ),
        KOHYA,
        BOTH,
    ),
    "diffusers' names behind diffusion_model": (prefixed("diffusion_model.", "text_encoder."), PEFT, BOTH),
}


@pytest.fixture
def patch(tiny: StableDiffusion) -> Iterator[Patch]:
    patch = Patch(tiny)
    yield patch
    patch.restore()


def weights(tiny: StableDiffusion, layers: dict[str, Any]) -> dict[str, Tensor]:
    return {
        layer: (tiny.text_encoder if layer in TEXT else tiny.unet).get_parameter(f"{layer}.weight").data.clone()
        for layer in layers
    }


def merged(tensors: dict[str, Tensor], patch: Patch, path: Path) -> None:
    save_file(tensors, path)
    patch.changed([LoraRequest(path.stem, stamp_of(path), 0.7, 0.7)])
    assert patch.notes == ()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_makes_the_same_weights(
    spelling: str, tiny: StableDiffusion, patch: Patch, tmp_path: Path
) -> None:
    name, suffixes, layers = SPELLINGS[spelling]
    original = weights(tiny, layers)
    merged(written(kohya, *KOHYA, layers), patch, tmp_path / "kohya.safetensors")
    expected = weights(tiny, layers)
    assert all(not torch.equal(expected[layer], original[layer]) for layer in layers)
    tensors = written(name, *suffixes, layers)
    assert tensors.keys() != written(kohya, *KOHYA, layers).keys()
    merged(tensors, patch, tmp_path / "other.safetensors")
    assert all(torch.equal(tensor, expected[layer]) for layer, tensor in weights(tiny, layers).items())


def test_diffusers_reads_kohyas_keys_as_we_do(tiny: StableDiffusion, patch: Patch, tmp_path: Path) -> None:
    """Their converter's keys and alphas produce the same weights as the unconverted file."""
    layers = {
        layer: shape for layer, shape in (UNET | TEXT).items() if "resnets" not in layer and "samplers" not in layer
    }
    tensors = written(kohya, *KOHYA, layers)
    tensors |= {key.replace("lora_up.weight", "alpha"): torch.tensor(1.5) for key in tensors if "lora_up" in key}
    merged(tensors, patch, tmp_path / "kohya.safetensors")
    expected = weights(tiny, layers)
    convert = lora_conversion_utils._convert_non_diffusers_lora_to_diffusers  # pyright: ignore[reportPrivateUsage]
    converted, alphas = convert(dict(tensors))
    merged(
        {**converted, **{key: torch.tensor(alpha) for key, alpha in alphas.items()}}, patch, tmp_path / "d.safetensors"
    )
    assert all(torch.equal(tensor, expected[layer]) for layer, tensor in weights(tiny, layers).items())
