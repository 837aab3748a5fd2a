"""Our Brownian paths against torchsde's, number by number."""

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
import torch
import torchsde
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modules.sampling.brownian import POOL_SIZE, REMEMBERED, BrownianPath, Seeds

SHAPE = (4, 4, 4)
LOW, HIGH = 0.0291675, 14.6146  # not rounded to six digits
WORDS = st.integers(0, 2**32 - 1)


def draw(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def torchsdes(entropy: int) -> torchsde.BrownianInterval:
    """The tree as k-diffusion uses it."""
    return torchsde.BrownianInterval(
        LOW, HIGH, size=SHAPE, dtype=torch.float32, entropy=entropy, tol=1e-6, pool_size=POOL_SIZE, halfway_tree=True
    )


def falling(entropy: int) -> Iterator[tuple[float, float]]:
    """(start, end) of the steps of a run, and of the midpoints between."""
    levels = np.geomspace(HIGH - 1e-3, LOW + 1e-3, 9 + entropy % 5).tolist()
    for high, low in pairwise(levels):
        yield (high * low) ** 0.5, high
        yield low, high


@pytest.mark.parametrize("entropy", [0, 1, 4294967295, 1099511627781, 2**63 - 2])
def test_increments_are_torchsdes_to_the_last_bit(entropy: int) -> None:
    path, tree = BrownianPath(LOW, HIGH, entropy, draw), torchsdes(entropy)
    for start, end in falling(entropy):
        assert torch.equal(path(start, end), cast(Tensor, tree(start, end))), (start, end)


def test_whatever_is_asked_and_when_the_path_is_the_same() -> None:
    requested = list(falling(3))
    forth, back = BrownianPath(LOW, HIGH, 3, draw), BrownianPath(LOW, HIGH, 3, draw)
    increments = [forth(*ends) for ends in requested]
    assert len(forth._remembered) <= REMEMBERED  # pyright: ignore[reportPrivateUsage]
    for ends, increment in reversed(list(zip(requested, increments, strict=True))):
        assert torch.equal(back(*ends), increment)


def test_ends_that_round_to_one_level_have_no_noise_between_them() -> None:
    assert torch.equal(BrownianPath(LOW, HIGH, 3, draw)(1.0, 1.0 + 1e-8), torch.zeros(SHAPE))


@given(st.integers(0, 2**64 - 1), WORDS, st.integers(0, 40))
def test_seeds_are_numpys(entropy: int, key: int, depth: int) -> None:
    sequence = np.random.SeedSequence(entropy, spawn_key=(key, depth), pool_size=POOL_SIZE)
    assert Seeds(entropy).of(key, depth) == sequence.generate_state(1)[0]
