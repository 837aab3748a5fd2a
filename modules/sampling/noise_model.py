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
    """Settings that alter the trained levels; a model whose levels have no such variant ignores them.

    downcast: round cumulative alphas to fp16.  zero_terminal_snr: rescale so that the last level is all noise.
    """

    downcast: bool = False
    zero_terminal_snr: bool = False


class NoiseModel(Protocol):
    """Levels and time of one network.

    Where the highest level is infinite (pure noise, t = 1 of a flow), x stands at that level for the noise itself.
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
        """How many timesteps the numbers of `sigma_to_t` count through."""
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
        """log sqrt(1 / (1 + sigma^2)) of the finite levels, rising in noise, fp64: what UniPC walks over."""
        ...

    def noised(self, x0: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """The latent at level `sigma` of `x0` (B, C, h, w) under standard normal `noise`."""
        ...

    def c_in(self, sigma: Tensor) -> Tensor:
        """(B,) -> (B, 1, 1, 1): what scales x to what the network was trained to see."""
        ...

    def time(self, sigma: Tensor) -> Tensor:
        """What the network is told of the level, (B,)."""
        ...

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """The noise-free latent that the network's `output` for x * c_in stands for."""
        ...

    def varied(self, options: NoiseOptions) -> NoiseModel:
        """The model with its levels altered by settings."""
        ...

    def lcm(self) -> NoiseModel:
        """The levels that a latent consistency model was distilled on; itself where there is no such table."""
        ...
