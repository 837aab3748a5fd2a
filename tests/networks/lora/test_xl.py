"""LoRAs on Stable Diffusion XL: both text encoders, both names of its blocks, block weights, and the refiner."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks.device import Placement
from modules.networks.files.headers import stamp_of
from modules.networks.files.listing import HashCache
from modules.networks.files.loras import LoraRequest
from modules.networks.lora.patch import Patch
from modules.networks.model import LoadTools
from modules.networks.sdxl.checkpoint import load
from modules.networks.sdxl.model import StableDiffusionXL
from modules.prompts.lora_arguments import block_weights
from modules.schema.catalog import Checkpoint
from tests.tiny_line import Tiny, save_single, tiny_refiner, tiny_xl

DEEP = "attentions.0.transformer_blocks"
# diffusers' name -> the name in sd-scripts' files for XL; without one, both are the same
UNET = {
    f"down_blocks.2.{DEEP}.1.attn2.to_k": "input_blocks_5_1_transformer_blocks_1_attn2_to_k",
    f"up_blocks.0.{DEEP}.0.attn1.to_out.0": "output_blocks_0_1_transformer_blocks_0_attn1_to_out_0",
    "mid_block.attentions.0.proj_in": "middle_block_1_proj_in",
    "down_blocks.0.resnets.0.conv1": "input_blocks_1_0_in_layers_2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks_2_0_op",
    "add_embedding.linear_1": "label_emb_0_0",
    "time_embedding.linear_2": "time_embed_2",
    "conv_out": "out_2",
}
SMALLER = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.mlp.fc1")
LARGER = ("encoder.layers.1.self_attn.out_proj", "text_projection")


def loaded(tiny: Tiny, folder: Path, place: Placement, bpe: ClipBPE) -> StableDiffusionXL:
    path = save_single(tiny, folder / "xl.safetensors")
    return load(Checkpoint("xl", path), LoadTools(place, bpe, HashCache(folder / "hashes.json")))


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory, place: Placement, bpe: ClipBPE) -> StableDiffusionXL:
    return loaded(tiny_xl(), tmp_path_factory.mktemp("xl"), place, bpe)


def weights(xl: StableDiffusionXL) -> dict[str, Tensor]:
    networks = {"unet": xl.unet, "text_encoder": xl.clip_l, "text_encoder_2": xl.clip_g}
    return {
        f"{part}.{name.removeprefix('text_model.').removesuffix('.weight')}": weight.data
        for part, network in networks.items()
        if network is not None
        for name, weight in network.named_parameters()
        if name.endswith(".weight")
    }


LAYERS = (
    *(f"unet.{name}" for name in UNET),
    *(f"text_encoder.{name}" for name in SMALLER),
    *(f"text_encoder_2.{name}" for name in LARGER),
)


def kohya(layer: str) -> str:
    part, _, name = layer.partition(".")
    if part == "unet":
        return f"lora_unet_{UNET[name]}"
    prefix = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}[part]
    return prefix + ("" if name == "text_projection" else "text_model_") + name.replace(".", "_")


def by_diffusers_blocks(layer: str) -> str:
    """As in the files of LCM, Hyper-SD and DMD2."""
    return kohya(layer) if not layer.startswith("unet.") else layer.replace("unet.", "lora_unet_").replace(".", "_")


def diffusers(layer: str) -> str:
    part, _, name = layer.partition(".")
    return layer if part == "unet" or name == "text_projection" else f"{part}.text_model.{name}"


def comfy(layer: str) -> str:
    part, _, name = layer.partition(".")
    if part == "unet":
        return f"diffusion_model.{UNET[name]}"
    return f"text_encoders.{'clip_l' if part == 'text_encoder' else 'clip_g'}.transformer.text_model.{name}"


SPELLINGS: dict[str, tuple[Callable[[str], str], str, str]] = {
    "kohya": (kohya, "lora_up.weight", "lora_down.weight"),
    "diffusers' blocks": (by_diffusers_blocks, "lora_up.weight", "lora_down.weight"),
    "diffusers": (diffusers, "lora_B.weight", "lora_A.weight"),
    "ComfyUI": (comfy, "lora_up.weight", "lora_down.weight"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_layer_is_as_merged_by_hand(spelling: str, xl: StableDiffusionXL, tmp_path: Path) -> None:
    name, up_key, down_key = SPELLINGS[spelling]
    draw = torch.Generator().manual_seed(3)
    before = {layer: weight.clone() for layer, weight in weights(xl).items()}
    expected, tensors = dict(before), dict[str, Tensor]()
    for layer in LAYERS:
        shape = before[layer].shape
        up, down = torch.randn(shape[0], 2, generator=draw), torch.randn(2, *shape[1:], generator=draw)
        expected[layer] = before[layer] + 0.5 * torch.einsum("or,r...->o...", up, down)
        tensors[f"{name(layer)}.{up_key}"] = up[:, :, None, None].clone() if len(shape) == 4 else up
        tensors[f"{name(layer)}.{down_key}"] = down
    save_file(tensors, tmp_path / "a.safetensors")
    patch = Patch(xl)
    patch.changed([LoraRequest("a", stamp_of(tmp_path / "a.safetensors"), 0.5, 0.5)])
    assert patch.notes == ()
    for layer, weight in weights(xl).items():
        torch.testing.assert_close(weight, expected[layer], rtol=1e-4, atol=1e-5)
    patch.restore()
    assert all(torch.equal(weight, before[layer]) for layer, weight in weights(xl).items())


def test_blocks_are_weighed_by_twelve_numbers(xl: StableDiffusionXL, tmp_path: Path) -> None:
    """The fourth is IN07, the seventh OUT00 in a full XL; the tiny one has IN05 and OUT00."""
    before = {layer: weight.clone() for layer, weight in weights(xl).items()}
    save_file({f"{kohya(layer)}.diff": torch.ones(before[layer].shape) for layer in LAYERS}, tmp_path / "a.safetensors")
    blocks = block_weights("0,0,0.5,0,0,0,2,0,0,0,0,0")
    assert blocks is not None
    asked = LoraRequest("a", stamp_of(tmp_path / "a.safetensors"), 1.0, 1.0, blocks=blocks)
    patch = Patch(xl)
    patch.changed([asked])
    moved = {layer: float((weight - before[layer]).mean()) for layer, weight in weights(xl).items() if layer in LAYERS}
    patch.restore()
    outside = {f"unet.{name}" for name in ("add_embedding.linear_1", "time_embedding.linear_2", "conv_out")}
    expected = {layer: 1.0 if layer in outside else 0.0 for layer in LAYERS}
    expected[f"unet.down_blocks.2.{DEEP}.1.attn2.to_k"] = 0.5
    expected[f"unet.up_blocks.0.{DEEP}.0.attn1.to_out.0"] = 2.0
    assert moved == pytest.approx(expected, abs=1e-4)


def test_one_for_stable_diffusion_1_says_so(xl: StableDiffusionXL, tmp_path: Path) -> None:
    name = "lora_unet_input_blocks_5_1_transformer_blocks_0_attn2_to_k"
    save_file({f"{name}.lora_up.weight": torch.ones(64, 2), f"{name}.lora_down.weight": torch.ones(2, 768)},
              tmp_path / "old.safetensors")  # fmt: skip
    with pytest.raises(WebuiError, match="'old' is made for Stable Diffusion 1, and the checkpoint") as caught:
        Patch(xl).changed([LoraRequest("old", stamp_of(tmp_path / "old.safetensors"), 1.0, 1.0)])
    assert "a Stable Diffusion XL checkpoint" in caught.value.message


def test_the_refiner_takes_none_and_the_job_goes_on(place: Placement, bpe: ClipBPE, tmp_path: Path) -> None:
    refiner = loaded(tiny_refiner(), tmp_path, place, bpe)
    save_file({f"{kohya(LAYERS[0])}.diff": torch.ones(2, 2)}, tmp_path / "a.safetensors")
    patch = Patch(refiner)
    asked = LoraRequest("a", stamp_of(tmp_path / "a.safetensors"), 1.0, 1.0)
    patch.changed([asked])
    (note,) = patch.notes
    assert note.startswith("The LoRAs 'a' have no effect with the checkpoint xl: ")
    patch.changed([replace(asked, unet=0.5)])
    assert patch.notes == (note,)
