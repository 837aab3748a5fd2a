"""Hypernetworks against A1111's definition, written out here: c + multiplier * network(c) before keys and values."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from modules.base.errors import WebuiError
from modules.networks.files.headers import stamp_of
from modules.networks.files.hypernetworks import find_hypernetworks
from modules.networks.hypernetworks import HypernetworkRequest, Hypernetworks
from modules.networks.sd1.model import StableDiffusion

CONTEXT, INNER = 16, 32  # the tiny checkpoint's prompt, and its picture in self-attention
BLOCK = "mid_block.attentions.0.transformer_blocks.0"


def half(width: int, structure: tuple[float, ...], gap: int, seed: int, norm: bool = False) -> dict[str, Tensor]:
    """A state dict as saved by A1111's training, with `gap` modules without weights between two layers."""
    draw = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    number = 0
    for first, second in pairwise(structure):
        rows, columns = int(width * second), int(width * first)
        state[f"linear.{number}.weight"] = torch.randn(rows, columns, generator=draw) / columns**0.5
        state[f"linear.{number}.bias"] = torch.randn(rows, generator=draw)
        number += 1 + (gap if not norm else 1)
        if norm:
            state[f"linear.{number}.weight"] = 1 + torch.randn(rows, generator=draw) / 4
            state[f"linear.{number}.bias"] = torch.randn(rows, generator=draw)
            number += 1
    return state


def saved(path: Path, widths: tuple[int, ...] = (CONTEXT, INNER), gap: int = 0, **notes: Any) -> Path:
    structure, norm = notes.get("layer_structure", [1, 2, 1]), notes.get("is_layer_norm", False)
    content: dict[Any, Any] = {
        width: tuple(half(width, tuple(structure), gap, width + side, norm) for side in (0, 1)) for width in widths
    }
    torch.save(content | {"step": 5, "name": "old", "layer_structure": structure} | notes, path)
    return path


def asked(path: Path, multiplier: float = 0.7) -> HypernetworkRequest:
    return HypernetworkRequest(path.stem, stamp_of(path), multiplier)


@pytest.fixture
def laid(tiny: StableDiffusion) -> Iterator[Hypernetworks]:
    laid = Hypernetworks(tiny)
    yield laid
    laid.remove()


def keys_and_values(tiny: StableDiffusion, attention: str, states: Tensor) -> list[Tensor]:
    layer: Any = tiny.unet.get_submodule(f"{BLOCK}.{attention}")
    return [layer.to_k(states), layer.to_v(states)]


def plain(state: dict[str, Tensor], states: Tensor) -> Tensor:
    """Two linear layers in sequence."""
    for number in (0, 1):
        states = functional.linear(states, state[f"linear.{number}.weight"], state[f"linear.{number}.bias"])
    return states


@pytest.mark.parametrize(("attention", "width"), [("attn2", CONTEXT), ("attn1", INNER)])
def test_keys_and_values_are_made_of_what_the_networks_make(
    attention: str, width: int, tiny: StableDiffusion, laid: Hypernetworks, tmp_path: Path
) -> None:
    states = torch.randn(2, 5, width, generator=torch.Generator().manual_seed(1))
    before = keys_and_values(tiny, attention, states)
    path = saved(tmp_path / "fox.pt")
    content = torch.load(path, weights_only=True)[width]
    laid.change([asked(path)])
    for side, made in enumerate(keys_and_values(tiny, attention, states)):
        changed = states + 0.7 * plain(content[side], states)
        kind = "to_k" if side == 0 else "to_v"
        expected = tiny.unet.get_submodule(f"{BLOCK}.{attention}.{kind}").forward(changed)
        torch.testing.assert_close(made, expected)
    assert laid.notes == ()
    laid.change([])
    assert all(map(torch.equal, keys_and_values(tiny, attention, states), before))


def expected_structure(state: dict[str, Tensor], states: Tensor, ends_active: bool, norm: bool) -> Tensor:
    """Linear 0, ReLU, (norm), linear, (ReLU), (norm): the order of A1111's module list."""
    numbers = sorted({int(key.split(".")[1]) for key in state})
    linears = [number for number in numbers if state[f"linear.{number}.weight"].ndim == 2]
    for number in numbers:
        weight, bias = state[f"linear.{number}.weight"], state[f"linear.{number}.bias"]
        if weight.ndim == 1:
            states = functional.layer_norm(states, weight.shape, weight, bias)
            continue
        states = functional.linear(states, weight, bias)
        if number != linears[-1] or ends_active:
            states = functional.relu(states)
    return states


@pytest.mark.parametrize("ends_active", [True, False])
@pytest.mark.parametrize(("gap", "norm"), [(1, False), (2, False), (1, True)])  # an activation, dropout too, a norm
def test_activations_norms_and_dropout_stand_where_a1111_has_them(
    gap: int, norm: bool, ends_active: bool, tiny: StableDiffusion, laid: Hypernetworks, tmp_path: Path
) -> None:
    structure = [1, 1.5, 2, 1]
    path = saved(
        tmp_path / "deep.pt",
        gap=gap,
        layer_structure=structure,
        activation_func="relu",
        is_layer_norm=norm,
        activate_output=ends_active,
        use_dropout=gap == 2,
    )
    state = torch.load(path, weights_only=True)[CONTEXT][0]
    states = torch.randn(1, 3, CONTEXT, generator=torch.Generator().manual_seed(2))
    laid.change([asked(path, -0.5)])
    made = keys_and_values(tiny, "attn2", states)[0]
    changed = states - 0.5 * expected_structure(state, states, ends_active, norm)
    to_k = tiny.unet.get_submodule(f"{BLOCK}.attn2.to_k")
    assert isinstance(to_k, nn.Linear)
    torch.testing.assert_close(made, functional.linear(changed, to_k.weight))


def test_one_after_the_other_and_the_first_files_names(
    tiny: StableDiffusion, laid: Hypernetworks, tmp_path: Path
) -> None:
    """A1111's first files call their layers linear1 and linear2."""
    states = torch.randn(1, 3, CONTEXT, generator=torch.Generator().manual_seed(3))
    first = saved(tmp_path / "first.pt")
    content = torch.load(first, weights_only=True)
    names = {"linear.0": "linear1", "linear.1": "linear2"}
    old = tuple({names[key[:8]] + key[8:]: tensor for key, tensor in each.items()} for each in content[CONTEXT])
    second = tmp_path / "second.pt"
    torch.save({CONTEXT: old}, second)
    laid.change([asked(first, 1.0), asked(second, 0.5)])
    made = keys_and_values(tiny, "attn2", states)[1]
    once = states + plain(content[CONTEXT][1], states)
    twice = once + 0.5 * plain(content[CONTEXT][1], once)
    to_v = tiny.unet.get_submodule(f"{BLOCK}.attn2.to_v")
    assert isinstance(to_v, nn.Linear)
    torch.testing.assert_close(made, functional.linear(twice, to_v.weight))


def test_one_for_other_widths_is_told(laid: Hypernetworks, tmp_path: Path) -> None:
    laid.change([asked(saved(tmp_path / "wide.pt", (768, 320)))])
    assert laid.notes == (
        "The hypernetwork 'wide' has no effect: it is made for the widths 320, 768, and the checkpoint tiny has none "
        "of them.",
    )


class Evil:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit",))


BAD: list[tuple[Any, str]] = [
    ({"*": torch.ones(2, 16)}, "is no hypernetwork"),
    ([1, 2], "is no hypernetwork"),
    ({16: ({"linear.0.weight": torch.ones(8, 16)}, {})}, "whose layers do not follow each other"),
    ({16: ({"linear.0.weight": torch.ones(16, 8)},) * 2}, "whose layers do not follow each other"),
    ({16: ({"linear.0.weight": torch.ones(16, 16)},) * 2, "activation_func": "boom"}, "the activation 'boom'"),
    ({16: ({"linear.0.weight": torch.full((16, 16), torch.nan)},) * 2}, "NaN or infinite"),
    ({16: ({"linear.0.weight": Evil()},) * 2}, "holds more than weights; no code of it was run"),
]


@pytest.mark.parametrize(("content", "why"), BAD, ids=lambda value: str(value)[:30])
def test_what_cannot_be_used_is_refused_in_a_sentence(
    content: Any, why: str, laid: Hypernetworks, tmp_path: Path
) -> None:
    good, bad = saved(tmp_path / "good.pt"), tmp_path / "bad.pt"
    torch.save(content, bad)
    laid.change([asked(good)])
    with pytest.raises(WebuiError, match="prompt: the hypernetwork 'bad'") as caught:
        laid.change([asked(good), asked(bad)])
    assert why in caught.value.message


def test_files_are_found_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("fox.pt", "deep/owl.pt", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [one.name for one in find_hypernetworks([tmp_path])] == ["fox", "owl"]
