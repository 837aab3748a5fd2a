"""Converts OpenCLIP's text encoders (of Stable Diffusion 2, and the larger one of XL) to transformers' names."""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from torch import Tensor

from modules.networks.files.listing import Header, TensorInfo
from modules.networks.weights import Weights

_ENDS: Final[Mapping[str, str]] = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_LAYER: Final[Mapping[str, str]] = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
_BLOCK: Final = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_TOGETHER: Final = re.compile(r"attn\.in_proj_(weight|bias)")  # query, key and value in one tensor
_PROJECTION: Final = "text_projection"
_THIRDS: Final = ("q_proj", "k_proj", "v_proj")


class Source(NamedTuple):
    """Where a tensor comes from: a key, which third of its rows, and whether it must be transposed."""

    key: str
    third: int | None = None
    is_turned: bool = False


def as_transformers(weights: Weights, prefix: str) -> Weights:
    """The text encoder at `prefix` in transformers' layout: `embeddings. …`, `encoder.layers. …`; other tensors are
    left out. The projection of the pooled prompt is `text_projection.weight`."""
    sources = sources_of(weights.header, prefix)
    header: Header = {name: _info(weights.header[source.key], source) for name, source in sources.items()}
    return Weights(weights.name, header, _reader(weights, sources), weights.forget)


def sources_of(header: Header, prefix: str) -> dict[str, Source]:
    """The source of each tensor of the text encoder at `prefix`, by transformers' names."""
    sources: dict[str, Source] = {}
    for key in header:
        if key.startswith(prefix):
            sources |= _sources(key, key.removeprefix(prefix))
    return sources


def _sources(key: str, inner: str) -> dict[str, Source]:
    if inner in _ENDS:
        return {_ENDS[inner]: Source(key)}
    if inner == _PROJECTION:
        return {f"{_PROJECTION}.weight": Source(key, is_turned=True)}
    if inner == f"{_PROJECTION}.weight":
        return {inner: Source(key)}
    block = _BLOCK.fullmatch(inner)
    if block is None:
        return {}
    layer, rest = f"encoder.layers.{block[1]}", block[2]
    if together := _TOGETHER.fullmatch(rest):
        return {f"{layer}.self_attn.{part}.{together[1]}": Source(key, i) for i, part in enumerate(_THIRDS)}
    part, _, kind = rest.rpartition(".")
    return {f"{layer}.{_LAYER[part]}.{kind}": Source(key)} if part in _LAYER else {}


def _info(info: TensorInfo, source: Source) -> TensorInfo:
    shape = info.shape
    if source.third is not None and shape:
        shape = (shape[0] // 3, *shape[1:])
    return info._replace(shape=shape[::-1] if source.is_turned else shape)


def _reader(weights: Weights, sources: Mapping[str, Source]) -> Callable[[str], Tensor]:
    latest: dict[str, Tensor] = {}  # the last tensor that was split: its thirds are read one after another

    def read(name: str) -> Tensor:
        key, third, is_turned = sources[name]
        if third is None:
            tensor = weights.read(key)
            return tensor.T if is_turned else tensor
        if key not in latest:
            latest.clear()
            latest[key] = weights.read(key)
        rows = latest[key].shape[0] // 3
        part = latest[key][third * rows : (third + 1) * rows]
        if third == len(_THIRDS) - 1:
            latest.clear()
        return part

    return read
