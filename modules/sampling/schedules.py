"""Schedules: n steps of a model become n + 1 falling noise levels, in the letters of their sources.

Each is a function (n, model, options, part) -> sigmas, (n + 1,) fp32 on the CPU, ending with 0 unless its docstring
says otherwise. Values are those of A1111 v1.10. `part` selects some of the n levels, and the 0 after them: a pass that
runs the end of a very long schedule costs only what it runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from modules.sampling.noise_model import WHOLE, NoiseModel

# Sabour et al. 2024, arXiv 2404.14507, "Align Your Steps": the published levels for 10 steps.
AYS_SD1 = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
AYS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)

OLD_KARRAS_RANGE = (0.1, 10.0)  # A1111 before December 2022

MOST_HALVINGS = 100  # of an interval of quantiles; 60 reach the last bit

VECTOR = 64  # numbers, a multiple of what any CPU's vector instructions take at once
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScheduleOptions:
    """A1111's settings of the same names; 0 is "the model's" or "the schedule's own".

    sigma_min, sigma_max: ends of the range.  rho: of Karras and Polyexponential.
    use_old_karras_scheduler_sigmas: range 0.1 to 10 instead of the model's.
    always_discard_next_to_last_sigma: for every sampler, not only those whose row sets it.
    beta_dist_alpha, beta_dist_beta: the Beta distribution's parameters.  is_sdxl: picks the table of Align Your Steps.
    """

    sigma_min: float = 0.0
    sigma_max: float = 0.0
    rho: float = 0.0
    use_old_karras_scheduler_sigmas: bool = False
    always_discard_next_to_last_sigma: bool = False
    beta_dist_alpha: float = 0.6
    beta_dist_beta: float = 0.6
    is_sdxl: bool = False

    def range(self, model: NoiseModel) -> tuple[float, float]:
        """(sigma_min, sigma_max) of the schedule."""
        base = OLD_KARRAS_RANGE if self.use_old_karras_scheduler_sigmas else (model.sigma_min, model.sigma_max)
        return self.sigma_min or base[0], self.sigma_max or base[1]


class Schedule(Protocol):
    """The type of all schedules."""

    def __call__(self, n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor: ...


def uniform(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """Evenly spaced timesteps of the model; its range options do not apply."""
    return model.uniform_sigmas(n, part)


def karras(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """Evenly spaced in sigma^(1/rho); Karras et al. 2022, arXiv 2206.00364, equation 5."""
    sigma_min, sigma_max = options.range(model)
    return karras_levels(n, sigma_min, sigma_max, options.rho or 7.0, part)


def karras_levels(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0, part: slice = WHOLE) -> Tensor:
    """The curve of `karras` between any two levels."""
    ramp = torch.linspace(0, 1, n)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _with_zero(_powers(high + ramp * (low - high), rho, part))


def exponential(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """Evenly spaced in log sigma."""
    sigma_min, sigma_max = options.range(model)
    return _with_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), n)[part].exp())


def polyexponential(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """A power rho of an even ramp, in log sigma; at rho 1 it is `exponential`."""
    sigma_min, sigma_max = options.range(model)
    ramp = _powers(torch.linspace(1, 0, n), options.rho or 1.0, part)
    return _with_zero((ramp * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min)).exp())


def sgm_uniform(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """n + 1 even timesteps without the last, so that the step to 0 is as long as the others (Stability's sgm)."""
    return _with_zero(model.t_to_sigma(torch.linspace(*_timesteps(model, options), n + 1)[:-1][part]))


def kl_optimal(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """Evenly spaced in arctan sigma; Sabour et al. 2024, arXiv 2404.14507, equation 11. Ends at sigma_min, not 0."""
    sigma_min, sigma_max = options.range(model)
    ramp = torch.arange(n + 1)[part] / n
    return (ramp * math.atan(sigma_min) + (1 - ramp) * math.atan(sigma_max)).tan()


def align_your_steps(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """Optimized levels, interpolated in log sigma; Sabour et al. 2024, arXiv 2404.14507. Has no other range."""
    table = torch.tensor(AYS_SDXL if options.is_sdxl else AYS_SD1, dtype=torch.float64).log().flip(0)
    at = torch.linspace(0, len(table) - 1, n, dtype=torch.float64).flip(0)[part]
    low = at.floor().long().clamp(max=len(table) - 2)
    return _with_zero(torch.lerp(table[low], table[low + 1], at - low).exp().float())


def simple(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """Every (N / n)th level of the model's table, counted from the top (ComfyUI's "simple")."""
    stride = len(model.sigmas) / n
    return _with_zero(model.sigmas[[-1 - int(i * stride) for i in range(n)[part]]].float())


def normal(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """Evenly spaced timesteps of the range; with the model's own range the list of `uniform`."""
    return _with_zero(model.t_to_sigma(torch.linspace(*_timesteps(model, options), n)[part]))


def ddim(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """Every (N // n)th level from the second up, as in DDIM.

    Starts below sigma_max, and has more than n + 1 entries if n does not divide N. If n is larger than N, `part`
    counts as if the missing levels were at the top.
    """
    stride = max(len(model.sigmas) // n, 1)
    levels = model.sigmas[1::stride].flip(0).float()
    missing = n - len(levels) if n > len(model.sigmas) else 0
    return _with_zero(levels[max(0, (part.start or 0) - missing) : part.stop])


def beta(n: int, model: NoiseModel, options: ScheduleOptions, part: slice = WHOLE) -> Tensor:
    """Quantiles of a Beta distribution, taken linearly in sigma as A1111 does.

    Lee et al. 2024, arXiv 2407.12173, take them in timesteps; so do other programs, with other pictures.
    """
    sigma_min, sigma_max = options.range(model)
    ramp = torch.linspace(1, 0, n, dtype=torch.float64)[part].numpy()
    quantiles = beta_quantile(ramp, options.beta_dist_alpha, options.beta_dist_beta)
    return _with_zero(torch.from_numpy(sigma_min + quantiles * (sigma_max - sigma_min)).float())


def beta_quantile(p: ArrayLike, a: float, b: float) -> Floats:
    """x in 0 … 1 with I_x(a, b) = p, for each of `p` in 0 … 1, by bisection; a, b > 0."""
    p = np.asarray(p, np.float64)
    low, high = np.zeros_like(p), np.ones_like(p)
    for _ in range(MOST_HALVINGS):
        x = (low + high) / 2
        if np.all((x == low) | (x == high)):
            break
        is_below = _beta_cdf(x, a, b) < p
        low, high = np.where(is_below, x, low), np.where(is_below, high, x)
    return np.where((p <= 0) | (p >= 1), p, (low + high) / 2)


def _beta_cdf(x: Floats, a: float, b: float) -> Floats:
    """Regularized incomplete beta function I_x(a, b) of `x` (n,) in 0 … 1."""
    is_mirrored = x > (a + 1) / (a + b + 2)  # the fraction converges fast only below this
    lower = np.where(is_mirrored, 0.0, x)
    upper = np.where(is_mirrored, 1 - x, 0.0)
    return np.where(is_mirrored, 1 - _beta_fraction(upper, b, a), _beta_fraction(lower, a, b))


def _beta_fraction(x: Floats, a: float, b: float) -> Floats:
    """I_x(a, b) of `x` (n,), 0 … (a + 1) / (a + b + 2), by its continued fraction (DLMF 8.17.22)."""
    fraction, c, d = np.ones_like(x), np.ones_like(x), np.zeros_like(x)  # modified Lentz
    for i in range(300):
        m = i // 2
        if i == 0:
            numerator = np.ones_like(x)
        elif i % 2 == 0:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _not_zero(1 + numerator * d)
        c = _not_zero(1 + numerator / c)
        fraction = fraction * (c * d)
        if np.all(np.abs(1 - c * d) < 1e-15):
            break
    with np.errstate(divide="ignore"):  # of 0 the logarithm is -inf, and the function 0
        logarithm = a * np.log(x) + b * np.log1p(-x)
    front = np.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + logarithm)
    return front / a * (fraction - 1)


def _not_zero(x: Floats) -> Floats:
    return np.where(x == 0, 1e-300, x)


def without_next_to_last(sigmas: Tensor) -> Tensor:
    """The list without its next to last entry (compute one more step first)."""
    return torch.cat([sigmas[:-2], sigmas[-1:]])


def _timesteps(model: NoiseModel, options: ScheduleOptions) -> tuple[float, float]:
    sigma_min, sigma_max = options.range(model)
    return float(model.sigma_to_t(torch.tensor(sigma_max))), float(model.sigma_to_t(torch.tensor(sigma_min)))


def _powers(x: Tensor, exponent: float, part: slice) -> Tensor:
    """(x ** exponent)[part] of `x` (n,), to the last bit.

    torch computes powers in vectors, and a remainder one by one with another rounding, so only whole vectors are used.
    """
    start, stop, _ = part.indices(len(x))
    begin = start // VECTOR * VECTOR
    return (x[begin : -(-stop // VECTOR) * VECTOR] ** exponent)[start - begin : stop - begin]


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
