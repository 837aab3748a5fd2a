"""The noise levels a discrete-time model was trained on, and the conversion between levels and fractional timesteps."""

from __future__ import annotations

from bisect import bisect_right
from typing import Self

import numpy as np
import torch
from torch import Tensor

from modules.sampling.noise_model import WHOLE, NoiseOptions, Prediction

# ᾱ of the last timestep after rescaling, instead of exactly 0 (an infinite sigma); A1111's value.
ALMOST_ZERO_ALPHA = 4.8973451890853435e-08

FEW = 16  # up to this many numbers on a CPU, Python is faster than fifteen tensor operations

LCM_TIMESTEPS = 50  # Luo et al. 2023 distil on 50 DDIM timesteps
LCM_SIGMA_DATA = 0.5  # arXiv 2310.04378, section 4.1
LCM_TIMESTEP_SCALING = 10.0


class DiscreteNoise:
    """`NoiseModel` of a network trained on `alphas_cumprod`, (N,); sigma² = (1 - ᾱ) / ᾱ, growing with the timestep.

    Fractional timesteps interpolate linearly in log sigma, as k-diffusion's discrete schedules do. With `is_rescaled`
    the network was trained on `alphas_cumprod` rescaled by `zero_terminal_snr`.
    """

    def __init__(self, alphas_cumprod: Tensor, prediction: Prediction = "epsilon", is_rescaled: bool = False) -> None:
        self._trained = alphas_cumprod.detach().cpu()
        self.is_rescaled = is_rescaled
        self.prediction: Prediction = prediction
        self.trained_steps = 1000
        self.alphas_cumprod = rescaled(self._trained) if is_rescaled else self._trained
        self.sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
        self.log_sigmas = self.sigmas.log()
        self.sigma_min = float(self.sigmas[0])
        self.sigma_max = float(self.sigmas[-1])
        self._log_sigma_list: list[float] = self.log_sigmas.float().tolist()
        self._log_sigmas_on: dict[torch.device, Tensor] = {}  # a copy for each device in use, fp32

    @classmethod
    def scaled_linear(cls, beta_start: float = 0.00085, beta_end: float = 0.012, timesteps: int = 1000) -> Self:
        """Stable Diffusion's schedule: betas linear in their square roots."""
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64).square()
        return cls((1 - betas).cumprod(0).float())

    def varied(self, options: NoiseOptions) -> DiscreteNoise:
        """The model with A1111's settings applied: first rounded, then rescaled."""
        trained = self._trained.half() if options.downcast else self._trained
        return DiscreteNoise(trained, self.prediction, self.is_rescaled or options.zero_terminal_snr)

    def downcast(self) -> DiscreteNoise:
        """With ᾱ rounded to fp16, as in A1111 before 1.7 ("Downcast alphas_cumprod")."""
        return self.varied(NoiseOptions(downcast=True))

    def zero_terminal_snr(self) -> DiscreteNoise:
        """Rescaled so that the last timestep is all noise."""
        return self.varied(NoiseOptions(zero_terminal_snr=True))

    def lcm(self) -> LcmNoise:
        """The 50 levels of a latent consistency model."""
        return LcmNoise(self.alphas_cumprod, self.prediction)

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """The fractional timestep of each sigma, clamped to the table; any shape, any device, fp32."""
        log_sigma = sigma.log()
        if sigma.numel() <= FEW and sigma.is_cpu and sigma.dtype == torch.float32:
            return torch.tensor([self._timestep_of(value) for value in log_sigma.flatten().tolist()]).view(sigma.shape)
        logs = self._logs(sigma.device)
        low = (torch.searchsorted(logs, log_sigma.contiguous(), right=True) - 1).clamp(0, len(logs) - 2)
        w = ((logs[low] - log_sigma) / (logs[low] - logs[low + 1])).clamp(0, 1)
        return (1 - w) * low + w * (low + 1)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """sigma of each fractional timestep in 0 … N - 1."""
        t = t.float()
        low, high, w = t.floor().long(), t.ceil().long(), t.frac()
        logs = self._logs(t.device)
        return ((1 - w) * logs[low] + w * logs[high]).exp().float()

    def uniform_sigmas(self, n: int, part: slice = WHOLE) -> Tensor:
        """n levels evenly spaced in timesteps from the last to the first, and 0; (n + 1,). `part` takes some."""
        t = torch.linspace(float(self._timestep(-1)), float(self._timestep(0)), n)[part]
        return torch.cat([self.t_to_sigma(t), torch.zeros(1)])

    def log_alphas(self) -> Tensor:
        return 0.5 * self.alphas_cumprod.double().log()

    def noised(self, x0: Tensor, noise: Tensor, sigma: float) -> Tensor:
        return x0 + noise * sigma

    def c_in(self, sigma: Tensor) -> Tensor:
        """(B,) -> (B, 1, 1, 1): scales x to unit variance, 1 / sqrt(sigma² + 1)."""
        return (sigma.square() + 1).rsqrt().view(-1, 1, 1, 1)

    def time(self, sigma: Tensor) -> Tensor:
        return self.sigma_to_t(sigma)

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """The noise-free latent that a network's `output` for `x`·c_in stands for.

        epsilon: x - sigma·output; v_prediction: Salimans & Ho 2022, arXiv 2202.00512, appendix D; sample: as it is.
        """
        s = sigma.view(-1, 1, 1, 1)
        if self.prediction == "epsilon":
            return x - output * s
        if self.prediction == "sample":
            return output
        return x / (s.square() + 1) - output * s / (s.square() + 1).sqrt()

    def _timestep_of(self, log_sigma: float) -> float:
        """`sigma_to_t` of one number, each operation rounded to fp32 in the same way."""
        low = min(max(bisect_right(self._log_sigma_list, log_sigma) - 1, 0), len(self._log_sigma_list) - 2)
        near, far = np.float32(self._log_sigma_list[low]), np.float32(self._log_sigma_list[low + 1])
        w = min(max((near - np.float32(log_sigma)) / (near - far), np.float32(0)), np.float32(1))
        return float((1 - w) * np.float32(low) + w * np.float32(low + 1))

    def _logs(self, device: torch.device) -> Tensor:
        if device not in self._log_sigmas_on:
            self._log_sigmas_on[device] = self.log_sigmas.to(device, torch.float32)
        return self._log_sigmas_on[device]

    def _timestep(self, i: int) -> Tensor:
        return self.sigma_to_t(self.sigmas[i].float())


def rescaled(alphas_cumprod: Tensor) -> Tensor:
    """ᾱ with a last timestep that is all noise (Lin et al. 2023, arXiv 2305.08891, algorithm 1)."""
    root = alphas_cumprod.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    alphas = ((root - last) * (first / (first - last))).square()
    alphas[-1] = ALMOST_ZERO_ALPHA
    return alphas


class LcmNoise(DiscreteNoise):
    """Every twentieth level of a model, and the boundary condition of latent consistency models.

    Luo et al. 2023, arXiv 2310.04378, section 4.1. Timesteps keep the numbering of the whole model (19, 39 … 999).
    """

    def __init__(self, alphas_cumprod: Tensor, prediction: Prediction = "epsilon") -> None:
        self.skip = len(alphas_cumprod) // LCM_TIMESTEPS
        super().__init__(alphas_cumprod[self.skip - 1 :: self.skip], prediction)

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """The nearest timestep of the 50, in log sigma."""
        logs = self._logs(sigma.device)
        nearest = (sigma.log().unsqueeze(-1) - logs).abs().argmin(-1)
        return nearest * self.skip + (self.skip - 1)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        return super().t_to_sigma(((t.float() - (self.skip - 1)) / self.skip).clamp(0, len(self.sigmas) - 1))

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        s = self.sigma_to_t(sigma).view(-1, 1, 1, 1) * LCM_TIMESTEP_SCALING
        c_skip = LCM_SIGMA_DATA**2 / (s.square() + LCM_SIGMA_DATA**2)
        c_out = s / (s.square() + LCM_SIGMA_DATA**2).sqrt()
        return c_out * super().denoised(x, sigma, output) + c_skip * x
