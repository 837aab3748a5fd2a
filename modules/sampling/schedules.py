"""Schedules: n steps of a model become n + 1 falling noise levels, in the letters of their sources.

Each is a function (n, model, options) -> sigmas, (n + 1,) fp32 on the CPU, ending with 0 unless its docstring says
otherwise. Values are A1111 v1.10's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.sampling.discrete import ModelSchedule

# Sabour et al. 2024, arXiv 2404.14507, "Align Your Steps": the published 10-step levels.
AYS_SD1 = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
AYS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)

OLD_KARRAS_RANGE = (0.1, 10.0)  # A1111 before December 2022


@dataclass(frozen=True)
class ScheduleOptions:
    """A1111's settings of the same names; 0 is "the model's" or "the schedule's own".

    sigma_min, sigma_max: ends of the range.  rho: bend of Karras and Polyexponential.
    use_old_karras_scheduler_sigmas: range 0.1 to 10 instead of the model's.
    always_discard_next_to_last_sigma: for every sampler, not only those whose row asks for it.
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

    def range(self, model: ModelSchedule) -> tuple[float, float]:
        """(sigma_min, sigma_max) to span."""
        base = OLD_KARRAS_RANGE if self.use_old_karras_scheduler_sigmas else (model.sigma_min, model.sigma_max)
        return self.sigma_min or base[0], self.sigma_max or base[1]


Schedule = Callable[[int, ModelSchedule, ScheduleOptions], Tensor]


def uniform(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """Evenly spaced timesteps of the model; its range options do not apply."""
    return model.uniform_sigmas(n)


def karras(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """Evenly spaced in sigma^(1/rho); Karras et al. 2022, arXiv 2206.00364, equation 5."""
    sigma_min, sigma_max = options.range(model)
    return karras_levels(n, sigma_min, sigma_max, options.rho or 7.0)


def karras_levels(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """The curve of `karras` between any two levels."""
    ramp = torch.linspace(0, 1, n)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _with_zero((high + ramp * (low - high)) ** rho)


def exponential(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """Evenly spaced in log sigma."""
    sigma_min, sigma_max = options.range(model)
    return _with_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), n).exp())


def polyexponential(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """A power rho of an even ramp, in log sigma; at rho 1 it is `exponential`."""
    sigma_min, sigma_max = options.range(model)
    ramp = torch.linspace(1, 0, n) ** (options.rho or 1.0)
    return _with_zero((ramp * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min)).exp())


def sgm_uniform(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """n + 1 even timesteps without the last, so that the step to 0 is as long as the others (Stability's sgm)."""
    return _with_zero(model.t_to_sigma(torch.linspace(*_timesteps(model, options), n + 1)[:-1]))


def kl_optimal(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """Evenly spaced in arctan sigma; Sabour et al. 2024, arXiv 2404.14507, equation 11. Ends at sigma_min, not 0."""
    sigma_min, sigma_max = options.range(model)
    ramp = torch.arange(n + 1) / n
    return (ramp * math.atan(sigma_min) + (1 - ramp) * math.atan(sigma_max)).tan()


def align_your_steps(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """Optimised levels, interpolated in log sigma; Sabour et al. 2024, arXiv 2404.14507. Has no other range."""
    table = torch.tensor(AYS_SDXL if options.is_sdxl else AYS_SD1, dtype=torch.float64).log().flip(0)
    at = torch.linspace(0, len(table) - 1, n, dtype=torch.float64)
    low = at.floor().long().clamp(max=len(table) - 2)
    return _with_zero(torch.lerp(table[low], table[low + 1], at - low).exp().flip(0).float())


def simple(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """Every (N / n)th level of the model's table, counted from the top (ComfyUI's "simple")."""
    stride = len(model.sigmas) / n
    return _with_zero(model.sigmas[[-1 - int(i * stride) for i in range(n)]].float())


def normal(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """Evenly spaced timesteps of the range; with the model's own range the list of `uniform`."""
    return _with_zero(model.t_to_sigma(torch.linspace(*_timesteps(model, options), n)))


def ddim(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """Every (N // n)th level from the second up, as DDIM walks them.

    Starts below sigma_max, and has more than n + 1 entries where n does not divide N.
    """
    stride = max(len(model.sigmas) // n, 1)
    return _with_zero(model.sigmas[1::stride].flip(0).float())


def beta(n: int, model: ModelSchedule, options: ScheduleOptions) -> Tensor:
    """Quantiles of a Beta distribution, taken linearly in sigma as A1111 does.

    Lee et al. 2024, arXiv 2407.12173, take them in timesteps; so do other programs, with other pictures.
    """
    sigma_min, sigma_max = options.range(model)
    ramp = torch.linspace(1, 0, n, dtype=torch.float64).tolist()
    quantiles = [beta_quantile(p, options.beta_dist_alpha, options.beta_dist_beta) for p in ramp]
    return _with_zero(torch.tensor([sigma_min + q * (sigma_max - sigma_min) for q in quantiles]))


def beta_quantile(p: float, a: float, b: float) -> float:
    """x in 0 … 1 with I_x(a, b) = p, by bisection; a, b > 0."""
    if p <= 0 or p >= 1:
        return min(max(p, 0.0), 1.0)
    low, high = 0.0, 1.0
    for _ in range(100):
        x = (low + high) / 2
        if x in (low, high):
            break
        low, high = (x, high) if _beta_cdf(x, a, b) < p else (low, x)
    return (low + high) / 2


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b) by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only below this
        return 1 - _beta_cdf(1 - x, b, a)
    fraction, c, d = 1.0, 1.0, 0.0  # modified Lentz
    for i in range(300):
        m = i // 2
        if i == 0:
            numerator = 1.0
        elif i % 2 == 0:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / ((1 + numerator * d) or 1e-300)
        c = (1 + numerator / c) or 1e-300
        fraction *= c * d
        if abs(1 - c * d) < 1e-15:
            break
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    return front / a * (fraction - 1)


def without_next_to_last(sigmas: Tensor) -> Tensor:
    """The list without the entry before its last (ask for one step more first)."""
    return torch.cat([sigmas[:-2], sigmas[-1:]])


def _timesteps(model: ModelSchedule, options: ScheduleOptions) -> tuple[float, float]:
    sigma_min, sigma_max = options.range(model)
    return float(model.sigma_to_t(torch.tensor(sigma_max))), float(model.sigma_to_t(torch.tensor(sigma_min)))


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
