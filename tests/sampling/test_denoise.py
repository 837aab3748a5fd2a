"""Guidance and masks as functions of tensors."""

import pytest
import torch
from torch import Tensor

from modules.sampling.denoise import guided, joined, masked, masked_input, split


def test_guidance_of_one_prompt_each_is_the_plain_formula() -> None:
    uncond, cond = torch.rand(2, 4, 3, 3), torch.rand(2, 4, 3, 3)
    result = guided(uncond, cond, [[(0, 1.0)], [(1, 1.0)]], 7.5)
    torch.testing.assert_close(result, uncond + 7.5 * (cond - uncond))


def test_a_composition_adds_its_weighted_parts() -> None:
    uncond, conds = torch.rand(2, 1, 2, 2), torch.rand(3, 1, 2, 2)
    result = guided(uncond, conds, [[(0, 1.2), (1, -0.2)], [(2, 0.5)]], 3.0)
    first = uncond[0] + 3.6 * (conds[0] - uncond[0]) - 0.6 * (conds[1] - uncond[0])
    second = uncond[1] + 1.5 * (conds[2] - uncond[1])
    torch.testing.assert_close(result, torch.stack([first, second]))


def test_guidance_leaves_its_inputs_alone() -> None:
    uncond, conds = torch.zeros(1, 1, 1, 1), torch.ones(2, 1, 1, 1)
    guided(uncond, conds, [[(0, 1.0), (1, 1.0)]], 2.0)
    assert (float(uncond), conds.flatten().tolist()) == (0.0, [1.0, 1.0])


def halved(x: Tensor, sigma: Tensor) -> Tensor:
    return x / 2


def test_outside_the_mask_the_prediction_is_the_original() -> None:
    mask = torch.tensor([[1.0, 0.0, 0.5]])
    denoise = joined(masked(split(halved), torch.full((1, 1, 1, 3), 9.0), mask))
    assert denoise(torch.full((1, 1, 1, 3), 4.0), torch.ones(1)).flatten().tolist() == [2.0, 9.0, 5.5]


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_a_masked_input_shows_the_model_the_original_and_charges_the_noise_to_x(sigma: float) -> None:
    seen: list[Tensor] = []
    original, x, level = torch.full((1, 1, 1, 2), 2.0), torch.full((1, 1, 1, 2), 7.0), torch.tensor([sigma])

    def constant_noise(x: Tensor, s: Tensor) -> Tensor:
        seen.append(x)
        return x - s * 0.25

    result = masked_input(split(constant_noise), original, torch.tensor([1.0, 0.0]))(x, level).x0
    assert seen[0].flatten().tolist() == pytest.approx([7.0, 2.0 * (1 + sigma**2) ** 0.5])
    assert ((x - result) / sigma).flatten().tolist() == pytest.approx([0.25, 0.25])
