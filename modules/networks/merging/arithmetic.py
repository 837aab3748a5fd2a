"""The arithmetic of merging, in fp32 (fp64 if a source is), rounded once to the saved type.

A1111 computes in the files' own types: results are the same for fp32 files and differ by rounding for fp16 files.
"""

import math
from collections.abc import Callable, Iterator
from typing import Final

import torch
from torch import Tensor

from modules.base.errors import WebuiError
from modules.networks.merging.baking import Baking
from modules.networks.merging.planning import Part, Piece
from modules.networks.merging.recipe import Method
from modules.networks.weights import DTYPES

SLICE: Final = 8 * 2**20  # numbers processed at once: 32 MB of each file in fp32
PARALLEL: Final = 0.9995  # cosine above which two tensors count as parallel, because the sine of the angle is too small

Stopping = Callable[[], None]


def slices(
    key: str, piece: Piece, method: Method, multiplier_c: float, baking: Baking, breathe: Stopping
) -> Iterator[Tensor]:
    """The numbers of the tensor `key` of the merged file, in order, in the saved type, as flat tensors (n,).

    `breathe` is called before each read; an exception from it ends the merge. Raises WebuiError for NaN and infinite
    numbers, OSError.
    """
    count = math.prod(piece.info.shape)
    dtype = DTYPES[piece.info.dtype]
    if piece.channels is not None:
        breathe()
        whole = _partly_merged(piece, method, multiplier_c)
        whole = baking.over(key, whole.float()) if key in baking.laid else whole
        yield _saved(whole.flatten(), dtype, piece)
        return
    if key in baking.laid:
        yield _saved(baking.over(key, _assembled(piece, method, multiplier_c, breathe)).flatten(), dtype, piece)
        return
    combine = _combination(piece, method, multiplier_c, breathe)
    for first in range(0, count, SLICE):
        breathe()
        read = [part.file.read(part.key, first, min(SLICE, count - first)) for part in piece.parts]
        if len(read) == 1 and read[0].dtype == dtype:
            yield read[0]
        else:
            yield _saved(combine([_wide(tensor, read) for tensor in read]), dtype, piece)


def _assembled(piece: Piece, method: Method, multiplier_c: float, breathe: Stopping) -> Tensor:
    """A whole merged tensor in fp32, because a LoRA's change cannot be computed in slices."""
    combine = _combination(piece, method, multiplier_c, breathe)
    count = math.prod(piece.info.shape)
    whole = torch.empty(count, dtype=torch.float32)
    for first in range(0, count, SLICE):
        breathe()
        read = [part.file.read(part.key, first, min(SLICE, count - first)) for part in piece.parts]
        whole[first : first + SLICE] = combine([_wide(tensor, read) for tensor in read])
    return whole.reshape(piece.info.shape)


def _partly_merged(piece: Piece, method: Method, multiplier_c: float) -> Tensor:
    """A's first convolution, in which only the first input channels are merged. It is small enough to do at once."""
    tensors = [_whole(part) for part in piece.parts]
    a, others = _wide(tensors[0], tensors), [_wide(tensor, tensors) for tensor in tensors[1:]]
    shared = a[:, : piece.channels]
    merged = combination(method, piece.multiplier, multiplier_c, slerp_factors([shared, others[0]], piece.multiplier))
    a[:, : piece.channels] = merged([shared, *others])
    return a


def _whole(part: Part) -> Tensor:
    return part.file.read(part.key, 0, math.prod(part.info.shape)).reshape(part.info.shape)


def _combination(
    piece: Piece, method: Method, multiplier_c: float, breathe: Stopping
) -> Callable[[list[Tensor]], Tensor]:
    if len(piece.parts) == 1:
        return lambda tensors: tensors[0]
    factors = _slerp_of(piece, breathe) if method == "SLERP" else (0.0, 0.0)
    return combination(method, piece.multiplier, multiplier_c, factors)


def combination(
    method: Method, multiplier: float, multiplier_c: float, factors: tuple[float, float]
) -> Callable[[list[Tensor]], Tensor]:
    """The function that combines A, B and C; `factors` are for SLERP."""
    match method:
        case "Weighted sum":
            return lambda t: (1 - multiplier) * t[0] + multiplier * t[1]
        case "Add difference":
            return lambda t: t[0] + multiplier * (t[1] - t[2])
        case "Triple sum":
            return lambda t: (1 - multiplier - multiplier_c) * t[0] + multiplier * t[1] + multiplier_c * t[2]
        case "SLERP":
            return lambda t: factors[0] * t[0] + factors[1] * t[1]
        case "No interpolation":
            return lambda t: t[0]


def _slerp_of(piece: Piece, breathe: Stopping) -> tuple[float, float]:
    """SLERP's factors for a whole tensor, read in slices."""
    count = math.prod(piece.info.shape)
    dot = a_square = b_square = 0.0
    for first in range(0, count, SLICE):
        breathe()
        a, b = (part.file.read(part.key, first, min(SLICE, count - first)).double() for part in piece.parts)
        dot, a_square, b_square = dot + float(a @ b), a_square + float(a @ a), b_square + float(b @ b)
    return _angle_factors(dot, a_square, b_square, piece.multiplier)


def slerp_factors(tensors: list[Tensor], t: float) -> tuple[float, float]:
    """SLERP's factors for two tensors in memory."""
    a, b = (tensor.double().flatten() for tensor in tensors)
    return _angle_factors(float(a @ b), float(a @ a), float(b @ b), t)


def _angle_factors(dot: float, a_square: float, b_square: float, t: float) -> tuple[float, float]:
    """sin((1-t)·θ) / sin θ and sin(t·θ) / sin θ, where θ is the angle between the tensors (Shoemake, SIGGRAPH 1985).

    Parallel, opposite or zero tensors are interpolated linearly.
    """
    lengths = math.sqrt(a_square * b_square)
    cosine = dot / lengths if lengths > 0 and math.isfinite(lengths) else 1.0
    if not abs(cosine) <= PARALLEL:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def _wide(tensor: Tensor, beside: list[Tensor]) -> Tensor:
    """`tensor` in the type for computing. Integers stay as they are, because they are only copied."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.float64 if any(each.dtype == torch.float64 for each in beside) else torch.float32)


def _saved(tensor: Tensor, dtype: torch.dtype, piece: Piece) -> Tensor:
    """`tensor` in the saved type, clamped to its range. Raises WebuiError for NaN and infinite numbers."""
    if not tensor.is_floating_point():
        return tensor.to(dtype)
    if not bool(torch.isfinite(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
        part = piece.parts[0]
        raise WebuiError(
            f"{part.key} of {part.file.name} contains NaN or infinite numbers, or becomes so by the merge.",
            "Leave the damaged checkpoint out, or download it again.",
        )
    limits = torch.finfo(dtype)
    return tensor.clamp(limits.min, limits.max).to(dtype)
