"""Calls split into parts: the same numbers, and a stop takes effect between them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from modules.base.events import Stop
from modules.networks import parts
from modules.networks.parts import Ear, InParts, Stopped, is_large


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


PICTURE, WIDE, NARROW, BIAS = drawn(2, 64, 50, 36), drawn(64, 64, 3, 3, seed=2), drawn(64, 64, 1, 1, seed=3), drawn(64)
LAST = PICTURE.contiguous(memory_format=torch.channels_last)
QUERY = drawn(2, 8, 300, 40)
CALLS: dict[str, Callable[[], Tensor]] = {
    "convolution": lambda: functional.conv2d(PICTURE, WIDE, BIAS, 1, 1),
    "convolution, channels last": lambda: functional.conv2d(LAST, WIDE, BIAS, padding=(1, 1)),
    "half the size": lambda: functional.conv2d(PICTURE, WIDE, BIAS, 2, 1),
    "half the size without padding": lambda: functional.conv2d(PICTURE, WIDE, stride=(2, 2)),
    "wide gaps": lambda: functional.conv2d(PICTURE, WIDE, BIAS, 1, 2, 2),
    "one pixel": lambda: functional.conv2d(PICTURE, NARROW, BIAS),
    "groups": lambda: functional.conv2d(PICTURE, WIDE[:, :32], BIAS, 1, 1, 1, 2),
    "linear": lambda: functional.linear(PICTURE.flatten(2).mT, NARROW[:, :, 0, 0], BIAS),
    "attention": lambda: functional.scaled_dot_product_attention(QUERY, QUERY.flip(2), QUERY),
    "norm": lambda: functional.group_norm(PICTURE, 32, BIAS, BIAS),
    "activation": lambda: functional.silu(PICTURE),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as large."""
    monkeypatch.setattr(parts, "LARGE", 1e6)
    monkeypatch.setattr(parts, "PIECE", 7e5)
    monkeypatch.setattr(parts, "LARGE_NUMBERS", 2**12)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", CALLS)
def test_parts_give_the_numbers_of_one_call(name: str) -> None:
    heard: list[None] = []
    with InParts(lambda: heard.append(None)):
        made = CALLS[name]()
    whole = CALLS[name]()
    assert (made.shape, made.stride()) == (whole.shape, whole.stride())
    torch.testing.assert_close(made, whole, atol=1e-6, rtol=1e-6)
    assert len(heard) > 5


@pytest.mark.usefixtures("small")
def test_a_stop_is_heard_in_the_middle_of_a_call() -> None:
    stops = iter([Stop.NONE] * 7 + [Stop.INTERRUPT])
    with pytest.raises(Stopped) as stopped, InParts(Ear(lambda: next(stops)).hear):
        CALLS["convolution"]()
    assert stopped.value.stop is Stop.INTERRUPT


def test_a_skip_before_the_first_batch_waits_for_it() -> None:
    stops = iter([Stop.SKIP, Stop.NONE, Stop.NONE, Stop.NONE])
    ear = Ear(lambda: next(stops))
    ear.hear()
    with ear.deaf():
        ear.hear()
    ear.is_in_batch = True
    with pytest.raises(Stopped) as stopped:
        ear.hear()
    assert stopped.value.stop is Stop.SKIP
    ear.hear()


@pytest.mark.parametrize(
    ("pixels", "parameters", "expected"),
    [(256 * 256, 9_000_000, False), (2048 * 2048, 9_000_000, True), (512 * 512, 860_000_000, True)],
)
def test_what_takes_long_on_a_cpu_is_asked(pixels: int, parameters: int, expected: bool) -> None:
    assert is_large(pixels, parameters, torch.device("cpu")) is expected
