"""Which of Stable Diffusion 1's weights a LoRA may change, and what files call them."""

from collections.abc import Iterator
from typing import cast

from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from modules.networks.model import LoraTarget
from modules.networks.sd1.layout import unet_ldm_name


def lora_targets(unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> dict[str, LoraTarget]:
    """All weights that a LoRA may change, by every name that files have for them."""
    targets: dict[str, LoraTarget] = {}
    for name, parameter in _matrices(unet):
        ldm = unet_ldm_name(f"{name}.weight", unet.config).removesuffix(".weight")
        target = LoraTarget(parameter, is_text=False, block=_block(ldm))
        for spelling in {name, name.replace("to_out.0", "to_out")}:
            for prefix in ("unet.", "base_model.model.", ""):
                targets[prefix + spelling] = target
        for spelling in (name, ldm):
            targets["lora_unet_" + spelling.replace(".", "_")] = target
    for name, parameter in _matrices(text_encoder):
        name = name.removeprefix("text_model.")
        target = LoraTarget(parameter, is_text=True, block=0)
        for prefix in ("text_encoder.text_model.", "text_encoder.", "text_model.", "base_model.model.text_model."):
            targets[prefix + name] = target
        for prefix in ("lora_te_text_model_", "lora_te_"):
            targets[prefix + name.replace(".", "_")] = target
    return targets


def _block(ldm: str) -> int | None:
    """The place in `LoraRequest.blocks` of the UNet's layer with this name; None where it lies in no block."""
    side, _, rest = ldm.partition(".")
    if side == "middle_block":
        return 13
    number = rest.partition(".")[0]
    starts = {"input_blocks": 1, "output_blocks": 14}
    return starts[side] + int(number) if side in starts and int(number) < 12 else None


def _matrices(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """(layer, weight) of the linear layers and convolutions."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            yield name, cast(nn.Parameter, layer.weight)
