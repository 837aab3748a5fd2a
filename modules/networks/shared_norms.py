"""The same group norms for all tiles of a picture, so that they have the same tones and no seams.

A group norm subtracts the mean of what it sees and divides by its deviation. A tile sees another mean than the picture.
So both are taken from one pass over the whole picture at a small size, and every tile is normalized by them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Moments(NamedTuple):
    """Of each group of channels, (n, groups) fp32."""

    mean: Tensor
    variance: Tensor


class MeasuredNorms(TorchFunctionMode):
    """While it lasts, the moments of what each group norm sees are noted in `seen`, in the order of the calls."""

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
    """While it lasts, the group norms of one pass through a network use `moments`, in the order of their calls."""

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
