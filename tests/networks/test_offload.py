"""Weights are on the device only while in use. Here fp32 stands for the device, and fp16 for the host."""

import pytest
import torch
from torch import Tensor, nn

from modules.networks import offload
from modules.networks.device import CPU, Mode, Placement
from modules.networks.offload import FP8, Offloading


def placement_of(mode: Mode, is_fp8: bool = False) -> Placement:
    return Placement(CPU, torch.float32, torch.float32, torch.float32, mode, is_fp8)


class Network(nn.Module):
    """A convolution, a norm and a linear layer; `seen` are the types of all weights whenever one of them runs."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.conv, self.norm, self.linear = nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Linear(4, 5)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        self.register_buffer("places", torch.arange(5), persistent=False)
        self.seen: list[set[str]] = []
        self.to(torch.float16).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.conv, self.norm):
            x = layer(x)
        return self.linear(x.mean((2, 3))) + self.places


def watched(network: Network) -> Network:
    """Records, before each layer runs, which tensors are present in fp32."""

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        network.seen.append({name for name, each in network.named_parameters() if each.dtype == torch.float32})

    for layer in (network.conv, network.norm, network.linear):
        layer.register_forward_pre_hook(look)
    return network


def at_rest(network: Network) -> list[tuple[torch.dtype, int]]:
    return [(each.dtype, each.data_ptr()) for each in network.parameters()]


@pytest.fixture
def offloading() -> Offloading:
    return Offloading()


X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))
ALL = {f"{layer}.{name}" for layer in ("conv", "norm", "linear") for name in ("weight", "bias")}


def expected() -> Tensor:
    return loaded_whole()(X)


def loaded_whole() -> Network:
    return Network().to(torch.float32, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def test_one_part_is_there_at_a_time(offloading: Offloading) -> None:
    text, unet = Network(), Network()
    before = [at_rest(text), at_rest(unet)]
    for part in (text, unet):
        offloading.manage(watched(part), placement_of("parts"), torch.float32, "parts")
    assert [at_rest(text), at_rest(unet)] == before
    offloading.ready(text)
    assert torch.equal(text(X), expected())
    assert (text.seen, at_rest(unet)) == ([ALL] * 3, before[1])
    offloading.ready(unet)
    assert torch.equal(unet(X), expected())
    assert (unet.seen, at_rest(text)) == ([ALL] * 3, before[0])
    offloading.rest()
    assert [at_rest(text), at_rest(unet)] == before


def test_one_layer_is_there_at_a_time(offloading: Offloading) -> None:
    unet = Network()
    before = at_rest(unet)
    offloading.manage(unet, placement_of("layers"), torch.float32, "layers")
    watched(unet)  # after the hooks that load a layer
    offloading.ready(unet)
    assert torch.equal(unet(X), expected())
    assert unet.seen == [{f"{layer}.weight", f"{layer}.bias"} for layer in ("conv", "norm", "linear")]
    assert at_rest(unet) == before


def test_a_layer_rests_again_after_a_call_that_failed(offloading: Offloading) -> None:
    unet = Network()
    before = at_rest(unet)
    offloading.manage(unet, placement_of("layers"), torch.float32, "layers")
    with pytest.raises(RuntimeError):
        unet(torch.zeros(1, 2, 6, 6))
    assert at_rest(unet) == before
    assert torch.equal(unet(X), expected())


@pytest.mark.parametrize("mode", ["whole", "parts", "layers"])
def test_fp8_weights_are_rounded_once_in_every_mode(mode: Mode, offloading: Offloading) -> None:
    unet = Network()
    rounded = loaded_whole()
    for layer in (rounded.conv, rounded.linear):
        layer.weight.data = layer.weight.data.to(FP8).to(torch.float32)
    offloading.manage(unet, placement_of(mode, is_fp8=True), torch.float32, mode, is_fp8=True)
    offloading.ready(unet)
    assert torch.equal(unet(X), rounded(X))
    small = torch.float32 if mode != "layers" else torch.float16
    assert [each.dtype for each in unet.parameters()] == [FP8, small, small, small, FP8, small]
    offloading.rest()
    assert unet.conv.weight.dtype == FP8


def test_parts_that_stay_are_left_alone(offloading: Offloading) -> None:
    unet = Network()
    before = at_rest(unet)
    offloading.manage(unet, placement_of("whole"), torch.float32, "whole")
    offloading.ready(unet)
    assert at_rest(unet) == before


class Short:
    """A device with memory for at most `numbers` at a time."""

    def __init__(self, numbers: int) -> None:
        self.numbers = numbers
        self.taken = 0

    def take(self, rested: Tensor) -> None:
        self.taken += rested.numel()
        if self.taken > self.numbers:
            raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Short:
    """Has memory for the largest layer and the buffer, but not for the whole network."""
    device = Short(3 * 4 * 9 + 4 + 5)
    copy, drop = offload.Copies._copy, offload.Copies.drop

    def copied(copies: offload.Copies, rested: Tensor) -> Tensor:
        device.take(rested)
        return copy(copies, rested)

    def dropped(copies: offload.Copies) -> None:
        drop(copies)
        device.taken = 0

    monkeypatch.setattr(offload.Copies, "_copy", copied)
    monkeypatch.setattr(offload.Copies, "drop", dropped)
    return device


def test_a_part_that_does_not_fit_goes_layer_by_layer(offloading: Offloading, short: Short) -> None:
    unet = Network()
    before = at_rest(unet)
    offloading.manage(unet, placement_of("parts"), torch.float32, "parts")
    offloading.ready(unet)
    assert at_rest(unet) == before
    for _ in range(2):
        offloading.ready(unet)
        assert torch.equal(unet(X), expected())
        assert at_rest(unet) == before


def test_a_failed_copy_leaves_none(offloading: Offloading, short: Short) -> None:
    tensors = [torch.ones(100, dtype=torch.float16) for _ in range(3)]
    copies = offload.Copies(tensors, CPU, torch.float32)
    with pytest.raises(torch.OutOfMemoryError):
        copies.bring()
    assert {each.dtype for each in tensors} == {torch.float16}


def test_other_failures_are_not_taken_for_a_lack_of_memory(
    offloading: Offloading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(copies: offload.Copies, rested: Tensor) -> Tensor:
        raise RuntimeError("a kernel failed")

    monkeypatch.setattr(offload.Copies, "_copy", fail)
    unet = Network()
    offloading.manage(unet, placement_of("parts"), torch.float32, "parts")
    with pytest.raises(RuntimeError, match="a kernel failed"):
        offloading.ready(unet)
