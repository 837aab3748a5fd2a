"""Applies LoRAs to a checkpoint's weights, and removes them again.

The merged weights replace the original tensors, which are kept, so removal is exact and costs nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from modules.base.errors import WebuiError
from modules.networks.files.loras import LoraRequest
from modules.networks.lora.kinds import LORA, Misfit, change_size, decomposed
from modules.networks.lora.layers import Change, LoraFile, open_lora, refused, require_unchanged
from modules.networks.lora.origin import made_for
from modules.networks.lora.roles import folded
from modules.networks.model import Family, LoraTarget, Model

_SHOWN_MORE: Final = (5, 8, 9)  # input channels of UNets with inputs besides the latent
_OWN_CHANNELS: Final = 4
_NAMED: Final = 3  # keys listed in a note


class Checkpointed(Protocol):
    """The attributes of a checkpoint used in messages."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> Family: ...


class Patch:
    """The LoRAs applied to one checkpoint's weights."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._requests: tuple[LoraRequest, ...] = ()
        self._originals: dict[nn.Parameter, Tensor] = {}
        self._notes: tuple[str, ...] = ()

    def changed(self, requests: Sequence[LoraRequest]) -> Model:
        """The checkpoint with exactly `requests` in its weights; returns at once if they are applied already.

        Raises WebuiError for a file that cannot be used with it; then its weights are the original ones.
        """
        requests = tuple(requests)
        if requests != self._requests:
            self.restore()
            merged, notes = _merged(self._model, requests)
            for parameter, tensor in merged.items():
                self._originals[parameter] = parameter.data
                parameter.data = tensor
            self._requests, self._notes = requests, notes
        return self._model.with_loras(requests)

    @property
    def requests(self) -> tuple[LoraRequest, ...]:
        """The LoRAs in the weights."""
        return self._requests

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about parts of the LoRAs that had no effect."""
        return self._notes

    def restore(self) -> None:
        """Puts the original weights back: the same tensors as before."""
        for parameter, tensor in self._originals.items():
            parameter.data = tensor
        self._originals.clear()
        self._requests, self._notes = (), ()


@torch.no_grad()
def _merged(model: Model, requests: Sequence[LoraRequest]) -> tuple[dict[nn.Parameter, Tensor], tuple[str, ...]]:
    """The changed weights, in the types they compute in, and notes. Sums are in fp32, one weight at a time."""
    targets = model.lora_targets()
    if requests and not targets:
        names = ", ".join(repr(one.name) for one in requests)
        is_refiner = "loras" in model.family.abilities  # XL's: the family takes LoRAs, this model does not
        why = "refiners take none" if is_refiner else f"{model.family.label} checkpoints take none"
        return {}, (f"The LoRAs {names} have no effect with the checkpoint {model.name}: {why}.",)
    changes: dict[nn.Parameter, list[tuple[Change, float]]] = {}
    notes: list[str] = []
    for one in requests:
        file = open_lora(one)
        for parameter, change, strength in matched(one, file, targets, model):
            if strength:
                changes.setdefault(parameter, []).append((change, strength))
        notes += notes_of(one, file, targets, model.name)
    texts = {each for target in targets.values() if target.is_text for each in (target.parameter, target.bias)}
    merged = {
        parameter: summed(parameter.data, parts, model.place.text_dtype if parameter in texts else model.place.dtype)
        for parameter, parts in changes.items()
    }
    for one in requests:
        require_unchanged(one)
    return merged, tuple(notes)


def matched(
    one: LoraRequest, file: LoraFile, targets: Mapping[str, LoraTarget], model: Checkpointed
) -> list[tuple[nn.Parameter, Change, float]]:
    """(parameter, change, the prompt's weight) for all layers that the checkpoint has.

    Raises WebuiError if there are none, or if a shape differs.
    """
    found: list[tuple[nn.Parameter, Change, float]] = []
    for layer, changes in file.layers.items():
        target = targets.get(folded(layer))
        for change in changes if target else ():
            assert target is not None
            parameter = target.bias if change.kind.is_bias else target.parameter
            if parameter is None:
                continue
            _require_fit(change, tuple(parameter.shape), file, model)
            strength = one.te if target.is_text else one.unet
            if one.blocks and target.block is not None:
                strength *= one.blocks[target.block]
            found.append((parameter, change, strength))
    if not found:
        raise _unfit(one, f"fits no layer of the checkpoint {model.name}", file, model)
    return found


def _require_fit(change: Change, weight: tuple[int, ...], file: LoraFile, model: Checkpointed) -> None:
    """Raises WebuiError unless the change has the shape of the weight."""
    size, requests = change.size(weight), change_size(weight)
    if size == requests or _is_padded(size, weight):
        return
    raise _unfit(
        change.lora,
        f"does not fit the checkpoint {model.name}: {change.layer} is {size.rows} x {size.columns} in it and "
        f"{requests.rows} x {requests.columns} in the checkpoint",
        file,
        model,
    )


def _is_padded(size: tuple[int, int], weight: tuple[int, ...]) -> bool:
    """Whether a change of a UNet's first layer covers only the latent's channels of a UNet with more inputs."""
    is_first = len(weight) == 4 and weight[1] in _SHOWN_MORE
    return is_first and size == (weight[0], _OWN_CHANNELS * weight[2] * weight[3])


def _unfit(one: LoraRequest, why: str, file: LoraFile, model: Checkpointed) -> WebuiError:
    """The error for a LoRA that does not fit, with the family it was made for if that is the reason."""
    family = made_for(file.layers)
    own = model.family.label
    if family and family != own:
        return refused(
            one,
            f"is made for {family}, and the checkpoint {model.name} is a {own} checkpoint",
            f"Choose a LoRA for {own}, or a checkpoint that it is made for.",
        )
    return refused(one, why, "Use it with a checkpoint of the size it was trained on.")


def notes_of(one: LoraRequest, file: LoraFile, targets: Mapping[str, LoraTarget], checkpoint: str) -> list[str]:
    """Sentences with counts of the parts of a file that have no effect."""
    unknown = [layer for layer in file.layers if folded(layer) not in targets]
    biases = [
        change.layer
        for layer, changes in file.layers.items()
        for change in changes
        if (target := targets.get(folded(layer))) and change.kind.is_bias and target.bias is None
    ]
    notes: list[str] = []
    if unknown:
        notes.append(
            f"{len(unknown)} of the {len(file.layers)} layers of the LoRA {one.name!r} have no effect: the checkpoint "
            f"{checkpoint} has no layers of these names ({_some(unknown)})."
        )
    if biases:
        notes.append(
            f"{len(biases)} changes of biases in the LoRA {one.name!r} have no effect: these layers of the checkpoint "
            f"{checkpoint} have no bias ({_some(biases)})."
        )
    if file.unread:
        notes.append(
            f"{len(file.unread)} of the {len(file.weights.header)} tensors of the LoRA {one.name!r} have no effect: "
            f"they are of no known kind ({_some(file.unread)})."
        )
    return notes


def _some(names: Sequence[str]) -> str:
    named = ", ".join(name[:100] for name in names[:_NAMED])
    return f"{named}, …" if len(names) > _NAMED else named


def summed(weight: Tensor, changes: Sequence[tuple[Change, float]], dtype: torch.dtype) -> Tensor:
    """`weight` with the changes applied in order, each to the result of those before: some multiply the weight.

    `dtype` is the type that the weight computes in; it may be stored in another type.
    """
    total = weight.to(dtype).to(torch.float32, copy=True)
    for change, strength in changes:
        try:
            _add(total, change, strength)
        except Misfit as error:
            raise refused(change.lora, f"has {error} in {change.layer}", "Download it again.") from error
    merged = total.to(dtype)
    if not bool(torch.isfinite(merged.sum(dtype=torch.float32))) and not bool(torch.isfinite(merged.float()).all()):
        change = changes[-1][0]
        raise refused(
            change.lora, f"makes NaN or infinite numbers of {change.layer}", "Use a smaller weight, or another file."
        )
    return merged


def _add(total: Tensor, change: Change, strength: float) -> None:
    factors = {part: _read(change, key, total) for part, key in change.keys.items()}
    if change.kind is LORA:
        factors = _fewer_ranks(factors, change.lora.dyn_dim)
        if total.ndim == 2 and "mid" not in factors and not change.magnitude:
            up, down = factors["up"].flatten(1), factors["down"].flatten(1)
            total.addmm_(up, down, alpha=change.scale * strength)  # half the time of a separate product and sum
            return
    delta = change.kind.delta(factors, total)
    if total.ndim == 4 and delta.numel() < total.numel():
        own = delta.reshape(total.shape[0], -1, *total.shape[2:])
        delta = nn.functional.pad(own, (0, 0, 0, 0, 0, total.shape[1] - own.shape[1]))
    delta = delta.reshape(total.shape)
    if change.magnitude:
        magnitude = _read(change, change.magnitude, total)
        total.add_(decomposed(delta * change.scale, total, magnitude, change.by_output), alpha=strength)
    else:
        total.add_(delta, alpha=change.scale * strength)


def _read(change: Change, key: str, like: Tensor) -> Tensor:
    return change.weights.read(key).to(like.device, torch.float32)


def _fewer_ranks(factors: dict[str, Tensor], most: int | None) -> dict[str, Tensor]:
    if most is None:
        return factors
    cut = {"up": factors["up"].flatten(1)[:, :most], "down": factors["down"][:most]}
    return cut | ({"mid": factors["mid"][:most, :most]} if "mid" in factors else {})
