"""LoRA on the checkpoint of the recordings: every layer that a file may change, in kohya's layout and in PEFT's."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.clip.bpe import ClipBPE
from modules.networks.device import Placement
from modules.networks.files.headers import stamp_of
from modules.networks.files.listing import HashCache
from modules.networks.files.loras import LoraRequest
from modules.networks.lora.patch import Patch
from modules.networks.sd1.checkpoint import load_checkpoint
from modules.networks.sd1.model import StableDiffusion
from modules.schema.catalog import Checkpoint

RANK, ALPHA, TE, UNET = 4, 2.0, 0.6, -0.8


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> StableDiffusion:
    hashes = HashCache(tmp_path_factory.mktemp("cache") / "hashes.json")
    place = Placement(torch.device("cpu"), torch.float32, torch.float32, torch.float32)
    return load_checkpoint(tiny_checkpoint, place, ClipBPE(), hashes)


def weights(model: StableDiffusion) -> dict[str, Tensor]:
    """Those of every linear layer and convolution, by their names in diffusers' files."""
    parts = (("unet", model.unet), ("text_encoder.text_model", model.text_encoder))
    return {
        f"{prefix}.{name}": layer.weight
        for prefix, part in parts
        for name, layer in part.named_modules()
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)
    }


@pytest.mark.parametrize("layout", ["kohya", "PEFT"])
def test_every_layer_is_as_merged_by_hand_and_comes_back_to_the_bit(
    layout: str, model: StableDiffusion, tmp_path: Path
) -> None:
    draw = torch.Generator().manual_seed(1)
    tensors: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}
    before = {name: weight.detach().clone() for name, weight in weights(model).items()}
    for name, weight in before.items():
        up = torch.randn(weight.shape[0], RANK, generator=draw)
        down = torch.randn(RANK, *weight.shape[1:], generator=draw)
        stored = up.reshape(*up.shape, *(1,) * (down.ndim - 2))
        scale = (TE if name.startswith("text") else UNET) * (ALPHA / RANK if layout == "kohya" else 1)
        expected[name] = weight + scale * torch.einsum("or,r...->o...", up, down)
        if layout == "PEFT":
            tensors |= {f"{name}.lora_B.weight": stored.clone(), f"{name}.lora_A.weight": down}
        else:
            key = name.replace("text_encoder.", "lora_te_").replace("unet.", "lora_unet_").replace(".", "_")
            tensors |= {f"{key}.lora_up.weight": stored.clone(), f"{key}.lora_down.weight": down}
            tensors[f"{key}.alpha"] = torch.tensor(ALPHA)
    path = tmp_path / "all.safetensors"
    save_file(tensors, path)
    patch = Patch(model)
    patch.changed([LoraRequest("all", stamp_of(path), TE, UNET)])
    assert patch.notes == ()
    assert len(expected) > 100
    for name, weight in weights(model).items():
        apart = (weight.detach() - expected[name]).abs().max()
        assert apart <= 1e-5 * (1 + expected[name].abs().max()), name
    patch.restore()
    assert all(torch.equal(weight, before[name]) for name, weight in weights(model).items())
