"""Hypernetworks as in A1111: small networks that change the inputs of attention's keys and values.

In each attention layer whose context width matches one of its networks, keys are computed from c + s * K(c) and values
from c + s * V(c). c is the context (the prompt's states, or in self-attention the picture's); s is the multiplier in
the prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from modules.base.errors import WebuiError
from modules.networks.files.headers import Stamp, stamp_of
from modules.networks.files.hypernetworks import Description, Layer, described
from modules.networks.files.pickles import PickleReader
from modules.networks.files.torch_pickle import HYPERNETWORK
from modules.networks.model import Model
from modules.networks.weights import read_stored

FIELD = "prompt"
Halves = dict[int, tuple[nn.Module, nn.Module]]  # width -> the networks for keys and for values


@dataclass(frozen=True)
class HypernetworkRequest:
    """A hypernetwork with its multiplier; `name` is its name in the prompt."""

    name: str
    stamp: Stamp
    multiplier: float


class _Laid(NamedTuple):
    request: HypernetworkRequest
    halves: Halves


class Hypernetworks:
    """The hypernetworks on one checkpoint's denoiser, whose weights do not change."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._requests: tuple[HypernetworkRequest, ...] = ()
        self._handles: list[RemovableHandle] = []
        self._notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about hypernetworks that have no effect."""
        return self._notes

    def change(self, requests: Sequence[HypernetworkRequest]) -> None:
        """Applies `requests` and no others. Raises WebuiError for an unusable file; then no hypernetwork is applied."""
        requests = tuple(requests)
        if requests == self._requests:
            return
        self.remove()
        device = self._model.place.device
        laid = [_Laid(one, _halves(one, device)) for one in requests if one.multiplier]
        layers = list(_attention(self._model.parts["denoiser"]))
        widths = {layer.in_features for _, layer in layers}
        for number, layer in layers:
            steps = [(one.request.multiplier, one.halves[layer.in_features][number]) for one in laid
                     if layer.in_features in one.halves]  # fmt: skip
            if steps:
                self._handles.append(layer.register_forward_pre_hook(partial(_before, steps)))
        self._notes = tuple(
            f"The hypernetwork {one.request.name!r} has no effect: it is made for the widths "
            f"{', '.join(map(str, sorted(one.halves)))}, and the checkpoint {self._model.name} has none of them."
            for one in laid
            if not widths & one.halves.keys()
        )
        self._requests = requests

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._requests, self._notes = (), ()


def _attention(denoiser: nn.Module) -> list[tuple[int, nn.Linear]]:
    """(0 for keys or 1 for values, the projection layer) for each attention layer."""
    sides = {"to_k": 0, "to_v": 1}
    named = ((name.rpartition(".")[2], layer) for name, layer in denoiser.named_modules())
    return [(sides[kind], layer) for kind, layer in named if kind in sides and isinstance(layer, nn.Linear)]


def _before(steps: Sequence[tuple[float, nn.Module]], layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    context: Tensor = inputs[0]
    changed = context
    for multiplier, network in steps:
        seen = changed.to(torch.float32)
        changed = (seen + network(seen) * multiplier).to(context.dtype)
    return (changed, *inputs[1:])


def _halves(request: HypernetworkRequest, device: torch.device) -> Halves:
    path = request.stamp.path
    try:
        with PickleReader() as pickles:
            description = described(pickles.read(path, HYPERNETWORK), path.name)
        read = partial(_tensor, lambda stored: read_stored(path, stored), device)
        halves = {
            width: (_built(keys, description, read), _built(values, description, read))
            for width, (keys, values) in description.networks.items()
        }
        if stamp_of(path) != request.stamp:
            raise WebuiError(f"{path.name} was replaced while the job ran.", "Generate again.", FIELD)
        return halves
    except WebuiError as error:
        raise WebuiError(f"prompt: the hypernetwork {request.name!r}: {error.message}", error.hint, FIELD) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise WebuiError(f"prompt: the hypernetwork {request.name!r} cannot be read: {why}.", "", FIELD) from error


def _tensor(read: Callable[[Any], Tensor], device: torch.device, stored: Any) -> nn.Parameter:
    tensor = read(stored).to(device, torch.float32)
    if not bool(torch.isfinite(tensor).all()):
        raise WebuiError("It contains NaN or infinite numbers.", "Download it again.", FIELD)
    return nn.Parameter(tensor, requires_grad=False)


def _built(layers: Sequence[Layer], description: Description, read: Callable[[Any], nn.Parameter]) -> nn.Module:
    """Linear layers, each followed by the activation, then its layer norm. Dropout is only for training."""
    modules: list[nn.Module] = []
    last = max(number for number, layer in enumerate(layers) if not layer.is_norm)
    for number, layer in enumerate(layers):
        shape = layer.weight.shape
        made = nn.LayerNorm(shape[0], device="meta") if layer.is_norm else nn.Linear(shape[1], shape[0], device="meta")
        made.weight = read(layer.weight)
        made.bias = None if layer.bias is None else read(layer.bias)  # type: ignore[assignment]
        modules.append(made)
        if not layer.is_norm and description.activation and (number != last or description.ends_active):
            modules.append(getattr(nn, description.activation)())
    return nn.Sequential(*modules).eval()
