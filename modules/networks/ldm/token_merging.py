"""Token merging: self-attention treats similar tokens as one, which is faster and changes the picture.

Bolya & Hoffman 2023, "Token Merging for Fast Stable Diffusion", arXiv 2303.17604, with A1111's options: only in the
self-attention of blocks at the latent's full size, and without randomness: the destinations are the top left token of
every 2 x 2 square.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

STRIDE = 2  # tokens per side of the squares with one destination each


@dataclass(frozen=True)
class Matching:
    """Which of N tokens are merged into which.

    kept (B, s - r), merged (B, r): indices of source tokens among all tokens.  into (B, r): where each merged token
    goes, as an index among the destinations.  destinations (d,): their indices among all tokens.  s + d = N.
    """

    kept: Tensor
    merged: Tensor
    into: Tensor
    destinations: Tensor

    def together(self, x: Tensor) -> Tensor:
        """x (B, N, C) -> (B, N - r, C): the kept tokens, then the destinations, each averaged with what it absorbs."""
        batch, _, width = x.shape
        targets = x[:, self.destinations]
        sources = x.gather(1, _wide(self.merged, width))
        means = targets.scatter_reduce(1, _wide(self.into, width), sources, "mean", include_self=True)
        return torch.cat([x.gather(1, _wide(self.kept, width)), means], dim=1).view(batch, -1, width)

    def apart(self, x: Tensor) -> Tensor:
        """x (B, N - r, C) -> (B, N, C): each merged token gets the value of its destination."""
        batch, _, width = x.shape
        kept, means = x.split([self.kept.shape[1], len(self.destinations)], dim=1)
        whole = x.new_empty(batch, kept.shape[1] + self.merged.shape[1] + means.shape[1], width)
        whole[:, self.destinations] = means
        whole.scatter_(1, _wide(self.kept, width), kept)
        return whole.scatter_(1, _wide(self.merged, width), means.gather(1, _wide(self.into, width)))


def matching(x: Tensor, height: int, width: int, ratio: float) -> Matching | None:
    """The bipartite soft matching of tokens x (B, height * width, C): merges int(ratio · N), the most similar first.

    Similarity is the cosine. None if nothing is to be merged. Rows and columns outside whole squares are sources.
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
    """Within the context, `unet` merges the fraction `ratio` (0 … 0.9) of its tokens. 0 changes nothing."""
    with ExitStack() as hooks:
        if ratio > 0:
            seen = _Seen()
            hooks.callback(unet.register_forward_pre_hook(seen.latent).remove)
            for block in unet.modules():
                if isinstance(block, BasicTransformerBlock):
                    _Merging(ratio, seen).attach(block, hooks)
        yield


class _Seen:
    """The size (h, w) of the current latent, in latent cells."""

    def __init__(self) -> None:
        self.size = (0, 0)

    def latent(self, unet: nn.Module, args: tuple[Any, ...]) -> None:
        self.size = tuple(args[0].shape[-2:])


class _Merging:
    """Merges tokens before the self-attention of one block, and separates them after it."""

    def __init__(self, ratio: float, seen: _Seen) -> None:
        self._ratio, self._seen = ratio, seen
        self._matching: Matching | None = None

    def attach(self, block: BasicTransformerBlock, hooks: ExitStack) -> None:
        hooks.callback(block.register_forward_pre_hook(self._match).remove)
        hooks.callback(block.attn1.register_forward_pre_hook(self._merge).remove)
        hooks.callback(block.attn1.register_forward_hook(self._restore).remove)

    def _match(self, block: nn.Module, args: tuple[Any, ...]) -> None:
        """Compares the tokens at the block's input, before its norm."""
        height, width = self._seen.size
        is_full_size = args[0].shape[1] == height * width
        self._matching = matching(args[0], height, width, self._ratio) if is_full_size else None

    def _merge(self, attention: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args if self._matching is None else (self._matching.together(args[0]), *args[1:])

    def _restore(self, attention: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output if self._matching is None else self._matching.apart(output)


def _halves(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(indices of the top left tokens of the whole squares, all other indices), ascending."""
    is_destination = torch.zeros(height, width, dtype=torch.bool)
    is_destination[: height // STRIDE * STRIDE : STRIDE, : width // STRIDE * STRIDE : STRIDE] = True
    flat = is_destination.flatten().to(device)
    return flat.nonzero().flatten(), (~flat).nonzero().flatten()


def _wide(index: Tensor, width: int) -> Tensor:
    """(B, n) -> (B, n, width)."""
    return index.unsqueeze(-1).expand(-1, -1, width)
