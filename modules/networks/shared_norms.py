"""Shares group norm statistics among all tiles of a picture, so that tiles have the same tones and no seams.

A group norm subtracts the mean of its input and divides by its standard deviation. The mean of a tile differs from that
of the picture, so both are taken from one pass over the whole picture at a small size, and used for every tile.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Moments(NamedTuple):
    """The statistics of each group of channels, (n, groups), fp32."""

    mean: Tensor
    variance: Tensor


class MeasuredNorms(TorchFunctionMode):
    """Within the context, the moments of each group norm's input are recorded in `seen`, in the order of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Moments] = []

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.group_norm:
            self.seen.append(_moments(*args[:2]))
        return func(*args, **(kwargs or {}))


class SharedNorms(TorchFunctionMode):
    """Within the context, the group norms of one pass through a network use `moments`, in the order of calls."""

    def __init__(self, moments: Iterable[Moments]) -> None:
        super().__init__()
        self._moments = iter(moments)

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.group_norm:
            return _normalized(next(self._moments), *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _moments(x: Tensor, groups: int) -> Moments:
    variance, mean = torch.var_mean(x.unflatten(1, (groups, -1)).flatten(2).float(), dim=2, correction=0)
    return Moments(mean, variance)


def _normalized(
    moments: Moments,
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    width = x.shape[1] // num_groups
    scale = (moments.variance + eps).rsqrt().repeat_interleave(width, dim=1)
    shift = -moments.mean.repeat_interleave(width, dim=1) * scale
    if weight is not None:
        scale, shift = scale * weight, shift * weight
    if bias is not None:
        shift = shift + bias
    shape = (*scale.shape, *[1] * (x.ndim - 2))
    return torch.addcmul(shift.view(shape).to(x.dtype), x, scale.view(shape).to(x.dtype))
