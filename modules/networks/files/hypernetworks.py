"""Hypernetwork files without loading them: finding and describing them. Does not import torch.

A1111's training saves a dict. Its integer keys are the context widths that the networks apply to; each value has the
state dicts of two networks, for the keys and for the values of attention. Other entries say how the networks are built.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.networks.files.listing import find_files
from modules.networks.files.torch_pickle import Content, Stored
from modules.schema.catalog import Hypernetwork

SUFFIXES: Final = (".pt",)
ACTIVATIONS: Final = {
    "relu": "ReLU", "leakyrelu": "LeakyReLU", "elu": "ELU", "swish": "Hardswish", "tanh": "Tanh", "sigmoid": "Sigmoid",
    "celu": "CELU", "gelu": "GELU", "hardshrink": "Hardshrink", "hardsigmoid": "Hardsigmoid", "hardswish": "Hardswish",
    "hardtanh": "Hardtanh", "logsigmoid": "LogSigmoid", "mish": "Mish", "relu6": "ReLU6", "rrelu": "RReLU",
    "selu": "SELU", "silu": "SiLU", "softplus": "Softplus", "softshrink": "Softshrink", "softsign": "Softsign",
    "tanhshrink": "Tanhshrink",
}  # fmt: skip
_LINEAR: Final = ("linear", "")
_OLD_NAMES: Final = {"linear1": "linear.0", "linear2": "linear.1"}


@dataclass(frozen=True)
class Layer:
    """A linear layer, or a layer norm if the weight has one dimension."""

    weight: Stored
    bias: Stored | None

    @property
    def is_norm(self) -> bool:
        return len(self.weight.shape) == 1


@dataclass(frozen=True)
class Description:
    """networks: by width, the layers of the network for keys and of the one for values.

    activation: a class of torch.nn that follows each linear layer, "" for none.  ends_active: after the last one too.
    """

    networks: Mapping[int, tuple[tuple[Layer, ...], tuple[Layer, ...]]]
    activation: str
    ends_active: bool


def find_hypernetworks(folders: Sequence[Path]) -> tuple[Hypernetwork, ...]:
    """The hypernetwork files in `folders`, each name once."""
    found: dict[str, Hypernetwork] = {}
    for path in find_files(folders, SUFFIXES):
        name = shown(path.stem)
        found.setdefault(name, Hypernetwork(name, path))
    return tuple(found.values())


def described(content: Content, name: str) -> Description:
    """The description of a file's content. Raises WebuiError if it is not a hypernetwork, or cannot be built."""
    saved = content if isinstance(content, Mapping) else {}
    networks: dict[int, tuple[tuple[Layer, ...], tuple[Layer, ...]]] = {}
    for key, value in saved.items():
        if key.isascii() and key.isdigit() and isinstance(value, Mapping):
            width = int(key)
            networks[width] = (_layers(value.get("0"), width, name), _layers(value.get("1"), width, name))
    if not networks:
        raise WebuiError(f"{name} is no hypernetwork.", "Choose another file.", "prompt")
    activation = saved.get("activation_func")
    function = activation.lower() if isinstance(activation, str) else ""
    if function not in (*_LINEAR, *ACTIVATIONS):
        raise WebuiError(f"{name} has the activation {function[:40]!r}, which is unknown.", "Use another.", "prompt")
    return Description(networks, ACTIVATIONS.get(function, ""), saved.get("activate_output", True) is not False)


def _layers(state: Content, width: int, name: str) -> tuple[Layer, ...]:
    """The layers in order; layers without weights (activation, dropout) leave gaps in the numbering."""
    numbered: dict[int, dict[str, Stored]] = {}
    for key, tensor in state.items() if isinstance(state, Mapping) else ():
        layer, _, kind = key.rpartition(".")
        number = _OLD_NAMES.get(layer, layer).removeprefix("linear.")
        if number.isascii() and number.isdigit() and len(number) < 4 and isinstance(tensor, Stored):
            numbered.setdefault(int(number), {})[kind] = tensor
    layers: list[Layer] = []
    inner = width
    for _, tensors in sorted(numbered.items()):
        weight, bias = tensors.get("weight"), tensors.get("bias")
        if weight is None or len(weight.shape) not in (1, 2) or weight.shape[-1] != inner or not min(weight.shape):
            raise _odd(name, width)
        inner = weight.shape[0]
        if bias is not None and bias.shape != (inner,):
            raise _odd(name, width)
        layers.append(Layer(weight, bias))
    if not layers or inner != width:
        raise _odd(name, width)
    return tuple(layers)


def _odd(name: str, width: int) -> WebuiError:
    why = f"{name} holds networks for the width {width} whose layers do not follow each other."
    return WebuiError(why, "Download it again.", "prompt")
