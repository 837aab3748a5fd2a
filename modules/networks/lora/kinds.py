"""The kinds of changes in LoRA files, one row each: how to recognize one, its size, and how to compute it.

`delta` is what a kind adds to a weight W of shape (out, in, ...), before the file's alpha and the prompt's weight; it
may have any shape with as many numbers as `size` says. `size` only uses shapes, so that a mismatch is found before any
tensor is read.

LoRA: Hu et al. 2021, arXiv 2106.09685. LoHa: Hyeon-Woo et al. 2021, 2108.06098. LoKr, and Tucker's form of both: Yeh et
al. 2023, 2309.14859. IA3: Liu et al. 2022, 2205.05638. OFT: Qiu et al. 2023, 2306.07280. BOFT: Liu et al. 2023,
2311.06243. GLoRA: Chavan et al. 2023, 2306.07967.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]  # by part
Factors = Mapping[str, Tensor]  # by part, fp32, on the weight's device


class Misfit(Exception):
    """The parts of a layer do not fit together; the text completes "has ... in <layer>"."""


class Size(NamedTuple):
    """The size of a change: rows are the weight's first dimension, columns the product of the others."""

    rows: int
    columns: int


@dataclass(frozen=True)
class LoraKind:
    """One kind of change.

    marks: any of these parts identifies the kind.  parts: the other parts that it may have.
    is_bias: whether it changes the layer's bias instead of its weight.  rank: the divisor of alpha, 0 if alpha does
    not scale the change.
    """

    name: str
    marks: frozenset[str]
    parts: frozenset[str]
    size: Callable[[Shapes, Shape], Size]
    delta: Callable[[Factors, Tensor], Tensor]
    rank: Callable[[Shapes], int] = lambda shapes: 0
    is_bias: bool = False


def change_size(shape: Shape) -> Size:
    return Size(shape[0], math.prod(shape[1:]))


def _needed(shapes: Shapes, *parts: str) -> list[Shape]:
    for part in parts:
        if part not in shapes:
            raise Misfit(f"no {part}, without which {next(iter(shapes))} means nothing,")
        if not shapes[part] or 0 in shapes[part]:
            raise Misfit("factors of the wrong shape")
    return [shapes[part] for part in parts]


def _require(belongs: bool) -> None:
    if not belongs:
        raise Misfit("factors that do not belong together")


def _require_sides(fewest: int, *shapes: Shape) -> None:
    _require(min(map(len, shapes)) >= fewest)


def _matrix(tensor: Tensor) -> Tensor:
    return tensor.flatten(1)


# ---- LoRA, LoCon: up @ down, with Tucker's core between them in a convolution ----


def _lora_size(shapes: Shapes, weight: Shape) -> Size:
    up, down = _needed(shapes, "up", "down")
    rows, rank = change_size(up)
    inner, columns = change_size(down)
    _require_sides(2, up, down)
    if "mid" in shapes:
        mid = shapes["mid"]
        _require(len(mid) == 4 and mid[:2] == (rank, inner))
        return Size(rows, columns * math.prod(mid[2:]))
    _require(rank == inner)
    return Size(rows, columns)


def _lora(factors: Factors, weight: Tensor) -> Tensor:
    up, down = _matrix(factors["up"]), _matrix(factors["down"])
    if "mid" in factors:
        return torch.einsum("or,rshw,si->oihw", up, factors["mid"], down)
    return up @ down


def _embedding_size(shapes: Shapes, weight: Shape) -> Size:
    up, down = _needed(shapes, "embedding_up", "embedding_down")
    _require(len(up) == len(down) == 2 and up[1] == down[0])
    return Size(down[1], up[0])  # an embedding table is the transpose of a layer's weight


def _embedding(factors: Factors, weight: Tensor) -> Tensor:
    return (factors["embedding_up"] @ factors["embedding_down"]).T


# ---- LoHa: the elementwise product of two low-rank changes ----


def _loha_half(shapes: Shapes, number: int) -> Size:
    a, b = _needed(shapes, f"hada_w{number}_a", f"hada_w{number}_b")
    _require_sides(2, a, b)
    if f"hada_t{number}" in shapes:
        core = shapes[f"hada_t{number}"]
        _require(core[:2] == (a[0], b[0]))
        return Size(math.prod(a[1:]), math.prod(b[1:]) * math.prod(core[2:]))
    _require(math.prod(a[1:]) == b[0])
    return Size(a[0], math.prod(b[1:]))


def _loha_size(shapes: Shapes, weight: Shape) -> Size:
    first, second = _loha_half(shapes, 1), _loha_half(shapes, 2)
    _require(first == second)
    return first


def _tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The product (out, in, ...) of a core (r, s, ...) with a (r, out) and b (s, in)."""
    return torch.einsum("rs...,ro,si->oi...", core, a, b)


def _loha(factors: Factors, weight: Tensor) -> Tensor:
    halves: list[Tensor] = []
    for number in (1, 2):
        a, b, core = (factors.get(f"hada_{part}") for part in (f"w{number}_a", f"w{number}_b", f"t{number}"))
        assert a is not None
        assert b is not None
        halves.append((_matrix(a) @ _matrix(b)) if core is None else _tucker(core, _matrix(a), _matrix(b)))
    first, second = (half.reshape(len(half), -1) for half in halves)
    return first * second


# ---- LoKr: the Kronecker product of two matrices, each whole or low-rank ----


def _lokr_half(shapes: Shapes, number: int) -> Shape:
    whole = shapes.get(f"lokr_w{number}")
    if whole is not None:
        _require_sides(2, whole)
        _require(0 not in whole)
        return whole
    a, b = _needed(shapes, f"lokr_w{number}_a", f"lokr_w{number}_b")
    _require_sides(2, a, b)
    core = shapes.get("lokr_t2") if number == 2 else None
    if core is not None:
        _require(core[:2] == (a[0], b[0]))
        return (math.prod(a[1:]), math.prod(b[1:]), *core[2:])
    _require(math.prod(a[1:]) == b[0])
    return (a[0], *b[1:])


def _lokr_size(shapes: Shapes, weight: Shape) -> Size:
    first, second = _lokr_half(shapes, 1), _lokr_half(shapes, 2)
    _require(math.prod(first[2:]) == 1)
    return Size(first[0] * second[0], first[1] * math.prod(second[1:]))


def _lokr_rank(shapes: Shapes) -> int:
    """The rank of the low-rank matrix; 0 if both are whole."""
    return next((shapes[part][0] for part in ("lokr_w2_b", "lokr_w1_b") if part in shapes), 0)


def _lokr(factors: Factors, weight: Tensor) -> Tensor:
    halves: list[Tensor] = []
    for number in (1, 2):
        whole = factors.get(f"lokr_w{number}")
        if whole is None:
            a, b = factors[f"lokr_w{number}_a"], factors[f"lokr_w{number}_b"]
            core = factors.get("lokr_t2") if number == 2 else None
            low = _matrix(a) @ _matrix(b) if core is None else _tucker(core, _matrix(a), _matrix(b))
            whole = low.reshape(len(a), *b.shape[1:]) if core is None else low
        halves.append(whole)
    first = halves[0].flatten(1)
    return torch.kron(first.reshape(*first.shape, *[1] * (halves[1].ndim - 2)), halves[1].contiguous())


# ---- GLoRA: the change W @ A + B, both low-rank; A changes the input ----


def _is_old_glora(shapes: Shapes) -> bool:
    """Whether the names of the two factors of each product are swapped, as in LyCORIS before version 3.

    For a square weight both readings fit; the rank is then the smaller dimension.
    """
    b1, b2 = shapes["b1"], shapes["b2"]
    new, old = (b1[1], b2[0]), (b2[1], b1[0])
    return old[0] == old[1] and (new[0] != new[1] or old[0] < new[0])


def _glora_size(shapes: Shapes, weight: Shape) -> Size:
    a1, a2, b1, b2 = _needed(shapes, "a1", "a2", "b1", "b2")
    _require_sides(2, a1, a2, b1, b2)
    if _is_old_glora(shapes):
        a1, a2, b1, b2 = a2, a1, b2, b1
    size = Size(b1[0], math.prod(b2[1:]))
    inner = math.prod(weight[1:2])
    _require(math.prod(a1[1:]) == a2[0] and a1[0] == math.prod(a2[1:]) == inner)
    if "bm" in shapes:
        core = shapes["bm"]
        _require(len(core) > 2 and core[:2] == (b1[1], b2[0]))
        return Size(size.rows, size.columns * math.prod(core[2:]))
    _require(math.prod(b1[1:]) == b2[0])
    return size


def _glora_rank(shapes: Shapes) -> int:
    return shapes["b1"][0] if _is_old_glora(shapes) else shapes["b2"][0]


def _glora(factors: Factors, weight: Tensor) -> Tensor:
    a1, a2, b1, b2 = (_matrix(factors[part]) for part in ("a1", "a2", "b1", "b2"))
    if _is_old_glora({part: tuple(factor.shape) for part, factor in factors.items()}):
        a1, a2, b1, b2 = a2, a1, b2, b1
    own = torch.einsum("oi...,ij->oj...", weight, a1 @ a2)
    if "bm" in factors:
        return own + torch.einsum("or,rs...,si->oi...", b1, factors["bm"], b2)
    return own + (b1 @ b2).reshape(weight.shape)


# ---- IA3: a factor for each output or each input ----


def _ia3_size(shapes: Shapes, weight: Shape) -> Size:
    (own,) = _needed(shapes, "weight" if "weight" in shapes else "ia3_l")
    _require(math.prod(own) in weight[:2])
    return change_size(weight)


def _ia3(factors: Factors, weight: Tensor) -> Tensor:
    """LyCORIS's factors are added to 1; `on_input` says whether they scale inputs or outputs."""
    factor = factors["weight"].flatten()
    side = 1 if bool(factors["on_input"].flatten()[0]) else 0
    return _by_side(weight, factor, side)


def _ia3_of_peft(factors: Factors, weight: Tensor) -> Tensor:
    """PEFT's factors, (out, 1) or (1, in), are used as they are."""
    factor = factors["ia3_l"]
    return _by_side(weight, factor.flatten() - 1, 1 if factor.shape[0] == 1 and weight.shape[0] != 1 else 0)


def _by_side(weight: Tensor, factor: Tensor, side: int) -> Tensor:
    if len(factor) != weight.shape[side]:
        raise Misfit("factors that do not belong together")
    return weight * factor.reshape([-1 if number == side else 1 for number in range(weight.ndim)])


# ---- OFT, BOFT: the outputs rotated, in blocks ----


def _oft_size(shapes: Shapes, weight: Shape) -> Size:
    part = "oft_blocks" if "oft_blocks" in shapes else "oft_diag"
    (blocks,) = _needed(shapes, part)
    _require(len(blocks) in ((3, 4) if part == "oft_blocks" else (3,)) and blocks[-1] == blocks[-2])
    _require(blocks[-3] * blocks[-1] == weight[0])
    if len(blocks) == 4:  # the last stage mixes rows 2 ** (m - 1) * b / 2 apart
        _require(blocks[-1] % 2 == 0 and blocks[0] < 32 and weight[0] % (2 ** blocks[0] * (blocks[-1] // 2)) == 0)
    if "rescale" in shapes:
        _require(math.prod(shapes["rescale"]) == weight[0])
    return change_size(weight)


def _rotations(blocks: Tensor, limit: float) -> Tensor:
    """The Cayley transform (I + Q)(I - Q)^-1 of the skew part Q of blocks (..., b, b), its norm limited to `limit`."""
    skew = blocks - blocks.transpose(-1, -2)
    if limit > 0:
        norm = skew.norm() + 1e-8
        skew = skew * (norm.clamp(max=limit) / norm)
    eye = torch.eye(blocks.shape[-1], device=blocks.device)
    return (eye + skew) @ torch.linalg.inv(eye - skew)


def _oft(factors: Factors, weight: Tensor) -> Tensor:
    """The change by OFT. `alpha` limits the rotation. `oft_diag`, of LyCORIS before version 2, holds the rotations."""
    blocks, alpha = factors.get("oft_blocks"), factors.get("alpha")
    if blocks is None:
        turns = factors["oft_diag"]
    else:
        turns = _rotations(blocks, 0.0 if alpha is None else float(alpha.flatten()[0]) * weight.shape[0])
    turned = _butterfly(weight, turns) if turns.ndim == 4 else _by_block(weight, turns.transpose(-1, -2))
    if "rescale" in factors:
        turned = factors["rescale"].reshape(-1, *[1] * (weight.ndim - 1)) * turned
    return turned - weight


def _by_block(weight: Tensor, turns: Tensor) -> Tensor:
    """Each block (b, b) of `turns` (k, b, b) times its own b rows of the weight."""
    rows = weight.unflatten(0, turns.shape[:2])
    return torch.einsum("kmn,kn...->km...", turns, rows).flatten(0, 1)


def _butterfly(weight: Tensor, turns: Tensor) -> Tensor:
    """BOFT's stages `turns` (m, k, b, b): the blocks of stage i rotate rows that are 2^i * b / 2 apart."""
    for stage, blocks in enumerate(turns):
        apart = 2**stage * (blocks.shape[-1] // 2)
        mixed = weight.unflatten(0, (-1, 2, apart)).transpose(1, 2).flatten(0, 2)
        turned = _by_block(mixed, blocks)
        weight = turned.unflatten(0, (-1, apart, 2)).transpose(1, 2).flatten(0, 2)
    return weight


# ---- whole differences, and weights that replace the checkpoint's ----


def _whole(part: str) -> Callable[[Shapes, Shape], Size]:
    return lambda shapes, weight: change_size(_needed(shapes, part)[0])


def _as_stored(part: str) -> Callable[[Factors, Tensor], Tensor]:
    return lambda factors, weight: factors[part]


def _set(factors: Factors, weight: Tensor) -> Tensor:
    return factors["set_weight"].reshape(weight.shape) - weight


def _kind(
    name: str,
    marks: str,
    parts: str,
    size: Callable[[Shapes, Shape], Size],
    delta: Callable[[Factors, Tensor], Tensor],
    rank: Callable[[Shapes], int] = lambda shapes: 0,
    is_bias: bool = False,
) -> LoraKind:
    return LoraKind(name, frozenset(marks.split()), frozenset(parts.split()), size, delta, rank, is_bias)


LORA: Final = _kind("LoRA", "up down", "mid", _lora_size, _lora, lambda shapes: shapes["down"][0])
KINDS: Final = (
    LORA,
    _kind(
        "LoRA of embeddings",
        "embedding_up embedding_down",
        "",
        _embedding_size,
        _embedding,
        lambda shapes: shapes["embedding_down"][0],
    ),
    _kind(
        "LoHa",
        "hada_w1_a hada_w1_b hada_w2_a hada_w2_b",
        "hada_t1 hada_t2",
        _loha_size,
        _loha,
        lambda shapes: shapes["hada_w1_b"][0],
    ),
    _kind(
        "LoKr",
        "lokr_w1 lokr_w1_a lokr_w1_b lokr_w2 lokr_w2_a lokr_w2_b",
        "lokr_t2",
        _lokr_size,
        _lokr,
        _lokr_rank,
    ),
    _kind("GLoRA", "a1 a2 b1 b2", "bm", _glora_size, _glora, _glora_rank),
    _kind("IA3", "on_input", "weight", _ia3_size, _ia3),
    _kind("IA3", "ia3_l", "", _ia3_size, _ia3_of_peft),
    _kind("OFT or BOFT", "oft_blocks oft_diag", "rescale alpha", _oft_size, _oft),
    _kind("a full difference", "diff", "", _whole("diff"), _as_stored("diff")),
    _kind("a change to norms", "w_norm", "", _whole("w_norm"), _as_stored("w_norm")),
    _kind("new weights", "set_weight", "", _whole("set_weight"), _set),
    _kind("a full difference", "diff_b", "", _whole("diff_b"), _as_stored("diff_b"), is_bias=True),
    _kind("a change to norms", "b_norm", "", _whole("b_norm"), _as_stored("b_norm"), is_bias=True),
    _kind(
        "LoRA",
        "up_bias",
        "",
        _whole("up_bias"),
        _as_stored("up_bias"),
        lambda shapes: shapes["down"][0] if shapes.get("down") else 0,
        is_bias=True,
    ),
)


# ---- DoRA, on top of any kind (Liu et al. 2024, arXiv 2402.09353) ----


def decomposed(delta: Tensor, weight: Tensor, magnitude: Tensor, by_output: bool) -> Tensor:
    """The change that gives a weight the direction of W + delta and the length `magnitude`.

    Lengths are per output, (out, 1, ...), or per input, (1, in, ...): LyCORIS has written both.
    Raises Misfit if `magnitude` has another shape.
    """
    side = 0 if by_output else 1
    if weight.ndim < 2 or magnitude.numel() != weight.shape[side]:
        raise Misfit("magnitudes that do not belong to the weight")
    merged = weight + delta
    others = [number for number in range(weight.ndim) if number != side]
    length = merged.square().sum(others, keepdim=True).sqrt().clamp(min=torch.finfo(torch.float32).eps)
    sides = [-1 if number == side else 1 for number in range(weight.ndim)]
    return merged * (magnitude.reshape(sides) / length) - weight
