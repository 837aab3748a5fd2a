"""Noise levels and timesteps of a discrete-time model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from modules.sampling.discrete import FEW, DiscreteNoise
from modules.sampling.noise_model import Prediction

RECORDED = Path(__file__).parents[1] / "parity" / "data" / "sampling.npz"
MODEL = DiscreteNoise.scaled_linear()


@pytest.mark.parity
def test_levels_and_timesteps_are_a1111s() -> None:
    with np.load(RECORDED) as recorded:
        assert torch.equal(MODEL.alphas_cumprod, torch.from_numpy(recorded["alphas_cumprod"]))
        assert torch.equal(MODEL.sigmas, torch.from_numpy(recorded["model_sigmas"]))
        t = MODEL.sigma_to_t(torch.from_numpy(recorded["sigma_to_t_in"]))
        np.testing.assert_allclose(t.numpy(), recorded["sigma_to_t_out"], atol=1e-4)


def test_a_level_survives_the_way_to_its_timestep_and_back() -> None:
    t = torch.tensor([0.0, 0.5, 123.25, 998.9, 999.0])
    assert torch.allclose(MODEL.sigma_to_t(MODEL.t_to_sigma(t)), t, atol=2e-3)


def test_levels_beyond_the_table_take_its_ends() -> None:
    assert MODEL.sigma_to_t(torch.tensor([1e-3, 1e3])).tolist() == [0.0, 999.0]


def test_sigma_to_t_keeps_the_shape() -> None:
    assert MODEL.sigma_to_t(torch.ones(2, 3)).shape == (2, 3)


def test_zero_terminal_snr_ends_in_noise_and_keeps_the_first_level() -> None:
    model = MODEL.zero_terminal_snr()
    assert model.sigma_max == pytest.approx(4518.76, rel=1e-4)
    assert model.sigma_min == pytest.approx(MODEL.sigma_min, rel=1e-4)


def test_downcast_is_the_table_in_fp16() -> None:
    assert MODEL.downcast().uniform_sigmas(6).tolist() == pytest.approx(
        [14.609041, 5.0923247, 2.28099, 1.1628559, 0.5707853, 0.03127789, 0.0], rel=1e-5
    )


def test_lcm_knows_every_twentieth_level() -> None:
    lcm = MODEL.lcm()
    assert torch.equal(lcm.sigmas, MODEL.sigmas[19::20])
    assert lcm.sigma_to_t(torch.tensor([0.01, 14.6])).tolist() == [19, 999]
    assert lcm.t_to_sigma(torch.tensor([19.0, 999.0])).tolist() == pytest.approx([float(lcm.sigmas[0]), lcm.sigma_max])


@pytest.mark.parametrize("sigma", [0.03, 1.0, 14.6])
def test_all_kinds_of_prediction_lead_to_the_same_picture(sigma: float) -> None:
    torch.manual_seed(0)
    x0, eps = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    level = torch.full((2,), sigma)
    x = x0 + sigma * eps
    v = (eps - sigma * x0) * float(MODEL.c_in(level)[0])  # alpha·eps - sigma_vp·x0
    kinds: tuple[tuple[torch.Tensor, Prediction], ...] = ((eps, "epsilon"), (v, "v_prediction"), (x0, "sample"))
    for output, kind in kinds:
        model = DiscreteNoise(MODEL.alphas_cumprod, kind)
        torch.testing.assert_close(model.denoised(x, level, output), x0, rtol=1e-4, atol=1e-4)


def test_lcms_boundary_condition_mixes_in_little_of_x() -> None:
    lcm, level = MODEL.lcm(), torch.tensor([14.6])
    x, output = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    assert float(lcm.denoised(x, level, output)) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("model", [MODEL, MODEL.downcast(), MODEL.zero_terminal_snr()], ids=["", "fp16", "zero SNR"])
def test_a_few_timesteps_are_those_of_many_to_the_last_bit(model: DiscreteNoise) -> None:
    sigmas = torch.logspace(-2, 4, 16 * FEW)
    few = torch.cat([model.sigma_to_t(part) for part in sigmas.split(FEW)])
    assert torch.equal(few, model.sigma_to_t(sigmas))
