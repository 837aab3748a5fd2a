"""Numbers in weights: every bit pattern is classified as finite or not, and converted as torch converts it."""

import itertools

import pytest
import torch
from torch import Tensor

from modules.networks.device import CPU
from modules.networks.numbers import all_finite, converted

HALF = (torch.float16, torch.bfloat16)
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
WHOLE = {torch.float64: torch.int64, torch.float32: torch.int32, **dict.fromkeys(HALF, torch.int16)}
TYPES = (torch.float32, *HALF, *FP8)


def every_pattern(dtype: torch.dtype) -> Tensor:
    """All numbers of a type of 8 or 16 bits; for fp32, those whose lower bits round in every way."""
    if dtype == torch.float32:
        upper = torch.arange(-(2**15), 2**15, dtype=torch.int32)[:, None] << 16
        return (upper + torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])).int().view(dtype).flatten()
    if dtype in FP8:
        return torch.arange(-128, 128).to(torch.int8).view(dtype)
    return torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)


@pytest.mark.parametrize("dtype", [*HALF, *FP8])
def test_every_pattern_of_a_small_type_is_told_finite_or_not(dtype: torch.dtype) -> None:
    numbers = every_pattern(dtype)
    is_finite = torch.isfinite(numbers.float())
    assert all_finite(numbers[is_finite])
    assert not [number for number in numbers[~is_finite] if all_finite(number[None])]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_large_types_are_told_at_their_ends(dtype: torch.dtype) -> None:
    ends = torch.finfo(dtype)
    inside = [0.0, -0.0, ends.max, ends.min, ends.smallest_normal, -1.0]
    assert all_finite(torch.tensor(inside, dtype=dtype))
    for bad in (float("nan"), float("inf"), -float("inf")):
        assert not all_finite(torch.tensor([bad], dtype=dtype))
    negative_nan = torch.tensor([-1], dtype=WHOLE[dtype]).view(dtype)
    assert not all_finite(negative_nan)


@pytest.mark.parametrize("place", [0, 2**18 - 1, 2**18, 600_000])
def test_one_bad_number_among_many_is_found(place: int) -> None:
    numbers = torch.ones(600_001, dtype=torch.float16)
    assert all_finite(numbers)
    numbers[place] = -float("inf")
    assert not all_finite(numbers)


def test_a_tensor_without_numbers_and_one_that_is_turned() -> None:
    assert all_finite(torch.empty(0, 4, dtype=torch.float16))
    assert not all_finite(torch.tensor([[1.0, float("nan")]]).T)


@pytest.mark.parametrize(("source", "target"), [*itertools.product(TYPES, TYPES)])
def test_conversion_equals_torchs_to_the_bit(source: torch.dtype, target: torch.dtype) -> None:
    numbers = every_pattern(source)
    finite = numbers[torch.isfinite(numbers.float())]
    many = finite.repeat(-(-(2**17) // len(finite)))[: 2**17].reshape(2**8, -1)
    ours, theirs = converted(many, CPU, target), many.to(target)
    assert ours.dtype == target
    assert torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))


@pytest.mark.parametrize("target", [torch.float32, *HALF])
@pytest.mark.parametrize("shape", [(70, 40, 3, 3), (300, 256, 1, 1), (2, 20_000, 3, 3), (1, 4, 200, 100)])
def test_convolutions_have_their_channels_last(shape: tuple[int, ...], target: torch.dtype) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)).half()
    ours = converted(weight, CPU, target, torch.channels_last)
    theirs = weight.to(target, memory_format=torch.channels_last)
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()


def test_what_needs_no_conversion_is_not_copied() -> None:
    weight = torch.zeros(300, 300)
    assert converted(weight, CPU, torch.float32) is weight
