"""The noise model of flow matching, and the first step of a run that starts from pure noise.

A flow's path is x_t = (1 - t)·x0 + t·noise (Lipman et al. 2022, arXiv 2210.02747; Liu et al. 2022, arXiv 2209.03003).
Divided by 1 - t it is x0 + sigma·noise with sigma = t / (1 - t), the variance-exploding path, so every sampler over
noise levels works for it. At t = 1 the level is infinite; there x is the noise itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from modules.sampling.denoise import Denoise
from modules.sampling.noise_model import WHOLE, NoiseOptions, Prediction
from modules.sampling.step import Noise, Sampler, SamplerOptions, Step

TIMESTEPS = 1000  # into which flow families divide t


class FlowNoise:
    """`NoiseModel` of a flow: the levels of t = 1/1000 … 1, moved towards noise by `shift`.

    shift: t' = s·t / (1 + (s - 1)·t) (Esser et al. 2024, arXiv 2403.03206, equation 23); 1 has no effect. The network
    gets t' * time_scale. Timesteps are numbered 0 … 999 as in discrete models.
    """

    def __init__(self, shift: float = 1.0, time_scale: float = 1.0) -> None:
        assert shift > 0
        self.shift = shift
        self.time_scale = time_scale
        self.prediction: Prediction = "flow"
        self.trained_steps = TIMESTEPS
        self.sigmas = self.t_to_sigma(torch.arange(TIMESTEPS))
        self.sigma_min = float(self.sigmas[0])
        self.sigma_max = float(self.sigmas[-2])

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        moved = _moment(sigma.double())
        t = moved / (self.shift - (self.shift - 1) * moved)
        return (t * TIMESTEPS - 1).clamp(0, TIMESTEPS - 1).float()

    def t_to_sigma(self, t: Tensor) -> Tensor:
        t = (t.double() + 1) / TIMESTEPS
        moved = self.shift * t / (1 + (self.shift - 1) * t)
        return torch.where(t < 1, moved / (1 - moved), math.inf).float()

    def uniform_sigmas(self, n: int, part: slice = WHOLE) -> Tensor:
        return torch.cat([self.t_to_sigma(torch.linspace(TIMESTEPS - 1, 0, n)[part]), torch.zeros(1)])

    def log_alphas(self) -> Tensor:
        return -0.5 * torch.log1p(self.sigmas[:-1].double().square())

    def noised(self, x0: Tensor, noise: Tensor, sigma: float) -> Tensor:
        return noise if math.isinf(sigma) else x0 + noise * sigma

    def c_in(self, sigma: Tensor) -> Tensor:
        """1 - t, so that the network sees x_t; 1 at the infinite level."""
        return torch.where(sigma.isinf(), 1.0, 1 / (1 + sigma)).view(-1, 1, 1, 1)

    def time(self, sigma: Tensor) -> Tensor:
        return _moment(sigma) * self.time_scale

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """x_t - t·v, since the output is v = noise - x0."""
        return x * self.c_in(sigma) - output * _moment(sigma).view(-1, 1, 1, 1)

    def varied(self, options: NoiseOptions) -> FlowNoise:
        return self

    def lcm(self) -> FlowNoise:
        return self


class EmpiricalFlow(FlowNoise):
    """A flow whose shift grows with the picture and shrinks with the steps, as measured for FLUX.2.

    The shift is exp(mu); mu is linear in the number of tokens, with one line for 10 steps and one for 200, and linear
    between them in the number of steps. Above 4300 tokens the line for 200 steps holds. (The numbers are those of the
    published inference code.)
    """

    def varied(self, options: NoiseOptions) -> FlowNoise:
        if not options.tokens or not options.steps:
            return self
        return FlowNoise(math.exp(empirical_mu(options.tokens, options.steps)), self.time_scale)


def empirical_mu(tokens: int, steps: int) -> float:
    """The logarithm of FLUX.2's shift.

    >>> round(empirical_mu(4096, 4), 4), round(empirical_mu(8192, 4), 4)
    (2.2908, 1.8433)
    """
    many = 1.6927e-4 * tokens + 0.45666666
    if tokens > 4300:
        return many
    few = 8.73809524e-05 * tokens + 1.89833333
    return few + (many - few) * (steps - 10) / 190


def _moment(sigma: Tensor) -> Tensor:
    """t in 0 … 1 of a level."""
    return torch.where(sigma.isinf(), 1.0, sigma / (1 + sigma))


def from_pure_noise(
    sampler: Sampler, denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, options: SamplerOptions
) -> Iterator[Step]:
    """The steps of `sampler` over `sigmas`, whose first level may be infinite.

    From there one step has a closed form: the flow's Euler step from t = 1 leads to x0 + sigma·noise of the next level,
    where x0 is predicted from the noise alone.
    """
    if not len(sigmas) or not math.isinf(float(sigmas[0])):
        yield from sampler(denoise, x, sigmas, noise, options)
        return
    level, sigma_next = float(sigmas[0]), float(sigmas[1])
    denoised = denoise(x, x.new_full((len(x),), level))
    x = denoised + x * sigma_next
    yield Step(0, level, x, denoised)
    if options.sigma_range is not None:
        options = replace(options, sigma_range=(options.sigma_range[0], sigma_next))
    if options.evaluations is not None:
        options = replace(options, evaluations=options.evaluations - 1)
    for step in sampler(denoise, x, sigmas[1:], noise, options):
        yield replace(step, i=step.i + 1)
