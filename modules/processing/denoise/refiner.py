"""The refiner: another checkpoint takes over in the middle of a pass."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from modules.networks.model import Model
from modules.processing.denoise.guidance import GuidanceOptions, Guided
from modules.sampling.denoise import Split
from modules.sampling.noise_model import NoiseModel


@dataclass(frozen=True)
class Refiner:
    """Another checkpoint that takes over at the fraction `at` of the pass; None is at once.

    by_steps: a fraction of the evaluations; else of the model's timesteps, from the noisiest down. `take` loads it and
    returns its denoiser; its argument is the number of evaluations so far.
    """

    at: float | None
    by_steps: bool
    take: Callable[[int], Guided]

    def is_due(self, share_of_calls: float, noise: NoiseModel, sigma: Tensor, levels_are_timesteps: bool) -> bool:
        """Whether it takes over before an evaluation at `sigma` (B,)."""
        if self.at is None:
            return True
        if self.by_steps:
            return share_of_calls >= self.at
        highest = sigma.max().cpu()
        if levels_are_timesteps:  # whole numbers except for rounding on the way through sigma
            timestep = int(float(noise.sigma_to_t(highest)) + 1e-3)
        elif highest.isinf():
            timestep = noise.trained_steps - 1
        else:
            timestep = int((noise.sigmas - highest).abs().argmin())
        return (noise.trained_steps - 1 - timestep) / noise.trained_steps >= self.at


class HandedOver:
    """`SplitDenoise`: a guided model until `refiner` is due, then the refiner's."""

    def __init__(self, first: Guided, refiner: Refiner | None, options: GuidanceOptions) -> None:
        self._current = first
        self._refiner = refiner
        self._options = options
        self._noted: set[str] = set()
        self.is_refined = False

    def __call__(self, x: Tensor, sigma: Tensor) -> Split:
        refiner, calls = self._refiner, self._current.calls
        if refiner is not None:
            noise, options = self._current.model.noise, self._options
            if refiner.is_due(calls / options.calls, noise, sigma, options.levels_are_timesteps):
                self._refiner, self.is_refined = None, True
                self._noted |= self._current.noted
                del self._current, noise  # two checkpoints may not fit into memory
                self._current = refiner.take(calls)
        return self._current(x, sigma)

    @property
    def model(self) -> Model:
        """The model in use now."""
        return self._current.model

    @property
    def noted(self) -> set[str]:
        """The settings that had an effect."""
        return self._noted | self._current.noted
