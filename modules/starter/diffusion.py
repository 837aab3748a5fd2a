"""Noise of Stable Diffusion 1 and a small sampler for the sheets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

STEPS: Final = 1000


def alphas_cumprod() -> torch.Tensor:
    """(1000,) float32; "scaled linear" betas from 0.00085 to 0.012."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def karras_sigmas(steps: int, alphas: torch.Tensor, rho: float = 7.0) -> torch.Tensor:
    """(steps + 1,), ending in zero (Karras et al. 2022, arXiv 2206.00364, equation 5)."""
    table = ((1 - alphas) / alphas).sqrt()
    ramp = torch.linspace(0, 1, steps)
    low, high = table[0] ** (1 / rho), table[-1] ** (1 / rho)
    return torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1)])


def timestep(sigma: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
    """The fractional step whose noise is `sigma`, by interpolation of log sigma."""
    logs = ((1 - alphas) / alphas).sqrt().log()
    above = torch.searchsorted(logs, sigma.log()).clamp(1, STEPS - 1)
    low, high = logs[above - 1], logs[above]
    return above - 1 + ((sigma.log() - low) / (high - low)).clamp(0, 1)


@torch.no_grad()
def dpmpp_2m(
    eps: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    sigmas: torch.Tensor,
    alphas: torch.Tensor,
) -> torch.Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2) in terms of sigma.

    `x` is (n, 4, h, w) with deviation `sigmas[0]`; `eps(scaled x, step)` is the predicted noise.
    """
    previous: torch.Tensor | None = None
    for i in range(len(sigmas) - 1):
        sigma, following = sigmas[i], sigmas[i + 1]
        scaled = x / (sigma**2 + 1).sqrt()
        denoised = x - sigma * eps(scaled, timestep(sigma, alphas))
        if following == 0:
            return denoised
        h = (sigma / following).log()
        direction = denoised
        if previous is not None:
            r = (sigmas[i - 1] / sigma).log() / h
            direction = denoised + (denoised - previous) / (2 * r)
        x = following / sigma * x - torch.expm1(-h) * direction
        previous = denoised
    return x
