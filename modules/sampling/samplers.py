"""The k-diffusion samplers: generators over noise levels sigma, in the letters of their papers.

`modules.sampling.step` describes the signature, the shapes and `Step`. Noise levels and all coefficients are Python
numbers, so that a step does not wait for the device; latents stay in fp32 on theirs. Values are those of A1111 v1.10
(k-diffusion ab527a9a).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from modules.sampling.denoise import Denoise
from modules.sampling.schedules import karras_levels
from modules.sampling.step import DEFAULTS, Noise, SamplerOptions, Step

LMS_ORDER = 4


def euler(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """Karras et al. 2022 (arXiv 2206.00364), algorithm 2 without its second-order correction."""
    s = _levels(sigmas)
    for i in range(len(s) - 1):
        x, sigma_hat = _churned(x, s, i, noise, options)
        denoised = denoise(x, _full(x, sigma_hat))
        d = (x - denoised) / sigma_hat
        x = x + d * (s[i + 1] - sigma_hat)
        yield Step(i, s[i], x, denoised)


def euler_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """An Euler step to sigma_down, then fresh noise back up to the next level (k-diffusion, Crowson 2022)."""
    s = _levels(sigmas)
    for i in range(len(s) - 1):
        denoised = denoise(x, _full(x, s[i]))
        sigma_down, sigma_up = ancestral_step(s[i], s[i + 1], options.eta)
        d = (x - denoised) / s[i]
        x = x + d * (sigma_down - s[i])
        if sigma_up:
            x = x + noise(s[i], s[i + 1]) * sigma_up
        yield Step(i, s[i], x, denoised)


def heun(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """Karras et al. 2022 (arXiv 2206.00364), algorithm 2."""
    s = _levels(sigmas)
    for i in range(len(s) - 1):
        x, sigma_hat = _churned(x, s, i, noise, options)
        x, denoised = _heun_step(denoise, x, sigma_hat, s[i + 1])
        yield Step(i, s[i], x, denoised)


def dpm2(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """Midpoint steps in log sigma, with the churn of Karras et al. 2022; DPM-Solver-2 (Lu et al. 2022, 2206.00927)."""
    s = _levels(sigmas)
    for i in range(len(s) - 1):
        x, sigma_hat = _churned(x, s, i, noise, options)
        x, denoised = _midpoint_step(denoise, x, sigma_hat, s[i + 1])
        yield Step(i, s[i], x, denoised)


def dpm2_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """`dpm2` to sigma_down, then fresh noise back up to the next level."""
    s = _levels(sigmas)
    for i in range(len(s) - 1):
        sigma_down, sigma_up = ancestral_step(s[i], s[i + 1], options.eta)
        x, denoised = _midpoint_step(denoise, x, s[i], sigma_down)
        if sigma_up and sigma_down:
            x = x + noise(s[i], s[i + 1]) * (options.s_noise * sigma_up)
        yield Step(i, s[i], x, denoised)


def lms(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """Linear multistep of order 4 (Adams-Bashforth on uneven levels; k-diffusion, Crowson 2022)."""
    s = _levels(sigmas)
    ds: list[Tensor] = []  # newest first
    for i in range(len(s) - 1):
        denoised = denoise(x, _full(x, s[i]))
        ds = [(x - denoised) / s[i], *ds[: LMS_ORDER - 1]]
        for d, coefficient in zip(ds, multistep_coefficients(s, i, len(ds)), strict=True):
            x = x + d * coefficient
        yield Step(i, s[i], x, denoised)


def dpmpp_2s_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """DPM-Solver++(2S), Lu et al. 2022 (arXiv 2211.01095), algorithm 1, in ancestral steps; r = 1/2."""
    s = _levels(sigmas)
    for i in range(len(s) - 1):
        denoised = denoise(x, _full(x, s[i]))
        sigma_down, sigma_up = ancestral_step(s[i], s[i + 1], options.eta)
        if sigma_down == 0:
            x = x + (x - denoised) / s[i] * (sigma_down - s[i])
        else:
            h = math.log(s[i] / sigma_down)
            sigma_mid = math.exp(math.log(s[i]) - h / 2)
            u = (sigma_mid / s[i]) * x - math.expm1(-h / 2) * denoised
            x = (sigma_down / s[i]) * x - math.expm1(-h) * denoise(u, _full(x, sigma_mid))
        if sigma_up:
            x = x + noise(s[i], s[i + 1]) * (options.s_noise * sigma_up)
        yield Step(i, s[i], x, denoised)


def dpmpp_2m(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """DPM-Solver++(2M), Lu et al. 2022 (arXiv 2211.01095), algorithm 2."""
    s = _levels(sigmas)
    h_last, old_denoised = 0.0, x
    for i in range(len(s) - 1):
        denoised = denoise(x, _full(x, s[i]))
        if s[i + 1] == 0:
            x = denoised
        else:
            h = math.log(s[i] / s[i + 1])
            d = denoised if i == 0 else torch.lerp(old_denoised, denoised, 1 + h / (2 * h_last))
            x = (s[i + 1] / s[i]) * x - math.expm1(-h) * d
            h_last = h
        old_denoised = denoised
        yield Step(i, s[i], x, denoised)


def dpmpp_sde(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """DPM-Solver++ of two stages for the SDE (k-diffusion, Crowson 2022, after arXiv 2211.01095); r = 1/2.

    Its levels pass through fp32 logarithms as in k-diffusion: the Brownian tree distinguishes levels 1e-6 apart.
    """
    s = _levels(sigmas)
    t = sigmas.detach().cpu().float().log().neg()
    mid = t[:-1] + (t[1:] - t[:-1]) * 0.5
    around, middle = _levels(t.neg().exp()), _levels(mid.neg().exp())
    for i in range(len(s) - 1):
        denoised = denoise(x, _full(x, s[i]))
        if s[i + 1] == 0:
            x = denoised
        else:
            a, b, c = around[i], middle[i], around[i + 1]
            down, up = ancestral_step(a, b, options.eta)
            u = (down / a) * x - (down / a - 1) * denoised
            if up:
                u = u + noise(a, b) * (options.s_noise * up)
            denoised_2 = denoise(u, _full(x, b))
            down, up = ancestral_step(a, c, options.eta)
            x = (down / a) * x - (down / a - 1) * denoised_2  # at r = 1/2 the first prediction has weight 0
            if up:
                x = x + noise(a, c) * (options.s_noise * up)
        yield Step(i, s[i], x, denoised)


def dpmpp_2m_sde(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M), Lu et al. 2022 (arXiv 2211.01095), section 5, midpoint form."""
    return _dpmpp_2m_sde(denoise, x, sigmas, noise, options, "midpoint")


def dpmpp_2m_sde_heun(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M), Lu et al. 2022 (arXiv 2211.01095), section 5, Heun form."""
    return _dpmpp_2m_sde(denoise, x, sigmas, noise, options, "heun")


def dpmpp_3m_sde(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """DPM-Solver++(3M) for the SDE (k-diffusion, Crowson 2023, after Lu et al. 2022, arXiv 2211.01095)."""
    s = _levels(sigmas)
    eta = options.eta
    previous: list[tuple[float, Tensor]] = []  # (h, denoised) of the last two steps, newest first
    for i in range(len(s) - 1):
        denoised = denoise(x, _full(x, s[i]))
        if s[i + 1] == 0:
            x = denoised
        else:
            h = math.log(s[i] / s[i + 1])
            h_eta = h * (eta + 1)
            x = math.exp(-h_eta) * x - math.expm1(-h_eta) * denoised
            phi_2 = math.expm1(-h_eta) / h_eta + 1
            if len(previous) == 2:
                (h_1, denoised_1), (h_2, denoised_2) = previous
                r0, r1 = h_1 / h, h_2 / h
                d1_0 = (denoised - denoised_1) / r0
                d1_1 = (denoised_1 - denoised_2) / r1
                d1 = d1_0 + (d1_0 - d1_1) * (r0 / (r0 + r1))
                d2 = (d1_0 - d1_1) / (r0 + r1)
                phi_3 = phi_2 / h_eta - 0.5
                x = x + phi_2 * d1 - phi_3 * d2
            elif previous:
                h_1, denoised_1 = previous[0]
                x = x + (denoised - denoised_1) * (phi_2 * h / h_1)
            if eta:
                x = x + noise(s[i], s[i + 1]) * (s[i + 1] * math.sqrt(-math.expm1(-2 * h * eta)) * options.s_noise)
            previous = [(h, denoised), *previous[:1]]
        yield Step(i, s[i], x, denoised)


def dpm_fast(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """DPM-Solver-fast, Lu et al. 2022 (arXiv 2206.00927), appendix D.3: third-order steps, the rest lower, ancestral.

    Even in log sigma between the ends of the list (the next to last, as 0 has no logarithm).
    """
    s = _levels(sigmas)
    nfe = options.evaluations or len(s) - 1
    low, high = _sigma_bounds(s, options)
    if nfe < 1 or not high > low:
        return
    m = nfe // 3 + 1
    orders = [3] * (m - 2) + [2, 1] if nfe % 3 == 0 else [3] * (m - 1) + [nfe % 3]
    start, end = _log_levels(x, high, low)
    t = torch.linspace(start.item(), end.item(), m + 1, dtype=start.dtype)
    for i, order in enumerate(orders):
        t_down, sigma_up = _ancestral_before(t[i], t[i + 1], end, options.eta)
        sigma, sigma_next = _sigma(t[i]), _sigma(t[i + 1])
        eps, denoised = _eps(denoise, x, sigma)
        if order == 1:
            x = _first_order(x, eps, t[i], t_down)
        elif order == 2:
            x, _ = _second_order(denoise, x, eps, t[i], t_down, 1 / 2)
        else:
            x = _third_order(denoise, x, eps, t[i], t_down, None)
        if sigma_up:
            x = x + noise(sigma, sigma_next) * (options.s_noise * sigma_up)
        yield Step(i, sigma, x, denoised)


# Step size control of DPM-Solver-12/23: relative and absolute tolerance, first step in log sigma, acceptance.
ADAPTIVE_RTOL = 0.05
ADAPTIVE_ATOL = 0.0078
ADAPTIVE_FIRST_H = 0.05
ADAPTIVE_ACCEPT = 0.81
ADAPTIVE_ORDER = 3


def dpm_adaptive(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """DPM-Solver-23 with step size control, Lu et al. 2022 (arXiv 2206.00927), appendix C; ancestral.

    Goes from the first level of the list to the next to last in as many steps as it needs; a rejected step is a Step
    too, with x unchanged. The error is taken over the whole batch, as in k-diffusion, so here, and only here, a batch
    differs from its singles.
    """
    s = _levels(sigmas)
    low, high = _sigma_bounds(s, options)
    if not high > low:
        return
    t, end = _log_levels(x, high, low)
    h = ADAPTIVE_FIRST_H
    order = 1.5 if options.eta else ADAPTIVE_ORDER
    x_prev = x
    i = 0
    while t < end - 1e-5:
        t_next = torch.minimum(end, t + h)
        t_down, sigma_up = _ancestral_before(t, t_next, end, options.eta)
        sigma, sigma_next = _sigma(t), _sigma(t_next)
        eps, denoised = _eps(denoise, x, sigma)
        x_low, eps_1 = _second_order(denoise, x, eps, t, t_down, 1 / 3)
        x_high = _third_order(denoise, x, eps, t, t_down, eps_1)
        delta = torch.maximum(x_low.abs(), x_prev.abs()).mul_(ADAPTIVE_RTOL).clamp_(min=ADAPTIVE_ATOL)
        error = float(torch.linalg.vector_norm((x_low - x_high).div_(delta)) / x.numel() ** 0.5)
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / order) - 1)
        if factor >= ADAPTIVE_ACCEPT:
            x_prev = x_low
            x = x_high + noise(sigma, sigma_next) * sigma_up if sigma_up else x_high
            t = t_next
        h *= factor
        yield Step(i, sigma, x, denoised)
        i += 1


def restart(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """Restart sampling, Xu et al. 2023 (arXiv 2306.14878), algorithm 1, over Heun steps with A1111's intervals.

    From 20 steps on it goes back up from sigma 0.1 to 2 once, from 36 on twice, with steps taken from the first run.
    """
    last = None
    for i, (sigma, sigma_next) in enumerate(restart_steps(sigmas)):
        if last is not None and last < sigma:
            x = x + noise(last, sigma) * math.sqrt(sigma**2 - last**2)
        x, denoised = _heun_step(denoise, x, sigma, sigma_next)
        last = sigma_next
        yield Step(i, sigma, x, denoised)


RESTART_LOW, RESTART_HIGH = 0.1, 2.0


def restart_steps(sigmas: Tensor) -> list[tuple[float, float]]:
    """The (level, next level) pairs of `restart`; a level above the previous next level is a jump back up."""
    steps = len(sigmas) - 1
    if steps < 20:
        s = _levels(sigmas)
        return list(itertools.pairwise(s))
    length, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    s = _levels(karras_levels(steps - length * times, float(sigmas[-2]), float(sigmas[0])))
    pairs = list(itertools.pairwise(s))
    low = min(range(len(s)), key=lambda i: abs(s[i] - RESTART_LOW))
    high = min(range(len(s)), key=lambda i: abs(s[i] - RESTART_HIGH))
    if not 0 < high < low:
        return pairs
    again = list(itertools.pairwise(_levels(karras_levels(length + 1, s[low], s[high]))[:-1]))
    return pairs[:low] + again * times + pairs[low:]


def lcm(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions = DEFAULTS
) -> Iterator[Step]:
    """Multistep consistency sampling, Luo et al. 2023 (arXiv 2310.04378), algorithm 3: predict, noise again."""
    s = _levels(sigmas)
    for i in range(len(s) - 1):
        denoised = denoise(x, _full(x, s[i]))
        x = denoised + s[i + 1] * noise(s[i], s[i + 1]) if s[i + 1] > 0 else denoised
        yield Step(i, s[i], x, denoised)


def ancestral_step(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """(sigma_down, sigma_up): the level to step down to, and the noise to add there to reach sigma_next."""
    if not eta:
        return sigma_next, 0.0
    variance = sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2
    sigma_up = min(sigma_next, eta * math.sqrt(max(variance, 0.0)))
    return math.sqrt(sigma_next**2 - sigma_up**2), sigma_up


def multistep_coefficients(s: list[float], i: int, order: int) -> list[float]:
    """Integrals from s[i] to s[i + 1] of the Lagrange polynomials over s[i], s[i - 1] … (`order` of them).

    Exact: polynomials of degree 3 by Gauss-Legendre quadrature of two points.
    """
    half, middle = (s[i + 1] - s[i]) / 2, (s[i + 1] + s[i]) / 2
    nodes = [s[i - j] for j in range(order)]
    return [
        half * sum(_lagrange(nodes, j, middle + sign * half / math.sqrt(3)) for sign in (-1, 1)) for j in range(order)
    ]


def _lagrange(nodes: list[float], j: int, at: float) -> float:
    return math.prod((at - node) / (nodes[j] - node) for k, node in enumerate(nodes) if k != j)


def _dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise: Noise,
    options: SamplerOptions,
    solver: Literal["midpoint", "heun"],
) -> Iterator[Step]:
    s = _levels(sigmas)
    eta = options.eta
    h_last, old_denoised = 0.0, x
    for i in range(len(s) - 1):
        denoised = denoise(x, _full(x, s[i]))
        if s[i + 1] == 0:
            x = denoised
        else:
            h = math.log(s[i] / s[i + 1])
            h_eta = h * (eta + 1)
            x = (s[i + 1] / s[i] * math.exp(-eta * h)) * x - math.expm1(-h_eta) * denoised
            if i > 0:
                r = h_last / h
                weight = math.expm1(-h_eta) / h_eta + 1 if solver == "heun" else -math.expm1(-h_eta) / 2
                x = x + (denoised - old_denoised) * (weight / r)
            if eta:
                x = x + noise(s[i], s[i + 1]) * (s[i + 1] * math.sqrt(-math.expm1(-2 * eta * h)) * options.s_noise)
            h_last = h
        old_denoised = denoised
        yield Step(i, s[i], x, denoised)


def _churned(x: Tensor, s: list[float], i: int, noise: Noise, options: SamplerOptions) -> tuple[Tensor, float]:
    """(x, sigma_hat): Karras et al. 2022, algorithm 2, lines 4 to 6.

    With churn on, noise is drawn outside s_tmin … s_tmax too and discarded, so that the levels inside get the same
    numbers as in A1111.
    """
    if not options.s_churn:
        return x, s[i]
    sigma_hat = s[i] * (1 + options.gamma(s[i], len(s) - 1))
    eps = noise(s[i], sigma_hat)
    return x + eps * (options.s_noise * math.sqrt(sigma_hat**2 - s[i] ** 2)), sigma_hat


def _heun_step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor]:
    denoised = denoise(x, _full(x, sigma))
    d = (x - denoised) / sigma
    dt = sigma_next - sigma
    if sigma_next == 0:
        return x + d * dt, denoised
    x_2 = x + d * dt
    d_2 = (x_2 - denoise(x_2, _full(x, sigma_next))) / sigma_next
    return x + (d + d_2) * (dt / 2), denoised


def _midpoint_step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor]:
    denoised = denoise(x, _full(x, sigma))
    d = (x - denoised) / sigma
    if sigma_next == 0:
        return x + d * (sigma_next - sigma), denoised
    sigma_mid = math.sqrt(sigma * sigma_next)
    x_2 = x + d * (sigma_mid - sigma)
    d_2 = (x_2 - denoise(x_2, _full(x, sigma_mid))) / sigma_mid
    return x + d_2 * (sigma_next - sigma), denoised


def _sigma_bounds(s: list[float], options: SamplerOptions) -> tuple[float, float]:
    """(lowest, highest) level of DPM fast and DPM adaptive."""
    return options.sigma_range or (s[-2] if len(s) > 1 else s[-1], s[0])


def _log_levels(x: Tensor, *levels: float) -> list[Tensor]:
    """-log sigma of each level: numbers on the CPU, of x's precision.

    DPM fast and DPM adaptive compute with these as k-diffusion does, each operation rounded to fp32: where the error
    decides the next step, a difference in the last bit would change all later steps.
    """
    return [torch.tensor(level, dtype=x.dtype).log().neg() for level in levels]


def _sigma(t: Tensor) -> float:
    return t.neg().exp().item()


def _ancestral_before(t: Tensor, t_next: Tensor, end: Tensor, eta: float) -> tuple[Tensor, float]:
    """(t_down, sigma_up): `ancestral_step` in -log sigma, with t_down no later than the end of the range."""
    if not eta:
        return t_next, 0.0
    sigma, sigma_next = t.neg().exp(), t_next.neg().exp()
    up = torch.minimum(sigma_next, eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5)
    t_down = torch.minimum(end, (sigma_next**2 - up**2).sqrt().log().neg())
    return t_down, (sigma_next**2 - t_down.neg().exp() ** 2).clamp(min=0).sqrt().item()


def _eps(denoise: Denoise, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    denoised = denoise(x, _full(x, sigma))
    return (x - denoised) / sigma, denoised


def _first_order(x: Tensor, eps: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """DPM-Solver-1, Lu et al. 2022 (arXiv 2206.00927), equation 3.7."""
    return x - eps * (t_next.neg().exp() * (t_next - t).expm1()).item()


def _second_order(
    denoise: Denoise, x: Tensor, eps: Tensor, t: Tensor, t_next: Tensor, r1: float
) -> tuple[Tensor, Tensor]:
    """(x, eps at the middle); DPM-Solver-2, arXiv 2206.00927, algorithm 4."""
    h = t_next - t
    middle = (t + r1 * h).neg().exp()
    eps_1, _ = _eps(denoise, x - eps * (middle * (r1 * h).expm1()).item(), middle.item())
    bend = t_next.neg().exp() / (2 * r1) * h.expm1()
    return _first_order(x, eps, t, t_next).sub_((eps_1 - eps).mul_(bend.item())), eps_1


def _third_order(denoise: Denoise, x: Tensor, eps: Tensor, t: Tensor, t_next: Tensor, eps_1: Tensor | None) -> Tensor:
    """DPM-Solver-3, arXiv 2206.00927, algorithm 5, r1 = 1/3, r2 = 2/3; eps_1 is eps at r1 if known."""
    r1, r2 = 1 / 3, 2 / 3
    h = t_next - t
    first, second = (t + r1 * h).neg().exp(), (t + r2 * h).neg().exp()
    if eps_1 is None:
        eps_1, _ = _eps(denoise, x - eps * (first * (r1 * h).expm1()).item(), first.item())
    bend = second * (r2 / r1) * ((r2 * h).expm1() / (r2 * h) - 1)
    u = (x - eps * (second * (r2 * h).expm1()).item()).sub_((eps_1 - eps).mul_(bend.item()))
    eps_2, _ = _eps(denoise, u, second.item())
    bend = t_next.neg().exp() / r2 * (h.expm1() / h - 1)
    return _first_order(x, eps, t, t_next).sub_((eps_2 - eps).mul_(bend.item()))


def _levels(sigmas: Tensor) -> list[float]:
    return sigmas.detach().cpu().tolist()


def _full(x: Tensor, sigma: float) -> Tensor:
    """(B,): one level for every image of the batch."""
    return x.new_full((x.shape[0],), sigma)
