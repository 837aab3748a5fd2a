"""LoRAs against weights merged by hand; several at once; LoRAs without effect; and exact removal."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.base.errors import WebuiError
from modules.networks.files.headers import stamp_of
from modules.networks.files.loras import LoraRequest
from modules.networks.lora.patch import Patch
from modules.networks.sd1.model import StableDiffusion

# (layer, rank) in diffusers' names: a linear layer, one with a bias, a 1 x 1 and a 3 x 3 convolution.
UNET = {
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": 3,
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0": 2,
    "mid_block.attentions.0.proj_in": 2,
    "down_blocks.0.resnets.0.conv1": 4,
}
TEXT = {"encoder.layers.1.self_attn.q_proj": 2, "encoder.layers.0.mlp.fc1": 3}
ALPHA = 1.5

Factors = Mapping[str, tuple[Tensor, Tensor]]  # layer -> (up (out, rank), down (rank, in...))


@pytest.fixture
def patch(tiny: StableDiffusion) -> Iterator[Patch]:
    patch = Patch(tiny)
    yield patch
    patch.restore()


def weight(tiny: StableDiffusion, layer: str) -> Tensor:
    network = tiny.text_encoder if layer in TEXT else tiny.unet
    return network.get_parameter(f"{layer}.weight").data


@pytest.fixture(scope="module")
def factors(tiny: StableDiffusion) -> Factors:
    draw = torch.Generator().manual_seed(5)
    made: dict[str, tuple[Tensor, Tensor]] = {}
    for layer, rank in (UNET | TEXT).items():
        shape = weight(tiny, layer).shape
        made[layer] = (
            torch.randn(shape[0], rank, generator=draw),
            torch.randn(rank, *shape[1:], generator=draw),
        )
    return made


def four_sides(up: Tensor, down: Tensor) -> Tensor:
    return up[:, :, None, None] if down.ndim == 4 else up


def kohya(factors: Factors, alpha: float | None = ALPHA) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer, (up, down) in factors.items():
        name = ("lora_te_text_model_" if layer in TEXT else "lora_unet_") + layer.replace(".", "_")
        tensors |= {f"{name}.lora_up.weight": four_sides(up, down).clone(), f"{name}.lora_down.weight": down.clone()}
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors


def peft(factors: Factors) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer, (up, down) in factors.items():
        name = ("text_encoder.text_model." if layer in TEXT else "unet.") + layer
        tensors |= {f"{name}.lora_B.weight": four_sides(up, down).clone(), f"{name}.lora_A.weight": down.clone()}
    return tensors


def written(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file(tensors, path, metadata)
    return path


def wanted(path: Path, te: float = 1.0, unet: float | None = None, dyn_dim: int | None = None) -> LoraRequest:
    return LoraRequest(path.stem, stamp_of(path), te, te if unet is None else unet, dyn_dim)


def state(model: StableDiffusion) -> dict[str, Tensor]:
    return {
        f"{number}.{name}": tensor.clone()
        for number, part in enumerate((model.unet, model.text_encoder))
        for name, tensor in part.state_dict().items()
    }


def by_hand(tiny: StableDiffusion, factors: Factors, te: float, unet: float, alpha: float | None = ALPHA) -> Any:
    """W + alpha / rank * up @ down * weight."""
    merged: dict[str, Tensor] = {}
    for layer, (up, down) in factors.items():
        scale = 1.0 if alpha is None else alpha / down.shape[0]
        original = weight(tiny, layer)
        delta = torch.einsum("or,r...->o...", up.double(), down.double()) * scale * (te if layer in TEXT else unet)
        merged[layer] = (original.double() + delta).float()
    return merged


def assert_merged(tiny: StableDiffusion, expected: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
    for layer, tensor in expected.items():
        torch.testing.assert_close(weight(tiny, layer), tensor, rtol=1e-5, atol=1e-5)
    touched = {f"{int(layer in TEXT)}.{layer}.weight" for layer in expected}
    for name, tensor in state(tiny).items():
        assert torch.equal(tensor, before[name]) == (name not in touched), name


@pytest.mark.parametrize(("te", "unet"), [(1.0, 1.0), (0.5, -0.75)])
@pytest.mark.parametrize(
    "layout",
    ["kohya", "kohya without alpha", "LDM's names", "PEFT", "PEFT with alpha", "PEFT with alpha beside it", "0.17"],
)
def test_the_weights_are_those_merged_by_hand(
    layout: str, te: float, unet: float, tiny: StableDiffusion, patch: Patch, factors: Factors, tmp_path: Path
) -> None:
    alpha: float | None = None if layout in ("kohya without alpha", "PEFT", "0.17") else ALPHA
    metadata: dict[str, str] = {}
    tensors = peft(factors) if layout.startswith("PEFT") else kohya(factors, alpha)
    if layout == "LDM's names":
        tensors = {key.replace("mid_block_attentions_0", "middle_block_1"): each for key, each in tensors.items()}
        tensors = {key.replace("down_blocks_0_resnets_0_conv1", "input_blocks_1_0_in_layers_2"): each
                   for key, each in tensors.items()}  # fmt: skip
        assert set(tensors) != set(kohya(factors))
    if layout == "PEFT with alpha":
        told = {f"{part}.lora_alpha": ALPHA for part in ("unet", "text_encoder")}
        metadata = {"lora_adapter_metadata": json.dumps(told)}
    name = "a.safetensors"
    if layout == "PEFT with alpha beside it":
        name = "adapter_model.safetensors"
        (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": ALPHA, "peft_type": "LORA"}))
    if layout == "0.17":  # attention processors, as diffusers saved them then
        factors = {layer: each for layer, each in factors.items() if "attn" in layer and layer in UNET}
        tensors = {}
        for layer, (up, down) in factors.items():
            block, kind = layer.removesuffix(".0").rsplit(".", 1)
            tensors[f"unet.{block}.processor.{kind}_lora.up.weight"] = up
            tensors[f"unet.{block}.processor.{kind}_lora.down.weight"] = down
    before, expected = state(tiny), by_hand(tiny, factors, te, unet, alpha)
    assert patch.changed([wanted(written(tmp_path / name, tensors, metadata), te, unet)]).loras
    assert patch.notes == ()
    assert_merged(tiny, expected, before)


def test_several_add_up_and_every_change_is_from_the_original_weights(
    tiny: StableDiffusion, patch: Patch, factors: Factors, tmp_path: Path
) -> None:
    first = wanted(written(tmp_path / "a.safetensors", kohya(factors)), 0.8)
    second = wanted(written(tmp_path / "b.safetensors", peft(factors)), 0.25)
    before = state(tiny)
    ranks = UNET | TEXT
    original = {layer: weight(tiny, layer).clone() for layer in ranks}
    expected = by_hand_of(original, factors, {layer: 0.8 * ALPHA / rank + 0.25 for layer, rank in ranks.items()})
    patch.changed([first, second])
    assert_merged(tiny, expected, before)
    alone = patch.changed([second])
    assert isinstance(alone, StableDiffusion)
    assert (alone.loras, alone.unet) == ((second,), tiny.unet)
    for layer, tensor in by_hand_of(original, factors, dict.fromkeys(ranks, 0.25)).items():
        torch.testing.assert_close(weight(tiny, layer), tensor, rtol=1e-5, atol=1e-5)
    assert patch.changed([]).loras == ()
    after = state(tiny)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def by_hand_of(original: Mapping[str, Tensor], factors: Factors, strengths: Mapping[str, float]) -> dict[str, Tensor]:
    return {
        layer: original[layer] + strengths[layer] * torch.einsum("or,r...->o...", up, down)
        for layer, (up, down) in factors.items()
    }


def test_the_same_again_is_there_already(tiny: StableDiffusion, patch: Patch, factors: Factors, tmp_path: Path) -> None:
    asked = wanted(written(tmp_path / "a.safetensors", kohya(factors)), 0.8)
    patch.changed([asked])
    there = {layer: weight(tiny, layer).data_ptr() for layer in factors}
    patch.changed([asked])
    assert {layer: weight(tiny, layer).data_ptr() for layer in factors} == there


def test_a_middle_factor_and_fewer_ranks(tiny: StableDiffusion, patch: Patch, factors: Factors, tmp_path: Path) -> None:
    layer = "down_blocks.0.resnets.0.conv1"
    original = weight(tiny, layer).clone()
    draw = torch.Generator().manual_seed(6)
    up, mid, down = (
        torch.randn(*shape, generator=draw) for shape in ((original.shape[0], 2), (2, 3, 3, 3), (3, original.shape[1]))
    )
    name = "lora_unet_" + layer.replace(".", "_")
    tensors = {
        f"{name}.lora_up.weight": up[:, :, None, None].clone(),
        f"{name}.lora_mid.weight": mid,
        f"{name}.lora_down.weight": down[:, :, None, None].clone(),
    }
    patch.changed([wanted(written(tmp_path / "mid.safetensors", tensors))])
    expected = original + torch.stack(
        [torch.stack([up @ mid[:, :, y, x] @ down for x in range(3)], -1) for y in range(3)], -2
    )
    torch.testing.assert_close(weight(tiny, layer), expected, rtol=1e-5, atol=1e-5)

    patch.changed([wanted(written(tmp_path / "a.safetensors", peft(factors)), dyn_dim=1)])
    up, down = factors[layer]
    torch.testing.assert_close(
        weight(tiny, layer), original + torch.einsum("or,r...->o...", up[:, :1], down[:1]), rtol=1e-5, atol=1e-5
    )


def test_half_precision_keeps_its_type_and_its_order(tiny: StableDiffusion, factors: Factors, tmp_path: Path) -> None:
    layer = "down_blocks.0.resnets.0.conv1"
    parameter = tiny.unet.get_parameter(f"{layer}.weight")
    full = parameter.data
    asked = wanted(written(tmp_path / "a.safetensors", peft(factors)), te=0.0, unet=0.5)
    patch = Patch(replace(tiny, place=replace(tiny.place, dtype=torch.float16)))
    try:
        parameter.data = full.half()
        expected = by_hand(tiny, {layer: factors[layer]}, 0.0, 0.5, None)[layer].half()
        patch.changed([asked])
        torch.testing.assert_close(parameter.data, expected, rtol=2**-10, atol=0)  # one step of fp16: ties
        assert parameter.data.is_contiguous(memory_format=torch.channels_last)
    finally:
        patch.restore()
        parameter.data = full


def test_layers_that_the_checkpoint_lacks_are_told(
    tiny: StableDiffusion, patch: Patch, factors: Factors, tmp_path: Path
) -> None:
    tensors = kohya(factors)
    for role in ("up", "down"):
        tensors[f"lora_unet_down_blocks_3_resnets_0_conv1.lora_{role}.weight"] = torch.ones(2, 2)
    tensors |= {"optimizer": torch.ones(1), "step.count": torch.ones(1)}
    tensors["bundle_emb.fox.string_to_param.*"] = torch.ones(1, 16)
    patch.changed([wanted(written(tmp_path / "large.safetensors", tensors))])
    assert patch.notes == (
        "1 of the 7 layers of the LoRA 'large' have no effect: the checkpoint tiny has no layers of these names "
        "(lora_unet_down_blocks_3_resnets_0_conv1).",
        "2 of the 23 tensors of the LoRA 'large' have no effect: they are of no known kind (optimizer, step.count).",
    )


K = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
REFUSED: list[tuple[dict[str, tuple[int, ...]], str, str]] = [
    ({f"{K}.lora_up.weight": (32, 2)}, "has no down, without which up means nothing, in", "Download"),
    ({f"{K}.lora_up.weight": (32, 2), f"{K}.lora_down.weight": (3, 16)}, "do not belong together", "Download"),
    (
        {f"{K}.lora_up.weight": (320, 2), f"{K}.lora_down.weight": (2, 768)},
        f"does not fit the checkpoint tiny: {K} is 320 x 768 in it and 32 x 16 in the checkpoint",
        "of the size it was trained on",
    ),
    (
        {f"lora_te2_x.lora_{role}.weight": (2, 2) for role in ("up", "down")},
        "is made for Stable Diffusion XL, and the checkpoint tiny is a Stable Diffusion 1 checkpoint",
        "Choose a LoRA for Stable Diffusion 1",
    ),
    (
        {f"lora_unet_x.lora_{role}.weight": (2, 2) for role in ("up", "down")},
        "fits no layer of the checkpoint tiny",
        "of the size it was trained on",
    ),
    ({"model.weight": (2, 2)}, "holds no LoRA", "another file"),
]


@pytest.mark.parametrize(("shapes", "why", "cure"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence_and_the_weights_are_the_original(
    shapes: dict[str, tuple[int, ...]],
    why: str,
    cure: str,
    tiny: StableDiffusion,
    patch: Patch,
    factors: Factors,
    tmp_path: Path,
) -> None:
    before = state(tiny)
    good = wanted(written(tmp_path / "good.safetensors", kohya(factors)))
    bad = written(tmp_path / "bad.safetensors", {key: torch.ones(shape) for key, shape in shapes.items()})
    patch.changed([good])
    with pytest.raises(WebuiError) as caught:
        patch.changed([good, wanted(bad)])
    assert str(caught.value.message).startswith("prompt: the LoRA 'bad' ")
    assert why in caught.value.message
    assert cure in caught.value.hint
    assert caught.value.field == "prompt"
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(tiny).items())


def test_a_damaged_file_is_named(patch: Patch, tmp_path: Path) -> None:
    path = tmp_path / "torn.safetensors"
    path.write_bytes(b"\0" * 20)
    with pytest.raises(WebuiError, match=r"the LoRA 'torn': torn.safetensors is not a safetensors file"):
        patch.changed([wanted(path)])
