"""The noise model of a network: its noise levels, its notion of time, and what its output means.

Samplers and schedules work on variance-exploding latents, x = x0 + sigma * noise. A noise model converts between these
and what a network was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
"""What a network's output is: the noise, the velocity of a diffusion, the picture, or the velocity noise - x0."""

WHOLE = slice(None)


@dataclass(frozen=True)
class NoiseOptions:
    """What may change the trained levels; models without such a variant ignore it.

    downcast: round cumulative alphas to fp16.  zero_terminal_snr: rescale so that the last level is all noise.
    tokens, steps: of the network per picture, and of the whole schedule; 0 if unknown.
    """

    downcast: bool = False
    zero_terminal_snr: bool = False
    tokens: int = 0
    steps: int = 0


class NoiseModel(Protocol):
    """Levels and time of one network.

    If the highest level is infinite (pure noise, t = 1 of a flow), x at that level is the noise itself.
    """

    @property
    def prediction(self) -> Prediction: ...

    @property
    def sigmas(self) -> Tensor:
        """The trained levels, rising, (N,) on the CPU; the last one may be infinite."""
        ...

    @property
    def sigma_min(self) -> float: ...

    @property
    def sigma_max(self) -> float:
        """The highest finite level."""
        ...

    @property
    def trained_steps(self) -> int:
        """The number of timesteps; `sigma_to_t` returns 0 up to this minus 1."""
        ...

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """The fractional timestep of each level, any shape, fp32."""
        ...

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """The level of each fractional timestep."""
        ...

    def uniform_sigmas(self, n: int, part: slice = WHOLE) -> Tensor:
        """n levels evenly spaced in time from the highest to the lowest, and 0; (n + 1,). `part` takes some."""
        ...

    def log_alphas(self) -> Tensor:
        """log sqrt(1 / (1 + sigma^2)) of the finite levels, rising in noise, fp64, for UniPC."""
        ...

    def noised(self, x0: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """The latent at level `sigma` of `x0` (B, C, h, w) under standard normal `noise`."""
        ...

    def c_in(self, sigma: Tensor) -> Tensor:
        """(B,) -> (B, 1, 1, 1): the factor that scales x to the network's input."""
        ...

    def time(self, sigma: Tensor) -> Tensor:
        """The network's time input for each level, (B,)."""
        ...

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """The noise-free latent for the network's `output` at x * c_in."""
        ...

    def varied(self, options: NoiseOptions) -> NoiseModel:
        """The model with its levels changed by settings."""
        ...

    def lcm(self) -> NoiseModel:
        """The levels that a latent consistency model was distilled on; itself where there is no such table."""
        ...
