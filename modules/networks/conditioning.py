"""A network's inputs besides the latent: the conditioning of prompts, and additions by extensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor

Rows = int | slice | Sequence[int] | Tensor


@dataclass(frozen=True)
class Conditioning:
    """Prompts as a family's network takes them, one row per prompt.

    tokens: (rows, tokens, width).  mask: (rows, tokens), 1 for tokens that count; None if all do.
    pooled: (rows, width), one vector per whole prompt.  size_ids: (rows, n), sizes and crops in pixels, or a score.
    references: latents (rows, C, h, w) of reference pictures.
    """

    tokens: Tensor
    mask: Tensor | None = None
    pooled: Tensor | None = None
    size_ids: Tensor | None = None
    references: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __getitem__(self, rows: Rows) -> Conditioning:
        """The selected rows; a single index gives one row."""
        index = [rows] if isinstance(rows, int) else rows
        return self._each(lambda tensor: tensor[index])

    @property
    def length(self) -> int:
        """The number of tokens per row."""
        return self.tokens.shape[1]

    @property
    def bytes(self) -> int:
        """The size of all tensors in bytes, for a cache."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors())

    def to(self, target: torch.device | torch.dtype) -> Conditioning:
        """All tensors, including the mask, on another device or in another number type."""
        return self._each(lambda tensor: tensor.to(target))

    def repeated(self, count: int) -> Conditioning:
        """All rows, repeated `count` times: 1, 2, 1, 2 …"""
        return self if count == 1 else Conditioning.joined([self] * count)

    def shortened(self, length: int) -> Conditioning:
        """The first `length` tokens of each row."""
        mask = None if self.mask is None else self.mask[:, :length]
        return replace(self, tokens=self.tokens[:, :length], mask=mask)

    def lengthened(self, length: int, filling: Tensor | None = None) -> Conditioning:
        """Rows of `length` tokens, padded with copies of `filling` (n, width), or of the last token without it.

        A mask is padded with zeros, so that the copies of the last token have no effect.
        """
        missing = length - self.length
        if missing <= 0:
            return self
        if filling is None:
            added = self.tokens[:, -1:].expand(-1, missing, -1)
        else:
            added = filling.repeat(missing // filling.shape[0], 1).expand(len(self), -1, -1)
        tokens = torch.cat([self.tokens, added], dim=1)
        mask = self.mask
        if mask is not None:
            mask = torch.cat([mask, mask.new_zeros(len(self), tokens.shape[1] - self.length)], dim=1)
        return replace(self, tokens=tokens, mask=mask)

    @staticmethod
    def joined(parts: Sequence[Conditioning]) -> Conditioning:
        """The rows of all `parts`, which belong to one family, padded to the longest."""
        length = max(part.length for part in parts)
        even = [part.lengthened(length) for part in parts]

        def together(name: str) -> Tensor | None:
            tensors = [cast(Tensor | None, getattr(part, name)) for part in even]
            return None if tensors[0] is None else torch.cat(cast(list[Tensor], tensors))

        tokens = together("tokens")
        assert tokens is not None
        references = tuple(torch.cat(row) for row in zip(*(part.references for part in even), strict=True))
        return Conditioning(tokens, together("mask"), together("pooled"), together("size_ids"), references)

    def _tensors(self) -> list[Tensor]:
        values = [getattr(self, each.name) for each in fields(self) if each.name != "references"]
        return [*(value for value in values if value is not None), *self.references]

    def _each(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        changed: dict[str, Any] = {
            each.name: None if getattr(self, each.name) is None else change(getattr(self, each.name))
            for each in fields(self)
            if each.name != "references"
        }
        return Conditioning(**changed, references=tuple(map(change, self.references)))


@dataclass(frozen=True)
class Residuals:
    """What a control network adds inside a UNet: to each skip connection, and to the middle block.

    down: one tensor (rows, channels, h, w) per skip connection; middle: such a tensor, or None.
    """

    down: tuple[Tensor, ...] = ()
    middle: Tensor | None = None

    def plus(self, other: Residuals) -> Residuals:
        """The sum of both; where only one has a tensor, that tensor."""
        down = self.down or other.down
        if self.down and other.down:
            down = tuple(a + b for a, b in zip(self.down, other.down, strict=True))
        middle = other.middle if self.middle is None else self.middle
        if self.middle is not None and other.middle is not None:
            middle = self.middle + other.middle
        return Residuals(down, middle)


class Steering(Protocol):
    """A network that runs beside the denoiser in each evaluation, such as a ControlNet with its picture."""

    @property
    def acts(self) -> Callable[[], bool]:
        """Says whether the network acts in the current step."""
        ...

    def residuals(
        self, x: Tensor, time: Tensor, cond: Conditioning, added_cond: Mapping[str, Any], negative_rows: int
    ) -> tuple[Tensor, ...]:
        """The tensors to add to each skip connection and, last, to the middle block."""
        ...


@dataclass(frozen=True)
class Extra:
    """The inputs of one evaluation besides x, sigma and the prompts.

    concat: (1 or rows, n, h, w), channels appended to the latent: mask and masked picture of inpainting checkpoints.
    residuals: of control networks.  tokens: (1 or rows, n, width), appended to the prompt's.
    attention_mask: (1 or rows, tokens of the prompt), 1 for tokens to attend to, 0 for tokens to ignore.
    token_merging: fraction of tokens that self-attention merges, 0 … 0.9.
    controls: networks that compute residuals for the same rows.  negative_rows: number of rows at the end that belong
    to the negative prompt.
    """

    concat: Tensor | None = None
    residuals: Residuals | None = None
    tokens: Tensor | None = None
    attention_mask: Tensor | None = None
    token_merging: float = 0.0
    controls: tuple[Steering, ...] = ()
    negative_rows: int = 0

    def with_tokens(self, tokens: Tensor) -> Extra:
        """Appends tokens to the prompt's and to those added before."""
        if self.tokens is None:
            return replace(self, tokens=tokens)
        rows = max(len(self.tokens), len(tokens))
        both = [each.expand(rows, -1, -1) for each in (self.tokens, tokens)]
        return replace(self, tokens=torch.cat(both, dim=1))

    def with_residuals(self, down: Sequence[Tensor] = (), middle: Tensor | None = None) -> Extra:
        """Adds residuals (see `Residuals`) to the existing ones."""
        residuals = Residuals(tuple(down), middle)
        return replace(self, residuals=residuals if self.residuals is None else self.residuals.plus(residuals))


NOTHING = Extra()


def added(cond: Conditioning, extra: Extra) -> Conditioning:
    """`cond` with the tokens and the attention mask of `extra`."""
    if extra.attention_mask is not None:
        mask = extra.attention_mask.to(cond.tokens.device).expand(len(cond), -1)
        cond = replace(cond, mask=mask if cond.mask is None else cond.mask * mask)
    if extra.tokens is None:
        return cond
    own = extra.tokens.to(cond.tokens).expand(len(cond), -1, -1)
    mask = cond.mask
    if mask is not None:
        mask = torch.cat([mask, mask.new_ones(len(cond), own.shape[1])], dim=1)
    return replace(cond, tokens=torch.cat([cond.tokens, own], dim=1), mask=mask)
