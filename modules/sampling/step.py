"""What a sampler takes and yields."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from modules.sampling.denoise import Denoise, SplitDenoise

Noise = Callable[[float, float], Tensor]
"""(sigma, sigma_next) -> (B, C, h, w) of unit variance: the step noise from sigma down to sigma_next.

Per-image generators ignore the two levels; Brownian trees return the increment between them.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One step done.

    i: number of the step, from 0.  sigma: the noise level it started from.
    x: the latent it ended with, (B, C, h, w); the last step's x is the sampler's result.
    denoised: the noise-free latent as predicted at the start of the step, for previews and for interrupted jobs.
    """

    i: int
    sigma: float
    x: Tensor
    denoised: Tensor


@dataclass(frozen=True)
class SamplerOptions:
    """A sampler's options; its row in `modules.schema.sampler_names` lists those it reads.

    eta: share of fresh noise, 1 fully ancestral, 0 deterministic; eta_ddim: the same for the DDIM family.
    s_churn, s_tmin, s_tmax, s_noise: Karras et al. 2022, algorithm 2 (s_tmax 0: no upper end).
    uni_pc_*: variant bh1, bh2 or vary_coeff; skip type time_uniform, time_quadratic or logSNR; order 1 to 50.
    sigma_range: (lowest, highest) level of DPM fast and DPM adaptive; None takes the ends of sigmas.
    evaluations: model calls of DPM fast; None takes len(sigmas) - 1.
    split: `denoise` with the unconditional prediction beside the guided one, where a row says `needs_uncond`.
    """

    eta: float = 1.0
    eta_ddim: float = 0.0
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = 0.0
    s_noise: float = 1.0
    uni_pc_variant: str = "bh1"
    uni_pc_skip_type: str = "time_uniform"
    uni_pc_order: int = 3
    uni_pc_lower_order_final: bool = True
    sigma_range: tuple[float, float] | None = None
    evaluations: int | None = None
    split: SplitDenoise | None = None

    def gamma(self, sigma: float, steps: int) -> float:
        """Karras et al. 2022, algorithm 2, line 4: the fraction by which `sigma` is raised before a step."""
        inside = self.s_tmin <= sigma <= (self.s_tmax or math.inf)
        return min(self.s_churn / steps, math.sqrt(2) - 1) if inside else 0.0


DEFAULTS = SamplerOptions()

Sampler = Callable[[Denoise, Tensor, Tensor, Noise, SamplerOptions], Iterator[Step]]
"""(denoise, x, sigmas, noise, options) -> steps.

x: (B, C, h, w) fp32 at level sigmas[0]; sigmas: (n + 1,) falling, on the CPU. A sampler is a generator; to interrupt
it, stop iterating. If the list is too short for a step it yields nothing, and x itself is the result.
"""
