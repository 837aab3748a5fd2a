"""Which weights of the Stable Diffusion line a LoRA may change, and what files call them."""

from collections.abc import Iterator, Sequence
from typing import cast

from diffusers import UNet2DConditionModel
from torch import nn

from modules.networks.ldm.names import unet_ldm_name
from modules.networks.model import LoraTarget


def unet_targets(unet: UNet2DConditionModel) -> dict[str, LoraTarget]:
    """The weights of a UNet, by every name that files have for them."""
    targets: dict[str, LoraTarget] = {}
    for name, parameter in _matrices(unet):
        ldm = unet_ldm_name(f"{name}.weight", unet.config).removesuffix(".weight")
        target = LoraTarget(parameter, is_text=False, block=_block(ldm))
        for spelling in {name, name.replace("to_out.0", "to_out")}:
            for prefix in ("unet.", "base_model.model.", ""):
                targets[prefix + spelling] = target
        for spelling in (name, ldm):
            targets["lora_unet_" + spelling.replace(".", "_")] = target
    return targets


def text_targets(text_encoder: nn.Module, dotted: Sequence[str], joined: Sequence[str]) -> dict[str, LoraTarget]:
    """The weights of a text encoder below every prefix: of names with dots, and of those with underscores for them."""
    targets: dict[str, LoraTarget] = {}
    for name, parameter in _matrices(text_encoder):
        name = name.removeprefix("text_model.")
        target = LoraTarget(parameter, is_text=True, block=0)
        targets |= dict.fromkeys((prefix + name for prefix in dotted), target)
        targets |= dict.fromkeys((prefix + name.replace(".", "_") for prefix in joined), target)
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
