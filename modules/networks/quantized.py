"""Quantized weights in the formats of ComfyUI's files, restored as they are read, one tensor at a time.

Beside a layer's `weight` lies its scale: `scale_weight` in older files, `weight_scale` in newer ones. Those also have
`comfy_quant`, a JSON text with the format. Known are scaled 8-bit floats, and 8-bit integers, also rotated ("ConvRot").
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

import torch
from torch import Tensor

from modules.networks.files.foreign import parse_json
from modules.networks.files.listing import Header, TensorInfo

SCALES: Final = ("scale_weight", "weight_scale")
MARKS: Final = (*SCALES, "scaled_fp8", "comfy_quant", "weight_scale_2", "weight_s_rel")
RESTORED: Final = "BF16"  # 8 bits and a scale have no more digits
_UNUSED: Final = ("scale_input", "input_scale", "comfy_quant")  # for arithmetic in 8 bits, and the format
_FLOATS: Final = ("F8_E4M3", "F8_E5M2", "F16", "BF16", "F32")
_BY_NAME: Final = {"float8_e4m3fn": "float", "float8_e5m2": "float", "int8_tensorwise": "integer"}
_LONGEST: Final = 4096  # bytes of a `comfy_quant`
_GROUP: Final = 256  # usual width of a rotation

Read = Callable[[str], Tensor]


@dataclass(frozen=True)
class _Layer:
    """How to restore a weight: weight · scale, then rotated back in groups of columns; 0 means no rotation."""

    scale: str
    group: int = 0

    def restored(self, weight: Tensor, scale: Tensor) -> Tensor:
        by_row = scale.float().reshape(-1, *[1] * (weight.ndim - 1)) if scale.numel() > 1 else scale.float().reshape(())
        values = weight.float() * by_row
        if self.group:
            rotated = values.view(len(values), -1, self.group) @ rotation(self.group)
            values = rotated.reshape(weight.shape)
        return values.to(torch.bfloat16)


def is_quantized(header: Header) -> bool:
    """Whether a file has quantized layers, of whatever format."""
    return any(key.rpartition(".")[2] in MARKS for key in header)


def restored(header: Header, read: Read) -> tuple[Header, Read]:
    """The tensors with quantized layers of a known format restored. Layers of other formats stay as they are."""
    layers = dict(_layers(header, read))
    gone = {f"{layer}.{name}" for layer in layers for name in (*SCALES, *_UNUSED)}
    seen = {
        key: TensorInfo(RESTORED, info.shape) if key.removesuffix(".weight") in layers else info
        for key, info in header.items()
        if key not in gone
    }
    if layers and not any(key.rpartition(".")[2] in MARKS[:2] for key in seen):
        seen = {key: info for key, info in seen.items() if key.rpartition(".")[2] != "scaled_fp8"}

    def read_restored(key: str) -> Tensor:
        layer = layers.get(key.removesuffix(".weight")) if key.endswith(".weight") else None
        return read(key) if layer is None else layer.restored(read(key), read(layer.scale))

    return seen, read_restored


def _layers(header: Header, read: Read) -> Mapping[str, _Layer]:
    found: dict[str, _Layer] = {}
    for key in header:
        layer, _, name = key.rpartition(".")
        weight = header.get(f"{layer}.weight")
        if name not in SCALES or weight is None:
            continue
        format_key = f"{layer}.comfy_quant"
        notes = _notes(read, format_key, header[format_key]) if format_key in header else {}
        kind = _BY_NAME.get(str(notes.get("format")), "") if notes else _kind_by(weight)
        group = int(notes.get("convrot_groupsize", _GROUP)) if notes.get("convrot") is True else 0
        if kind == _kind_by(weight) and _fits(weight, header[key], group):
            found[layer] = _Layer(key, group)
    return found


def _kind_by(weight: TensorInfo) -> str:
    return "float" if weight.dtype in _FLOATS else "integer" if weight.dtype == "I8" else "unknown"


def _fits(weight: TensorInfo, scale: TensorInfo, group: int) -> bool:
    """Whether the scale is one number or one per row, and the columns are whole groups."""
    if not weight.shape or math.prod(scale.shape) not in (1, weight.shape[0]):
        return False
    if not group:
        return True
    is_power_of_four = group.bit_count() == 1 and group.bit_length() % 2 == 1
    return is_power_of_four and 4 <= group <= 4096 and len(weight.shape) == 2 and weight.shape[1] % group == 0


def _notes(read: Read, key: str, info: TensorInfo) -> dict[str, Any]:
    """The JSON text in a tensor of bytes; a format without a name if it is none."""
    unknown: dict[str, Any] = {"format": ""}
    if info.dtype != "U8" or math.prod(info.shape) > _LONGEST:
        return unknown
    try:
        notes = parse_json(bytes(read(key).flatten().tolist()).decode("utf-8"))
    except ValueError:  # the layer stays as it is, and is refused with its name
        return unknown
    return cast(dict[str, Any], notes) if isinstance(notes, dict) else unknown


@cache
def rotation(width: int) -> Tensor:
    """ConvRot's matrix R (width, width), its own inverse: normalized Kronecker powers of H4; width is a power of 4."""
    quarter = torch.tensor([[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]]) / 2
    matrix = torch.ones(1, 1)
    while len(matrix) < width:
        matrix = torch.kron(matrix, quarter)
    return matrix
