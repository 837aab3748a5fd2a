"""Evaluations without enough memory for all rows at once."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from modules.networks.conditioning import Conditioning, Extra, Residuals
from modules.networks.device import CPU, Placement
from modules.processing.denoise.row_by_row import Predictor


class Model:
    """Adds up everything a row receives; at most `most` rows fit."""

    place = Placement(CPU, torch.float32, torch.float32, torch.float32)

    def __init__(self, most: int, error: Exception) -> None:
        self.most = most
        self.error = error
        self.asked: list[int] = []

    def predict(self, x: Tensor, sigma: Tensor, cond: Conditioning, extra: Extra) -> Tensor:
        self.asked.append(len(cond))
        if len(cond) > self.most:
            raise self.error
        rows = len(cond)

        def spread(tensor: Tensor) -> Tensor:
            return tensor.repeat(rows // len(tensor), 1, 1, 1)

        assert extra.concat is not None
        assert extra.residuals is not None
        assert extra.residuals.middle is not None
        told = spread(x) * spread(sigma[:, None, None, None]) + cond.tokens.sum((1, 2))[:, None, None, None]
        told = told + spread(extra.concat) + sum(map(spread, (*extra.residuals.down, extra.residuals.middle)))
        return told


X, SIGMA = torch.randn(2, 1, 2, 2), torch.tensor([1.0, 3.0])
COND = Conditioning(torch.randn(4, 3, 5))  # prompts of two pictures, then their negative prompts
EXTRA = Extra(
    concat=torch.randn(1, 1, 2, 2),
    residuals=Residuals((torch.randn(2, 1, 2, 2),), torch.randn(1, 1, 2, 2)),
    token_merging=0.3,
)


def predicted(model: Model, predictor: Predictor | None = None) -> Tensor:
    asked: Any = model
    return (predictor or Predictor())(asked, X, SIGMA, COND, EXTRA)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory"), MemoryError()]
)
def test_without_memory_for_all_rows_each_is_asked_for(error: Exception) -> None:
    whole, short, predictor = Model(4, error), Model(1, error), Predictor()
    expected = predicted(whole)
    torch.testing.assert_close(predicted(short, predictor), expected)
    torch.testing.assert_close(predicted(short, predictor), expected)
    assert (whole.asked, short.asked) == ([4], [4] + [1] * 8)  # all rows at once are not tried again


@pytest.mark.parametrize("error", [RuntimeError("a kernel failed"), ValueError("no")])
def test_other_failures_are_raised(error: Exception) -> None:
    model = Model(1, error)
    with pytest.raises(type(error)):
        predicted(model)
    assert model.asked == [4]


def test_a_row_without_memory_is_a_failure() -> None:
    model = Model(0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        predicted(model)
    assert model.asked == [4, 1]


def test_masks_and_tokens_go_with_their_rows() -> None:
    seen: list[Extra] = []

    class Noting(Model):
        def predict(self, x: Tensor, sigma: Tensor, cond: Conditioning, extra: Extra) -> Tensor:
            if len(cond) == 1:
                seen.append(extra)
            return super().predict(x, sigma, cond, extra)

    extra = replace(EXTRA, tokens=torch.arange(4.0).view(4, 1, 1), attention_mask=torch.ones(1, 3))
    asked: Any = Noting(1, MemoryError())
    Predictor()(asked, X, SIGMA, COND, extra)
    assert [each.tokens.tolist() if each.tokens is not None else None for each in seen] == [
        [[[0.0]]], [[[1.0]]], [[[2.0]]], [[[3.0]]]
    ]  # fmt: skip
    assert all(each.attention_mask is not None and each.token_merging == 0.3 for each in seen)
