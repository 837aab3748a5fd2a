"""The layers of a transformer that LoRAs may change, by every name used in files."""

from collections.abc import Iterator, Mapping
from typing import Final

from torch import nn

from modules.networks.lora.roles import folded
from modules.networks.model import LoraTarget

# diffusers; ComfyUI and ai-toolkit; kohya; LyCORIS; PEFT; none. Dots count as underscores.
_PREFIXES: Final = (
    "transformer_", "diffusion_model_", "model_diffusion_model_", "lora_unet_", "lora_transformer_", "lycoris_",
    "base_model_model_", "transformer_base_model_model_", "",
)  # fmt: skip


def layers_of(network: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Parameter | None]]:
    """(name, weight, bias) for every module with a weight."""
    for name, layer in network.named_modules():
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        if isinstance(weight, nn.Parameter):
            yield name, weight, bias if isinstance(bias, nn.Parameter) else None


def layer_targets(network: nn.Module, spellings: Mapping[str, str]) -> dict[str, LoraTarget]:
    """The weights of a transformer. `spellings`: parts of diffusers' names, and what other files write instead."""
    targets: dict[str, LoraTarget] = {}
    for name, weight, bias in layers_of(network):
        target = LoraTarget(weight, is_text=False, bias=bias)
        for spelling in {name, *(name.replace(old, new) for old, new in spellings.items())}:
            for prefix in _PREFIXES:
                targets[prefix + folded(spelling)] = target
    return targets
