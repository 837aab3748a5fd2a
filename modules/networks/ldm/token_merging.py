"""Token merging: self-attention sees similar places of the picture as one, which is quicker and changes the picture.

Bolya & Hoffman 2023, "Token Merging for Fast Stable Diffusion", arXiv 2303.17604, with the choices of A1111: in the
self-attention of the blocks that have the latent's full size alone, and without chance, as it merges into the top left
of every 2 x 2 places.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

STRIDE = 2  # places of a side of the squares that have one destination each


@dataclass(frozen=True)
class Matching:
    """Which of N tokens are merged into which.

    kept (B, s - r), merged (B, r): tokens of the sources by their place among all; into (B, r): of the destinations,
    by their place among those, where each merged one goes; destinations (d,) by their place among all. s + d = N.
    """

    kept: Tensor
    merged: Tensor
    into: Tensor
    destinations: Tensor

    def together(self, x: Tensor) -> Tensor:
        """x (B, N, C) -> (B, N - r, C): the tokens kept, then the destinations, each the mean of all that went in."""
        batch, _, width = x.shape
        targets = x[:, self.destinations]
        sources = x.gather(1, _wide(self.merged, width))
        means = targets.scatter_reduce(1, _wide(self.into, width), sources, "mean", include_self=True)
        return torch.cat([x.gather(1, _wide(self.kept, width)), means], dim=1).view(batch, -1, width)

    def apart(self, x: Tensor) -> Tensor:
        """x (B, N - r, C) -> (B, N, C): every token that was merged gets its destination's value."""
        batch, _, width = x.shape
        kept, means = x.split([self.kept.shape[1], len(self.destinations)], dim=1)
        whole = x.new_empty(batch, kept.shape[1] + self.merged.shape[1] + means.shape[1], width)
        whole[:, self.destinations] = means
        whole.scatter_(1, _wide(self.kept, width), kept)
        return whole.scatter_(1, _wide(self.merged, width), means.gather(1, _wide(self.into, width)))


def matching(x: Tensor, height: int, width: int, ratio: float) -> Matching | None:
    """The bipartite soft matching of tokens x (B, height * width, C): int(ratio · N) go, the most similar ones first.

    Similar is the cosine. None where nothing is to be merged. Rows and columns that no square covers are sources.
    """
    count = x.shape[1]
    destinations, sources = _halves(height, width, x.device)
    going = min(int(count * ratio), len(sources))
    if going <= 0 or not len(destinations):
        return None
    unit = x / x.norm(dim=-1, keepdim=True)
    best, target = (unit[:, sources] @ unit[:, destinations].transpose(1, 2)).max(dim=-1)
    order = best.argsort(dim=-1, descending=True, stable=True)
    first = order[:, :going]
    return Matching(sources[order[:, going:]], sources[first], target.gather(1, first), destinations)


@contextmanager
def merged_tokens(unet: nn.Module, ratio: float) -> Iterator[None]:
    """While it lasts, `unet` merges the share `ratio` (0 … 0.9) of its tokens. 0 changes nothing."""
    with ExitStack() as hooks:
        if ratio > 0:
            seen = _Seen()
            hooks.callback(unet.register_forward_pre_hook(seen.latent).remove)
            for block in unet.modules():
                if isinstance(block, BasicTransformerBlock):
                    _Merging(ratio, seen).attach(block, hooks)
        yield


class _Seen:
    """The size of the latent (h, w) that the network is working on."""

    def __init__(self) -> None:
        self.size = (0, 0)

    def latent(self, unet: nn.Module, args: tuple[Any, ...]) -> None:
        self.size = tuple(args[0].shape[-2:])


class _Merging:
    """Merges before the self-attention of one block, and takes apart behind it."""

    def __init__(self, ratio: float, seen: _Seen) -> None:
        self._ratio, self._seen = ratio, seen
        self._matching: Matching | None = None

    def attach(self, block: BasicTransformerBlock, hooks: ExitStack) -> None:
        hooks.callback(block.register_forward_pre_hook(self._match).remove)
        hooks.callback(block.attn1.register_forward_pre_hook(self._merge).remove)
        hooks.callback(block.attn1.register_forward_hook(self._restore).remove)

    def _match(self, block: nn.Module, args: tuple[Any, ...]) -> None:
        """Tokens are compared as they come into the block, before its norm."""
        height, width = self._seen.size
        is_full_size = args[0].shape[1] == height * width
        self._matching = matching(args[0], height, width, self._ratio) if is_full_size else None

    def _merge(self, attention: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args if self._matching is None else (self._matching.together(args[0]), *args[1:])

    def _restore(self, attention: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output if self._matching is None else self._matching.apart(output)


def _halves(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(the top left places of the whole squares, all others), by their number, rising."""
    is_destination = torch.zeros(height, width, dtype=torch.bool)
    is_destination[: height // STRIDE * STRIDE : STRIDE, : width // STRIDE * STRIDE : STRIDE] = True
    flat = is_destination.flatten().to(device)
    return flat.nonzero().flatten(), (~flat).nonzero().flatten()


def _wide(index: Tensor, width: int) -> Tensor:
    """(B, n) -> (B, n, width)."""
    return index.unsqueeze(-1).expand(-1, -1, width)
