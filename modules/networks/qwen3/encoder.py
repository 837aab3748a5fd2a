"""Qwen3 as a text encoder: built from the shapes in a file, without the layers whose output nobody reads.

Image models read states between Qwen3's layers. The network is built without the layers after the last of them and
without the final norm. (With the norm, transformers 5 returns the normed state as the last one.)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from modules.base.errors import WebuiError
from modules.networks.device import Placement
from modules.networks.files.foreign import FIELD
from modules.networks.files.listing import Header
from modules.networks.weights import Weights, fill, require_fitting

EMBEDDING: Final = "embed_tokens.weight"
_MARK: Final = "layers.0.self_attn.q_norm.weight"  # Qwen2 and Llama have no such norm
_LAYER: Final = re.compile(r"layers\.(\d+)\.")
_ROPE_THETA: Final = 1_000_000.0  # of all Qwen3 models; no tensor shows it
_MOST_LAYERS: Final = 128
_WIDEST: Final = 2**16


@dataclass(frozen=True)
class Encoder:
    """A text encoder that has not been read yet: its weights, their prefix in the file, and its configuration."""

    weights: Weights
    prefix: str
    config: Qwen3Config

    @property
    def width(self) -> int:
        """The width of a token's state."""
        return self.config.hidden_size

    def names(self, name: str) -> Sequence[str]:
        return [self.prefix + name]

    def empty(self) -> Qwen3Model:
        """The network on the meta device. Raises WebuiError if the weights do not fit."""
        with torch.device("meta"):
            network = Qwen3Model(self.config)
        network.norm = cast(Any, nn.Identity())
        require_fitting(network, self.weights, self.names)
        return network

    def fill(self, network: Qwen3Model, place: Placement) -> None:
        """Reads the weights. Raises WebuiError as `fill` does."""
        fill(network, self.weights, self.names, place.loaded_to, place.loaded_as(place.text_dtype))
        network.rotary_emb = cast(Any, _Positions(self.config))  # not in the file, so still on the meta device


class _Positions(nn.Module):
    """Rotary position embeddings whose frequencies stay in fp32.

    They are no buffer here: the memory modes convert buffers to the type that weights compute in.
    """

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self._inner = (Qwen3RotaryEmbedding(config),)  # in a tuple, so that it is no submodule

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self._inner[0].to(x.device)(x, position_ids)
        return cos, sin


def found_in(header: Header) -> str | None:
    """The prefix of a Qwen3 text encoder's tensors; None if there is none in the file."""
    return next((key.removesuffix(_MARK) for key in header if key.endswith(_MARK)), None)


def encoder_in(weights: Weights, last: int = -1) -> Encoder:
    """The text encoder in a file, up to layer `last`: a number of layers, or, if negative, as many fewer than all.

    Raises WebuiError if the file contains no Qwen3, or one of unusual shapes.
    """
    prefix = found_in(weights.header)
    if prefix is None:
        raise WebuiError(f"{weights.name} contains no Qwen3 text encoder.", "Choose another file.", FIELD)

    def shape(key: str) -> tuple[int, int]:
        info = weights.header.get(prefix + key)
        if info is None or not 1 <= len(info.shape) <= 2 or not all(side > 0 for side in info.shape):
            raise WebuiError(f"{weights.name} is incomplete: {prefix}{key} is missing.", "Download it again.", FIELD)
        return info.shape[0], info.shape[-1]

    found = (_LAYER.match(key.removeprefix(prefix)) for key in weights.header if key.startswith(prefix))
    layers = 1 + max((int(match[1]) for match in found if match), default=-1)
    (words, width), (head, _) = shape(EMBEDDING), shape(_MARK)
    inner, (queries, _), (keys, _) = (
        shape("layers.0.mlp.gate_proj.weight")[0],
        shape("layers.0.self_attn.q_proj.weight"),
        shape("layers.0.self_attn.k_proj.weight"),
    )
    heads, shared = queries // head, keys // head
    used = last if last > 0 else layers + last
    plausible = 0 < used <= layers <= _MOST_LAYERS and max(width, inner, queries) <= _WIDEST
    if not plausible or heads * head != queries or shared * head != keys or not shared or heads % shared:
        raise WebuiError(
            f"{weights.name} has unusual shapes: {layers} layers, {queries} and {keys} numbers for queries and keys in "
            f"heads of {head}.",
            "Download it again.",
            FIELD,
        )
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": _ROPE_THETA}
    others: dict[str, Any] = {"use_cache": False, "attn_implementation": "sdpa"}
    config = Qwen3Config(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=used,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        head_dim=head,
        rope_parameters=rope,
        **others,
    )
    return Encoder(weights, prefix, config)


@torch.inference_mode()
def states(network: Qwen3Model, ids: Sequence[int], device: torch.device) -> Tensor:
    """The states (1, tokens, width) of a text of at least one token."""
    return network(input_ids=torch.tensor([list(ids)], device=device)).last_hidden_state


@torch.inference_mode()
def padded_states(
    network: Qwen3Model, ids: Sequence[int], length: int, layers: Sequence[int], pad: int, device: torch.device
) -> Tensor:
    """The states after some layers, side by side: (1, length, width · layers), of a text padded with the token `pad`.

    The text does not see the padding; the padding's states are returned too, because the image model reads them.
    """
    filled = [*ids, *[pad] * (length - len(ids))]
    mask = torch.tensor([[1] * len(ids) + [0] * (length - len(ids))], device=device)
    hidden = network(
        input_ids=torch.tensor([filled], device=device), attention_mask=mask, output_hidden_states=True
    ).hidden_states
    return torch.cat([hidden[layer] for layer in layers], dim=-1)
