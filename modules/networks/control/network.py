"""A loaded ControlNet, and what it adds to an evaluation of the UNet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from modules.networks.conditioning import Conditioning
from modules.networks.control.layout import control_config, stored_name
from modules.networks.device import Placement
from modules.networks.ldm.building import building
from modules.networks.weights import fill, open_weights

SOFT: Final = 0.825  # weight of each residual relative to the next deeper one, for "My prompt is more important"
DEEPEST: Final = 12  # index of SD 1's middle residual; sd-webui-controlnet uses it for XL too


@dataclass(frozen=True)
class ControlNet:
    """network: without its hint embedding, which is in `embed`, so that the hint is embedded once and not in each step.

    pools: residuals are averaged over the picture (the shuffle model, which transfers colors but not positions).
    size: bytes in memory.
    """

    network: ControlNetModel
    embed: nn.Module
    place: Placement
    pools: bool = False

    @property
    def size(self) -> int:
        parts = (*self.network.parameters(), *self.embed.parameters())
        return sum(each.numel() * each.element_size() for each in parts)

    def embedded(self, hint: Tensor) -> Tensor:
        """The hint (1, 3, H, W) in 0 … 1 as the network takes it, (1, C, H/8, W/8)."""
        return self.embed(hint.to(self.place.device, self.place.dtype, memory_format=torch.channels_last))


@dataclass(frozen=True)
class Control:
    """A ControlNet with its control picture.

    embedded: result of `ControlNet.embedded`.  scales: factors of the residuals, the middle one last.  acts: says
    whether it acts in the current step.  is_for_prompt: it does not act on the rows of the negative prompt.
    """

    net: ControlNet
    embedded: Tensor
    scales: Sequence[float]
    acts: Callable[[], bool]
    is_for_prompt: bool = False

    def residuals(
        self, x: Tensor, time: Tensor, cond: Conditioning, added_cond: Mapping[str, Any], negative_rows: int
    ) -> tuple[Tensor, ...]:
        """The tensors to add to each skip connection and, last, to the middle block.

        x (rows, C, h, w): the network's scaled input.  time (rows,).  added_cond: the UNet's inputs from the prompts
        besides their tokens.  negative_rows: number of rows at the end that belong to the negative prompt.
        """
        network = cast(Any, self.net.network)
        down, middle = network(x, time, cond.tokens, self.embedded, return_dict=False, **added_cond)
        residuals = [each * scale for each, scale in zip((*down, middle), self.scales, strict=True)]
        if self.net.pools:
            residuals = [each.mean(dim=(2, 3), keepdim=True) for each in residuals]
        if (self.is_for_prompt or self.net.pools) and negative_rows:
            for each in residuals:
                each[len(each) - negative_rows :] = 0
        return tuple(residuals)


def layer_weights(count: int, weight: float, is_soft: bool) -> tuple[float, ...]:
    """The weights of `count` residuals, the middle one last; soft weights are weight · 0.825^(12 - i), as in A1111.

    >>> [round(each, 3) for each in layer_weights(13, 2.0, True)][:2], layer_weights(13, 2.0, True)[12]
    ([0.199, 0.241], 2.0)
    """
    return tuple(weight * SOFT ** (DEEPEST - number) if is_soft else weight for number in range(count))


def load_control_net(path: Path, unet: UNet2DConditionModel, place: Placement) -> ControlNet:
    """The ControlNet in a file, for a checkpoint with this UNet.

    Raises WebuiError if the file is damaged, or has no ControlNet, or one for another family; OSError.
    """
    weights = open_weights(path)
    config = control_config(weights.header, cast(Any, unet).config, weights.name)
    with building(weights.name):
        network = cast(ControlNetModel, cast(Any, ControlNetModel).from_config(config))
    fill(
        network,
        weights,
        lambda name: [stored_name(name, weights.header, config)],
        place.device,
        place.dtype,
        torch.channels_last,
    )
    embed = cast(nn.Module, network.controlnet_cond_embedding)
    network.controlnet_cond_embedding = nn.Identity()  # type: ignore[assignment]
    return ControlNet(network, embed, place, pools="shuffle" in path.stem.lower())


def load_control_for(path: Path, model: Any) -> ControlNet:
    """`load_control_net` for a checkpoint of the Stable Diffusion line."""
    return load_control_net(path, model.unet, model.place)
