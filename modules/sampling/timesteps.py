"""Samplers of the DDIM family, on A1111's own grid of timesteps.

They differ from the others in one way: their x is variance-preserving, x = sqrt(ᾱ)·data + sqrt(1 - ᾱ)·noise, and
starts as pure noise. A level is still given as sigma, with ᾱ = 1 / (1 + sigma²), and `denoise` still takes
variance-exploding latents, so x is scaled on the way in, and eps = (x - denoised) / sigma on the way out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from modules.sampling.denoise import Denoise
from modules.sampling.noise_model import NoiseModel
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import DEFAULTS, Noise, SamplerOptions, Step

# Adams-Bashforth weights of the newest eps first; Liu et al. 2022 (PNDM), arXiv 2202.09778, equation 9.
ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def grid(steps: int, model: NoiseModel, options: ScheduleOptions) -> Tensor:
    """The levels of A1111's timesteps 1, 1 + 1000 // steps …, falling; (steps,), or more if steps is no divisor.

    One entry fewer than other schedules: there is no final 0, since the last timestep 1 counts as clean.
    """
    n = len(model.log_alphas())
    count = steps + options.always_discard_next_to_last_sigma
    rising = torch.arange(0, n, max(n // count, 1)) + 1  # beyond 1000 steps A1111 fails; here the grid is whole
    return model.sigmas[rising.clamp(max=n - 1)].flip(0).float()


def cut(sigmas: Tensor, t_enc: int) -> tuple[float, Tensor]:
    """(level to noise the picture to, levels of the steps) of an img2img pass with A1111's step index `t_enc`.

    A1111 noises at timesteps[t_enc] and starts one below it, so the latent is always treated as less noisy than it is.
    """
    at = len(sigmas) - 1 - t_enc
    return float(sigmas[at]), sigmas[at + 1 :]


def noised(original: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """The variance-preserving latent of a picture at a level: sqrt(ᾱ)·original + sqrt(1 - ᾱ)·noise."""
    return (original + noise * sigma) / math.sqrt(1 + sigma**2)


def ddim(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """Song et al. 2021 (arXiv 2010.02502), equations 12 and 16; eta is `eta_ddim`."""
    s = sigmas.tolist()
    for i in range(len(s) - 1):
        eps, denoised = _eps(denoise, x, s[i])
        x = _ddim_step(denoised, eps, s[i], s[i + 1], noise, options.eta_ddim)
        yield Step(i, s[i], x, denoised)


def ddim_cfgpp(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """CFG++, Chung et al. 2024 (arXiv 2406.08070), algorithm 2: noise again with the *unconditional* eps.

    Uses `options.split`, which is `denoise` with both predictions; its guidance scale is divided by the row's
    `cfg_divisor`.
    """
    assert options.split is not None, "DDIM CFG++ needs the unconditional prediction"
    s = sigmas.tolist()
    for i in range(len(s) - 1):
        exploding = x * math.sqrt(1 + s[i] ** 2)
        denoised, uncond = options.split(exploding, x.new_full((x.shape[0],), s[i]))
        assert uncond is not None, "the negative prompt was not computed"
        eps = (exploding - uncond) / s[i]
        x = _ddim_step(denoised, eps, s[i], s[i + 1], noise, options.eta_ddim)
        yield Step(i, s[i], x, denoised)


def plms(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """Pseudo linear multistep, Liu et al. 2022 (arXiv 2202.09778), with one improved Euler step to start."""
    s = sigmas.tolist()
    epses: list[Tensor] = []  # newest first
    for i in range(len(s) - 1):
        eps, denoised = _eps(denoise, x, s[i])
        epses = [eps, *epses[:3]]
        if i == 0:
            eps_next, _ = _eps(denoise, _ddim_step(denoised, eps, s[i], s[i + 1], noise, 0.0), s[i + 1])
            eps = (eps + eps_next) / 2
        else:
            weights = ADAMS_BASHFORTH[len(epses) - 1]
            eps = sum((w * e for w, e in zip(weights[1:], epses[1:], strict=True)), weights[0] * epses[0])
        denoised = x * math.sqrt(1 + s[i] ** 2) - s[i] * eps
        x = _ddim_step(denoised, eps, s[i], s[i + 1], noise, 0.0)
        yield Step(i, s[i], x, denoised)


def _eps(denoise: Denoise, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """(eps, denoised) at a variance-preserving x."""
    exploding = x * math.sqrt(1 + sigma**2)
    denoised = denoise(exploding, x.new_full((x.shape[0],), sigma))
    return (exploding - denoised) / sigma, denoised


def _ddim_step(denoised: Tensor, eps: Tensor, sigma: float, sigma_next: float, noise: Noise, eta: float) -> Tensor:
    alpha, alpha_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
    std = eta * math.sqrt((1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next))
    x = math.sqrt(alpha_next) * denoised + math.sqrt(1 - alpha_next - std**2) * eps
    return x + std * noise(sigma, sigma_next) if std else x


def unipc_levels(start: float | None, steps: int, model: NoiseModel, skip_type: str) -> Tensor:
    """UniPC's levels, (steps + 1,), falling to that of timestep 0; log ᾱ is linear between timesteps.

    start: the level that img2img starts from; None is the noisiest.
    skip_type: even in time (time_uniform), in the root of time (time_quadratic) or in log SNR (logSNR).
    """
    n = len(model.log_alphas())
    times = (torch.arange(n, dtype=torch.float64) + 1) / n
    log_alphas = model.log_alphas()
    first = 1.0 if start is None else (float(model.sigma_to_t(torch.tensor(start))) + 1) / n
    ends = torch.tensor([first, 1 / n], dtype=torch.float64)
    if skip_type == "logSNR":
        high, low = (-_sigma(_interpolate(ends, times, log_alphas)).log()).tolist()
        return torch.linspace(high, low, steps + 1, dtype=torch.float64).neg().exp().float()
    if skip_type == "time_quadratic":
        t = torch.linspace(math.sqrt(first), math.sqrt(1 / n), steps + 1, dtype=torch.float64).square()
    else:
        t = torch.linspace(first, 1 / n, steps + 1, dtype=torch.float64)
    return _sigma(_interpolate(t, times, log_alphas)).float()


def unipc(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """UniPC of data prediction, multistep; Zhao et al. 2023 (arXiv 2302.04867), algorithms 7 and 8.

    Uses `unipc_levels`. The last step has no corrector, so the model is called once per step. With fewer steps than
    the order, the order is the number of steps.
    """
    s = sigmas.tolist()
    steps = len(s) - 1
    if steps < 1:
        return
    order = min(options.uni_pc_order, steps)
    update = _vary_coefficients if options.uni_pc_variant == "vary_coeff" else _bh_update(options.uni_pc_variant)
    y = x * math.sqrt(1 + s[0] ** 2)
    history = [(s[0], denoise(y, x.new_full((x.shape[0],), s[0])))]  # (level, denoised), newest first
    for i in range(1, steps + 1):
        step_order = min(i, order, steps + 1 - i) if options.uni_pc_lower_order_final and i >= order else min(i, order)
        base, ratio_d1s, predict, correct = update(y, history, s[i], step_order)
        denoised = history[0][1]
        y = predict(base, ratio_d1s)
        if i < steps:
            denoised = denoise(y, x.new_full((x.shape[0],), s[i]))
            y = correct(base, ratio_d1s, denoised - history[0][1])
            history = [(s[i], denoised), *history[: order - 1]]
        yield Step(i - 1, s[i - 1], y / math.sqrt(1 + s[i] ** 2), denoised)


Combine = Callable[[Tensor, list[Tensor]], Tensor]
Correct = Callable[[Tensor, list[Tensor], Tensor], Tensor]
Update = Callable[[Tensor, list[tuple[float, Tensor]], float, int], tuple[Tensor, list[Tensor], Combine, Correct]]


def _bh_update(variant: str) -> Update:
    """UniPC with B(h) = h (bh1) or e^h - 1 (bh2)."""

    def update(
        y: Tensor, history: list[tuple[float, Tensor]], sigma: float, order: int
    ) -> tuple[Tensor, list[Tensor], Combine, Correct]:
        base, d1s, rks, hh = _first_order(y, history, sigma, order)
        b_h = hh if variant == "bh1" else math.expm1(hh)
        phis = _phis(hh, order + 1)
        R = np.array([[rk**i for rk in rks] for i in range(order)])
        b = np.array([phis[i + 1] * math.factorial(i + 1) / b_h for i in range(order)])
        p = [0.5] if order == 2 else np.linalg.solve(R[:-1, :-1], b[:-1]).tolist()
        c = [0.5] if order == 1 else np.linalg.solve(R, b).tolist()

        def predict(base: Tensor, d1s: list[Tensor]) -> Tensor:
            return _minus(base, d1s, [b_h * w for w in p])

        def correct(base: Tensor, d1s: list[Tensor], d1: Tensor) -> Tensor:
            return _minus(base, [*d1s, d1], [b_h * w for w in c])

        return base, d1s, predict, correct

    return update


def _vary_coefficients(
    y: Tensor, history: list[tuple[float, Tensor]], sigma: float, order: int
) -> tuple[Tensor, list[Tensor], Combine, Correct]:
    """UniPC with varying coefficients, as its authors' program has it (`vary_coeff`)."""
    base, d1s, rks, hh = _first_order(y, history, sigma, order)
    C = np.array([[rk**k / math.factorial(k + 1) for k in range(order)] for rk in rks])
    phis = _phis(hh, order + 1)
    a_p, a_c = np.linalg.inv(C[:-1, :-1]).tolist(), np.linalg.inv(C).tolist()

    def predict(base: Tensor, d1s: list[Tensor]) -> Tensor:
        return _minus(base, d1s, [sum(phis[k + 1] * a_p[k][j] for k in range(order - 1)) for j in range(order - 1)])

    def correct(base: Tensor, d1s: list[Tensor], d1: Tensor) -> Tensor:
        weights = [sum(phis[k + 1] * a_c[k][j] for k in range(order - 1)) for j in range(order - 1)]
        last_row = max(order - 2, 0)  # the authors' program takes this row for the newest difference
        return _minus(base, [*d1s, d1], [*weights, phis[order] * a_c[last_row][-1]])

    return base, d1s, predict, correct


def _first_order(
    y: Tensor, history: list[tuple[float, Tensor]], sigma: float, order: int
) -> tuple[Tensor, list[Tensor], list[float], float]:
    """(first-order step to sigma, divided differences, their distances r and 1, -h) from the newest of the history."""
    sigma_0, denoised_0 = history[0]
    h = math.log(sigma_0 / sigma)
    rks = [math.log(sigma_0 / history[i][0]) / h for i in range(1, order)]
    d1s = [(history[i][1] - denoised_0) / rk for i, rk in zip(range(1, order), rks, strict=True)]
    return (sigma / sigma_0) * y - math.expm1(-h) * denoised_0, d1s, [*rks, 1.0], -h


def _phis(hh: float, n: int) -> list[float]:
    """h·phi_1(h), h·phi_2(h) … of n entries: phi_{k+1} = (phi_k - 1/k!) / h."""
    phis = [math.expm1(hh)]
    for k in range(1, n):
        phis.append(phis[-1] / hh - 1 / math.factorial(k))
    return phis


def _minus(base: Tensor, terms: list[Tensor], weights: list[float]) -> Tensor:
    for term, weight in zip(terms, weights, strict=True):
        base = base - weight * term
    return base


def _interpolate(at: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    low = (torch.searchsorted(xs, at, right=True) - 1).clamp(0, len(xs) - 2)
    return torch.lerp(ys[low], ys[low + 1], (at - xs[low]) / (xs[low + 1] - xs[low]))


def _sigma(log_alpha: Tensor) -> Tensor:
    """sigma of log sqrt(ᾱ)."""
    return torch.expm1(-2 * log_alpha).sqrt()
