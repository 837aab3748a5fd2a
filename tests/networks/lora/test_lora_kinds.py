"""Every kind of change against an explicit merge, on linear layers, convolutions, norms and embeddings."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.base.errors import WebuiError
from modules.networks.files.headers import stamp_of
from modules.networks.files.loras import LoraRequest
from modules.networks.lora.patch import Patch
from modules.networks.sd1.model import StableDiffusion

LINEAR = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"  # (32, 16)
SQUARE = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"  # (32, 32)
CONV = "down_blocks.0.resnets.0.conv1"  # (32, 32, 3, 3), with a bias
NORM = "mid_block.resnets.0.norm1"  # (32,), with a bias
POSITIONS = "text_model.embeddings.position_embedding"  # (77, 16)

LayerParts = tuple[dict[str, Tensor], Tensor]  # parts of a layer, and what they add to its weight at strength 1


@pytest.fixture
def patch(tiny: StableDiffusion) -> Iterator[Patch]:
    patch = Patch(tiny)
    yield patch
    patch.restore()


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(11)
    return lambda *shape: 0.3 * torch.randn(*shape, generator=generator)


def parameter(tiny: StableDiffusion, layer: str, kind: str = "weight") -> torch.nn.Parameter:
    network = tiny.text_encoder if layer == POSITIONS else tiny.unet
    named = dict(network.named_parameters())
    return next(each for name, each in named.items() if f"text_model.{name}".endswith(f"{layer}.{kind}"))


def state(tiny: StableDiffusion) -> dict[str, Tensor]:
    parts = (("unet", tiny.unet), ("text", tiny.text_encoder))
    return {f"{part}.{name}": each.clone() for part, network in parts for name, each in network.state_dict().items()}


def kohya_name(layer: str) -> str:
    return ("lora_te_" if layer == POSITIONS else "lora_unet_") + layer.replace(".", "_")


def lora(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    up, down = draw(32, 3), draw(3, *weight.shape[1:])
    stored = up[:, :, None, None].clone() if weight.ndim == 4 else up
    parts = {"lora_up.weight": stored, "lora_down.weight": down, "alpha": torch.tensor(1.5)}
    ranks = [torch.einsum("o,...->o...", up[:, r], down[r]) for r in range(3)]
    return parts, 1.5 / 3 * (ranks[0] + ranks[1] + ranks[2])


def lora_tucker(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    up, mid, down = draw(32, 2), draw(2, 3, 3, 3), draw(3, 32)
    parts = {
        "lora_up.weight": up[:, :, None, None].clone(),
        "lora_mid.weight": mid,
        "lora_down.weight": down[:, :, None, None].clone(),
        "alpha": torch.tensor(6.0),
    }
    delta = torch.zeros(32, 32, 3, 3)
    for r in range(2):
        for s in range(3):
            delta += torch.einsum("o,i,hw->oihw", up[:, r], down[s], mid[r, s])
    return parts, 6.0 / 3 * delta


def loha(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    a1, b1, a2, b2 = draw(32, 2), draw(2, weight[0].numel()), draw(32, 2), draw(2, weight[0].numel())
    parts = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": torch.tensor(4.0)}
    return parts, 4.0 / 2 * ((a1 @ b1) * (a2 @ b2)).reshape(weight.shape)


def loha_tucker(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    halves = [(draw(2, 2, 3, 3), draw(2, 32), draw(2, 32)) for _ in range(2)]
    parts: dict[str, Tensor] = {}
    product = torch.ones(32, 32, 3, 3)
    for number, (core, a, b) in enumerate(halves, 1):
        parts |= {f"hada_t{number}": core, f"hada_w{number}_a": a, f"hada_w{number}_b": b}
        half = torch.zeros(32, 32, 3, 3)
        for r in range(2):
            for s in range(2):
                half += torch.einsum("o,i,hw->oihw", a[r], b[s], core[r, s])
        product = product * half
    return parts, product  # without an alpha it is not scaled


def kronecker(first: Tensor, second: Tensor) -> Tensor:
    """Block (p, r) of the result is first[p, r] times the second."""
    return torch.cat([torch.cat([each * second for each in row], dim=1) for row in first], dim=0)


def lokr_whole(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    first, second = draw(4, 8), draw(8, weight.shape[1] // 8, *weight.shape[2:])
    parts = {"lokr_w1": first, "lokr_w2": second, "alpha": torch.tensor(9.0)}
    return parts, kronecker(first, second)  # alpha has no effect if nothing has a rank


def lokr_second(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    first, a, b = draw(4, 4), draw(8, 2), draw(2, weight.shape[1] // 4, *weight.shape[2:])
    parts = {"lokr_w1": first, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(1.0)}
    return parts, 1.0 / 2 * kronecker(first, torch.einsum("ar,r...->a...", a, b))


def lokr_both(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    a1, b1, a2, b2 = draw(4, 3), draw(3, 2), draw(8, 3), draw(3, weight.shape[1] // 2)
    parts = {"lokr_w1_a": a1, "lokr_w1_b": b1, "lokr_w2_a": a2, "lokr_w2_b": b2, "alpha": torch.tensor(1.5)}
    return parts, 1.5 / 3 * kronecker(a1 @ b1, a2 @ b2)


def lokr_tucker(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    first, core, a, b = draw(2, 4), draw(3, 3, 3, 3), draw(3, 16), draw(3, 8)
    parts = {"lokr_w1": first, "lokr_t2": core, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(3.0)}
    second = torch.zeros(16, 8, 3, 3)
    for r in range(3):
        for s in range(3):
            second += torch.einsum("o,i,hw->oihw", a[r], b[s], core[r, s])
    return parts, kronecker(first, second)


def glora(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    width, rank = weight.shape[1], 4
    a1, a2, b1, b2 = draw(width, rank), draw(rank, width), draw(32, rank), draw(rank, *weight.shape[1:])
    stored = [each[:, :, None, None].clone() if weight.ndim == 4 else each for each in (a1, a2, b1)]
    parts = {f"{part}.weight": each for part, each in zip(("a1", "a2", "b1", "b2"), (*stored, b2), strict=True)}
    parts["alpha"] = torch.tensor(2.0)
    delta = torch.einsum("oi...,ij->oj...", weight, a1 @ a2) + torch.einsum("or,r...->o...", b1, b2)
    return parts, 2.0 / rank * delta


def glora_old(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    """As in LyCORIS 2 and A1111: the names of both factors of a product are swapped."""
    width, rank = weight.shape[1], 4
    a1, a2, b1, b2 = draw(rank, width), draw(width, rank), draw(rank, width), draw(32, rank)
    parts = {"a1.weight": a1, "a2.weight": a2, "b1.weight": b1, "b2.weight": b2}
    return parts, weight @ a2 @ a1 + b2 @ b1


def ia3_outputs(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    factor = draw(32)
    stored = factor.reshape(1, 32, 1, 1) if weight.ndim == 4 else factor
    delta = torch.stack([weight[row] * factor[row] for row in range(32)])
    return {"weight": stored, "on_input": torch.tensor(0)}, delta


def ia3_inputs(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    factor = draw(weight.shape[1])
    delta = torch.stack([weight[:, column] * factor[column] for column in range(weight.shape[1])], dim=1)
    return {"weight": factor, "on_input": torch.tensor(True)}, delta


def ia3_of_peft(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    factor = 1 + draw(1, weight.shape[1])
    return {"ia3_l": factor}, weight * factor - weight


def cayley(block: Tensor) -> Tensor:
    skew, eye = block - block.T, torch.eye(len(block))
    return (eye + skew) @ torch.inverse(eye - skew)


def oft(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    blocks, rescale = draw(4, 8, 8), 1 + draw(32, *[1] * (weight.ndim - 1))
    turned = torch.cat(
        [torch.tensordot(cayley(block).T, weight[8 * k : 8 * k + 8], 1) for k, block in enumerate(blocks)]
    )
    return {"oft_blocks": blocks, "alpha": torch.tensor(0.0), "rescale": rescale}, rescale * turned - weight


def oft_held(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    """An alpha limits the rotation's norm to alpha times the outputs."""
    blocks, alpha = draw(4, 8, 8), 0.01
    norm = (blocks - blocks.transpose(1, 2)).norm()
    assert norm > alpha * 32
    turned = torch.cat(
        [
            torch.tensordot(cayley(block * alpha * 32 / norm).T, weight[8 * k : 8 * k + 8], 1)
            for k, block in enumerate(blocks)
        ]
    )
    return {"oft_blocks": blocks, "alpha": torch.tensor(alpha)}, turned - weight


def oft_diagonal(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    turns = draw(4, 8, 8)
    turned = torch.cat([torch.tensordot(turn.T, weight[8 * k : 8 * k + 8], 1) for k, turn in enumerate(turns)])
    return {"oft_diag": turns}, turned - weight


def boft(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    """Each stage as a whole matrix (32, 32): a permutation of the rows, blocks on the diagonal, the inverse
    permutation.
    """
    blocks, turned = draw(3, 8, 4, 4), weight
    for stage, diagonal in enumerate(blocks):
        apart = 2**stage * 2
        order = [
            group * 2 * apart + half * apart + row
            for group in range(32 // (2 * apart))
            for row in range(apart)
            for half in range(2)
        ]
        shuffle = torch.eye(32)[order]
        whole = shuffle.T @ torch.block_diag(*[cayley(block) for block in diagonal]) @ shuffle
        turned = torch.tensordot(whole, turned, 1)
    return {"oft_blocks": blocks, "alpha": torch.tensor(0.0)}, turned - weight


def difference(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    diff = draw(*weight.shape)
    return {"diff": diff}, diff


def new_weight(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    own = draw(*weight.shape)
    return {"set_weight": own}, own - weight


def norm(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    own = draw(32)
    return {"w_norm": own}, own


def embedding(draw: Callable[..., Tensor], weight: Tensor) -> LayerParts:
    a, b = draw(2, 77), draw(16, 2)
    return {"lora_embedding_A": a, "lora_embedding_B": b, "alpha": torch.tensor(1.0)}, 1.0 / 2 * (b @ a).T


def longer(
    made: LayerParts, weight: Tensor, draw: Callable[..., Tensor], side: int, part: str = "dora_scale"
) -> LayerParts:
    """DoRA: the merged weight's rows (side 0) or columns (side 1) get lengths of their own."""
    parts, delta = made
    merged = weight + delta
    lengths = 1 + draw(weight.shape[side]).abs()
    expected = torch.stack(
        [merged.select(side, i) * lengths[i] / merged.select(side, i).norm() for i in range(weight.shape[side])], side
    )
    shape = [1] * weight.ndim
    shape[side] = -1
    return parts | {part: lengths if part != "dora_scale" else lengths.reshape(shape)}, expected - weight


Make = Callable[[Callable[..., Tensor], Tensor], LayerParts]


class Case(NamedTuple):
    make: Make
    layers: tuple[str, ...]


CASES = (
    Case(lora, (LINEAR, CONV)),
    Case(lora_tucker, (CONV,)),
    Case(loha, (LINEAR, CONV)),
    Case(loha_tucker, (CONV,)),
    Case(lokr_whole, (LINEAR, CONV)),
    Case(lokr_second, (LINEAR, CONV)),
    Case(lokr_both, (LINEAR,)),
    Case(lokr_tucker, (CONV,)),
    Case(glora, (LINEAR, SQUARE, CONV)),
    Case(glora_old, (LINEAR, SQUARE)),
    Case(ia3_outputs, (LINEAR, CONV)),
    Case(ia3_inputs, (LINEAR, CONV)),
    Case(ia3_of_peft, (LINEAR,)),
    Case(oft, (LINEAR, CONV)),
    Case(oft_held, (LINEAR, CONV)),
    Case(oft_diagonal, (LINEAR,)),
    Case(boft, (LINEAR, CONV)),
    Case(difference, (LINEAR, CONV, NORM, POSITIONS)),
    Case(new_weight, (LINEAR, CONV, NORM)),
    Case(norm, (NORM,)),
    Case(embedding, (POSITIONS,)),
)
DORA = tuple(case for case in CASES if case.make in (lora, lora_tucker, loha, lokr_whole, lokr_second, glora))


def cases(rows: tuple[Case, ...]) -> Any:
    pairs = [
        pytest.param(case.make, layer, id=f"{case.make.__name__}-{layer}") for case in rows for layer in case.layers
    ]
    return pytest.mark.parametrize(("make", "layer"), pairs)


def request(tensors: dict[str, Tensor], path: Path, strength: float) -> LoraRequest:
    save_file(tensors, path)
    return LoraRequest(path.stem, stamp_of(path), strength, strength)


@pytest.mark.parametrize("strength", [1.0, -0.6])
@cases(CASES)
def test_a_weight_is_as_merged_by_hand_and_comes_back_to_the_bit(
    make: Make,
    layer: str,
    strength: float,
    tiny: StableDiffusion,
    patch: Patch,
    draw: Callable[..., Tensor],
    tmp_path: Path,
) -> None:
    before = state(tiny)
    weight = parameter(tiny, layer)
    original = weight.data.clone()
    parts, delta = make(draw, original)
    tensors = {f"{kohya_name(layer)}.{part}": tensor.contiguous() for part, tensor in parts.items()}
    patch.changed([request(tensors, tmp_path / "a.safetensors", strength)])
    assert patch.notes == ()
    torch.testing.assert_close(weight.data, original + strength * delta, rtol=1e-4, atol=1e-5)
    changed = [name for name, tensor in state(tiny).items() if not torch.equal(tensor, before[name])]
    assert len(changed) == 1
    patch.restore()
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(tiny).items())


@pytest.mark.parametrize(("side", "part"), [(0, "dora_scale"), (1, "dora_scale"), (0, "lora_magnitude_vector.weight")])
@cases(DORA)
def test_any_kind_may_be_decomposed(
    make: Make,
    layer: str,
    side: int,
    part: str,
    tiny: StableDiffusion,
    patch: Patch,
    draw: Callable[..., Tensor],
    tmp_path: Path,
) -> None:
    weight = parameter(tiny, layer)
    original = weight.data.clone()
    parts, delta = longer(make(draw, original), original, draw, side, part)
    tensors = {f"{kohya_name(layer)}.{part}": tensor.contiguous() for part, tensor in parts.items()}
    patch.changed([request(tensors, tmp_path / "a.safetensors", 0.5)])
    assert patch.notes == ()
    torch.testing.assert_close(weight.data, original + 0.5 * delta, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layer", "part"), [(CONV, "diff_b"), (NORM, "b_norm"), (CONV, "lora_B.bias")])
def test_biases_change_too(
    layer: str, part: str, tiny: StableDiffusion, patch: Patch, draw: Callable[..., Tensor], tmp_path: Path
) -> None:
    bias = parameter(tiny, layer, "bias")
    original, change = bias.data.clone(), draw(32)
    patch.changed([request({f"{kohya_name(layer)}.{part}": change}, tmp_path / "a.safetensors", 0.5)])
    torch.testing.assert_close(bias.data, original + 0.5 * change)
    patch.restore()
    assert torch.equal(bias.data, original)


def test_a_layer_without_a_bias_is_told(tiny: StableDiffusion, patch: Patch, tmp_path: Path) -> None:
    name = kohya_name(LINEAR)
    tensors = {f"{name}.diff": torch.ones(32, 16), f"{name}.diff_b": torch.ones(32)}
    patch.changed([request(tensors, tmp_path / "a.safetensors", 1.0)])
    (note,) = patch.notes
    assert "1 changes of biases in the LoRA 'a' have no effect" in note
    assert name in note


def test_kinds_that_multiply_take_what_stands_before_them(
    tiny: StableDiffusion, patch: Patch, draw: Callable[..., Tensor], tmp_path: Path
) -> None:
    weight = parameter(tiny, LINEAR)
    original = weight.data.clone()
    name = kohya_name(LINEAR)
    diff, factor = draw(32, 16), draw(32)
    first = request({f"{name}.diff": diff}, tmp_path / "a.safetensors", 1.0)
    ia3 = {f"{name}.weight": factor, f"{name}.on_input": torch.tensor(0)}
    second = request(ia3, tmp_path / "b.safetensors", 0.5)
    patch.changed([first, second])
    torch.testing.assert_close(weight.data, (original + diff) * (1 + 0.5 * factor[:, None]))


BROKEN = {
    "LoHa without its last factor": (
        {"hada_w1_a": (32, 2), "hada_w1_b": (2, 16), "hada_w2_a": (32, 2)},
        "no hada_w2_b",
    ),
    "LoHa of two sizes": (
        {"hada_w1_a": (32, 2), "hada_w1_b": (2, 16), "hada_w2_a": (32, 2), "hada_w2_b": (2, 8)},
        "do not belong together",
    ),
    "LoKr without its second half": ({"lokr_w1": (4, 4)}, "no lokr_w2_a"),
    "LoKr of another size": ({"lokr_w1": (4, 4), "lokr_w2": (4, 4)}, "is 16 x 16 in it and 32 x 16"),
    "GLoRA without B": ({"a1.weight": (16, 2), "a2.weight": (2, 16)}, "no b1"),
    "IA3 without factors": ({"on_input": (1,)}, "no ia3_l"),
    "IA3 of another size": ({"on_input": (1,), "weight": (7,)}, "do not belong together"),
    "OFT of another size": ({"oft_blocks": (4, 4, 4)}, "do not belong together"),
    "BOFT with stages beyond the rows": ({"oft_blocks": (6, 8, 4, 4)}, "do not belong together"),
    "an empty factor": ({"lora_up.weight": (32, 0), "lora_down.weight": (0, 16)}, "wrong shape"),
    "a magnitude of another size": (
        {"lora_up.weight": (32, 2), "lora_down.weight": (2, 16), "dora_scale": (5, 1)},
        "magnitudes that do not belong",
    ),
    "a difference of another size": ({"diff": (32, 15)}, "is 32 x 15 in it and 32 x 16"),
}


@pytest.mark.parametrize(("shapes", "why"), BROKEN.values(), ids=BROKEN)
def test_a_layer_whose_parts_do_not_belong_together_is_refused(
    shapes: dict[str, tuple[int, ...]], why: str, tiny: StableDiffusion, patch: Patch, tmp_path: Path
) -> None:
    before = state(tiny)
    tensors = {f"{kohya_name(LINEAR)}.{part}": torch.ones(shape) for part, shape in shapes.items()}
    asked = request(tensors, tmp_path / "bad.safetensors", 1.0)
    with pytest.raises(WebuiError, match="prompt: the LoRA 'bad' ") as caught:
        patch.changed([asked])
    assert why in caught.value.message
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(tiny).items())


def test_numbers_that_are_none_are_refused(tiny: StableDiffusion, patch: Patch, tmp_path: Path) -> None:
    tensors = {f"{kohya_name(LINEAR)}.diff": torch.full((32, 16), torch.nan)}
    with pytest.raises(WebuiError, match="makes NaN or infinite numbers of lora_unet_down_blocks_1"):
        patch.changed([request(tensors, tmp_path / "nan.safetensors", 1.0)])
