"""A denoising strength for each place: gray levels of the mask are shares of the picture's own strength.

This is differential diffusion (Levin & Fried 2023, arXiv 2306.00950): every place follows the noised original until
sampling reaches the level at which its own strength would have started. The threshold is A1111's step rule, so 50%
gray is redrawn in as many steps as a job of half the strength would run. Masks are 1 where the picture may change at
full strength and 0 where it is kept.
"""

import torch
from torch import Tensor

from modules.processing.plan import MAX_STRENGTH

SHOWN = 16  # of 255: from this gray on only the redrawn pixels show; below, the original partly covers them
ROUNDING = 1e-4  # products of decimal fractions may be slightly below a whole number


def steps_of(mask: Tensor, strength: float, steps: int) -> Tensor:
    """The number of last steps in which each cell of `mask` is redrawn; white is int(strength · steps) + 1."""
    own = torch.floor((mask.clamp(0, 1) * strength).clamp(max=MAX_STRENGTH) * steps + ROUNDING) + 1
    return torch.where(mask > 0, own, 0)


def remaining(levels: Tensor, sigma: Tensor) -> int:
    """Steps from level `sigma` (B,) to the end of `levels` (falling; sampling ends at the last one)."""
    return int((levels[:-1].to(sigma.device) <= sigma[0] * (1 + ROUNDING)).sum())


def freed(
    levels: Tensor, strength: float, steps: int, original: Tensor, current: Tensor, mask: Tensor, sigma: Tensor
) -> Tensor:
    """`current` where a cell's own steps have begun, `original` elsewhere. Without its first three arguments this is a
    `sampling.denoise.Blend`.

    White cells at strength 1 are redrawn from the first step on: then it is a hard mask.
    """
    return torch.where(steps_of(mask, strength, steps) >= max(1, remaining(levels, sigma)), current, original)
