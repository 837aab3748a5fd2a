"""LoRAs baked into a merged file equal explicit sums, for both naming schemes of a text encoder."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from modules.base.errors import WebuiError
from modules.networks.files.headers import stamp_of
from modules.networks.files.loras import LoraRequest
from modules.networks.merging.merge import Note, merge
from modules.networks.merging.recipe import Recipe
from tests.tiny import write_tiny_checkpoint
from tests.tiny_line import save_single, tiny_xl

RANK, ALPHA = 2, 1.0


def lora(
    folder: Path, layers: dict[str, tuple[int, int]], te: float, unet: float
) -> tuple[LoraRequest, dict[str, torch.Tensor]]:
    """A kohya LoRA of layers (outputs, inputs), and what each adds to its weight before the prompt's strength is
    applied.
    """
    draw = torch.Generator().manual_seed(5)
    tensors: dict[str, torch.Tensor] = {}
    deltas: dict[str, torch.Tensor] = {}
    for name, (rows, columns) in layers.items():
        up, down = torch.randn(rows, RANK, generator=draw), torch.randn(RANK, columns, generator=draw)
        tensors |= {
            f"{name}.lora_up.weight": up,
            f"{name}.lora_down.weight": down,
            f"{name}.alpha": torch.tensor(ALPHA),
        }
        deltas[name] = ALPHA / RANK * up @ down
    path = folder / "style.safetensors"
    save_file(tensors, path)
    return LoraRequest("style", stamp_of(path), te, unet), deltas


def merged(recipe: Recipe) -> tuple[dict[str, torch.Tensor], list[str]]:
    told = list(merge(recipe, lambda: False))
    return load_file(recipe.target), [each.sentence for each in told if isinstance(each, Note)]


def test_a_lora_is_laid_over_the_merged_weights(tmp_path: Path) -> None:
    first = write_tiny_checkpoint(tmp_path)
    a = load_file(first)
    second = tmp_path / "b.safetensors"
    save_file({key: tensor * 0.5 for key, tensor in a.items()}, second)
    unet_key = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
    text_key = "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
    unet_name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    text_name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    shapes = {unet_name: tuple(a[unet_key].shape), text_name: tuple(a[text_key].shape), "lora_unet_no_such": (4, 4)}
    one, deltas = lora(tmp_path, shapes, te=0.5, unet=0.8)  # type: ignore[arg-type]
    recipe = Recipe((first, second), tmp_path / "m.safetensors", multiplier=0.5, save_as="fp32", loras=(one,))
    result, notes = merged(recipe)
    for key, name, strength in ((unet_key, unet_name, 0.8), (text_key, text_name, 0.5)):
        expected = 0.75 * a[key].float() + strength * deltas[name]
        torch.testing.assert_close(result[key], expected, rtol=1e-5, atol=1e-5)
    other = "model.diffusion_model.out.2.weight"
    torch.testing.assert_close(result[other], 0.5 * a[other].float() + 0.5 * (a[other] * 0.5).float(), rtol=0, atol=0)
    assert len(notes) == 1
    assert "1 of the 3 layers of the LoRA 'style' have no effect" in notes[0]


def test_a_lora_of_xls_second_text_encoder_finds_its_third_of_a_tensor(tmp_path: Path) -> None:
    path = save_single(tiny_xl(), tmp_path / "xl.safetensors")
    a = load_file(path)
    key = "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"
    width = a[key].shape[1]
    name = "lora_te2_text_model_encoder_layers_0_self_attn_k_proj"
    one, deltas = lora(tmp_path, {name: (width, width)}, te=2.0, unet=1.0)
    recipe = Recipe((path,), tmp_path / "m.safetensors", "No interpolation", save_as="fp32", loras=(one,))
    result, notes = merged(recipe)
    expected = a[key].float()
    expected[width : 2 * width] += 2.0 * deltas[name]
    torch.testing.assert_close(result[key], expected, rtol=1e-5, atol=1e-5)
    assert notes == []


def test_a_family_that_takes_none_and_a_lora_that_fits_nothing_are_sentences(tmp_path: Path) -> None:
    path = write_tiny_checkpoint(tmp_path)
    one, _ = lora(tmp_path, {"lora_unet_double_blocks_0_img_attn_qkv": (8, 8)}, 1.0, 1.0)
    with pytest.raises(WebuiError, match="the LoRA 'style'"):
        merged(Recipe((path,), tmp_path / "m.safetensors", "No interpolation", loras=(one,)))
    flux = tmp_path / "flux.safetensors"
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.ones(2, 2)}, flux)
    with pytest.raises(WebuiError, match=r"loras: flux\.safetensors is a Flux model"):
        merged(Recipe((flux,), tmp_path / "m.safetensors", "No interpolation", loras=(one,)))
    assert not (tmp_path / "m.safetensors").exists()
