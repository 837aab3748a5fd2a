"""Samplers against diffusers' schedulers, where both are the same method on the same grid.

DPM2 and DPM2 a are not among them: A1111 leaves out the last level but one of theirs. UniPC and LCM choose other
levels, and the other solvers of DPM-Solver++ are not in diffusers in k-diffusion's form.
"""

import math
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
)
from torch import Tensor

from modules.sampling.discrete import DiscreteNoise
from modules.sampling.registry import levels, resolve, whole_range
from modules.sampling.schedules import ScheduleOptions
from modules.sampling.step import SamplerOptions

pytestmark = [
    pytest.mark.parity,
    # diffusers 0.42 converts torch 2.13's tensors to arrays, whose __array__ has no `copy` yet
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

STEPS = 20
MODEL = DiscreteNoise.scaled_linear()
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
LINSPACE = {"timestep_spacing": "linspace"}
KARRAS = {**LINSPACE, "use_karras_sigmas": True}
SOLVER = {**KARRAS, "solver_order": 2, "final_sigmas_type": "zero"}
LEADING = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    """Exact for data of two narrow modes at +1 and -1: strongly curved, so that differences grow."""
    variance, noise = 0.2**2, sigma.square().view(-1, 1, 1, 1)
    return (variance * x + noise * torch.tanh(x / (noise + variance))) / (variance + noise)


def ours(name: str, schedule: str, noise: Tensor) -> Tensor:
    rows = resolve(name, schedule)
    whole = levels(*rows, STEPS, MODEL, ScheduleOptions())
    walk = whole_range(rows[0], whole, STEPS, MODEL, SamplerOptions())
    x = noise if rows[0].row.timesteps else noise * walk.sigma
    *_, step = rows[0].function(denoise, x, walk.sigmas, lambda a, b: torch.zeros_like(noise), walk.options)
    return step.x


def theirs(scheduler: Any, noise: Tensor, calls_left_out: int = 0) -> Tensor:
    scheduler.set_timesteps(STEPS)
    x = noise * scheduler.init_noise_sigma
    if isinstance(
        scheduler, DPMSolverMultistepScheduler
    ):  # ours starts with noise alone, theirs with its first level's
        x = noise * scheduler.sigmas[0] / math.sqrt(1 + float(scheduler.sigmas[0]) ** 2)
    timesteps = scheduler.timesteps[: len(scheduler.timesteps) - calls_left_out]
    for t in timesteps:
        scaled = scheduler.scale_model_input(x, t)
        if isinstance(scheduler, DPMSolverMultistepScheduler):
            sigma = scheduler.sigmas[scheduler.step_index or 0].float()
            exploding = x * math.sqrt(1 + float(sigma) ** 2)
        elif hasattr(scheduler, "sigmas"):
            sigma = scheduler.sigmas[scheduler.step_index].float()
            exploding = x
        else:
            alpha = scheduler.alphas_cumprod[t]
            sigma = ((1 - alpha) / alpha).sqrt()
            exploding = scaled * math.sqrt(1 + float(sigma) ** 2)
        eps = (exploding - denoise(exploding, sigma.view(1))) / sigma
        x = scheduler.step(eps, t, x, return_dict=False)[0]
    return x


@pytest.fixture(autouse=True)
def no_step_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their schedulers draw noise themselves; without it, only a stochastic scheduler's arithmetic remains."""
    for module in (
        "scheduling_dpmsolver_multistep",
        "scheduling_euler_ancestral_discrete",
    ):
        name = f"diffusers.schedulers.{module}.randn_tensor"
        monkeypatch.setattr(name, lambda shape, **_: torch.zeros(shape))


@pytest.mark.parametrize(
    ("name", "schedule", "kind", "config", "calls_left_out", "tolerance"),
    [
        ("Euler", "Uniform", EulerDiscreteScheduler, LINSPACE, 0, 1e-4),
        ("Euler", "Karras", EulerDiscreteScheduler, {**LINSPACE, "use_karras_sigmas": True}, 0, 1e-4),
        ("Euler", "Exponential", EulerDiscreteScheduler, {**LINSPACE, "use_exponential_sigmas": True}, 0, 1e-4),
        ("Heun", "Uniform", HeunDiscreteScheduler, LINSPACE, 0, 1e-3),
        ("LMS", "Uniform", LMSDiscreteScheduler, LINSPACE, 0, 1e-3),
        ("Euler a", "Uniform", EulerAncestralDiscreteScheduler, LINSPACE, 0, 1e-4),
        ("DPM++ 2M", "Karras", DPMSolverMultistepScheduler, SOLVER, 0, 1e-3),
        (
            "DPM++ 2M SDE",
            "Karras",
            DPMSolverMultistepScheduler,
            {**SOLVER, "algorithm_type": "sde-dpmsolver++"},
            0,
            1e-3,
        ),
        # A1111 omits the last call of these two, at timestep 1
        ("DDIM", "Automatic", DDIMScheduler, {**LEADING, "clip_sample": False}, 1, 1e-4),
        ("PLMS", "Automatic", PNDMScheduler, {**LEADING, "skip_prk_steps": True}, 1, 1e-4),
    ],
)
def test_the_result_is_the_same(
    name: str, schedule: str, kind: Any, config: dict[str, Any], calls_left_out: int, tolerance: float
) -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler = kind(**BETAS, **config)
    difference = (ours(name, schedule, noise) - theirs(scheduler, noise, calls_left_out)).abs().max()
    assert float(difference) < tolerance
