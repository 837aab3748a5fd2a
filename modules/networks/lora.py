"""LoRA: low-rank changes to a checkpoint's weights (Hu et al. 2021, arXiv 2106.09685), laid over them and taken off.

W' = W + s * (alpha / rank) * up @ down, s being the prompt's weight. Read are kohya's files (LoRA, and LoCon for
convolutions, also with a middle factor), and those of diffusers and PEFT. The merged weights stand in for the original
tensors, which are kept, so the way back is exact and costs nothing.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import torch
from torch import Tensor, nn

from modules.base.errors import WebuiError
from modules.networks.files.foreign import format_of, parse_json, read_json
from modules.networks.files.listing import Header, read_metadata
from modules.networks.files.loras import FIELD, LoraRequest, stamp_of
from modules.networks.model import LoraTarget, Model
from modules.networks.weights import Weights, open_weights

# Kinds of change that are none of these, by a part of their keys.
REFUSED: Final = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"\.hada_w\d", "LoHa"),
        (r"\.lokr_w\d", "LoKr"),
        (r"\.(dora_scale|lora_magnitude_vector)", "DoRA"),
        (r"\.oft_(blocks|diag)", "OFT"),
        (r"\.on_input$", "IA3"),
        (r"\.[ab][12]\.weight$", "GLoRA"),
        (r"\.diff(_b)?$", "a full difference of weights"),
        (r"\.[wb]_norm$", "a change to norms"),
        (r"\.lora_embedding_[AB]", "a LoRA of embeddings"),
    )
)
_OTHER_MODELS: Final[Mapping[str, str]] = {
    "lora_te2_": "Stable Diffusion XL", "text_encoder_2.": "Stable Diffusion XL", "lora_te1_": "Stable Diffusion XL",
    "lora_unet_double_blocks": "Flux", "transformer.": "a transformer such as Flux or Stable Diffusion 3",
}  # fmt: skip
_BUNDLED: Final = "bundle_emb."  # textual inversions that travel inside of a LoRA's file

_ROLES: Final = tuple(
    (re.compile(rf"(.+)\.(?:{pattern})"), role)
    for pattern, role in (
        (r"lora_up\.weight|lora_B(?:\.\w+)?\.weight|lora\.up\.weight|lora_linear_layer\.up\.weight", "up"),
        (r"lora_down\.weight|lora_A(?:\.\w+)?\.weight|lora\.down\.weight|lora_linear_layer\.down\.weight", "down"),
        (r"lora_mid\.weight", "mid"),
        (r"alpha", "alpha"),
        (r"scale", "scale"),
    )
)
# diffusers before 0.18: `attn1.processor.to_q_lora.down.weight`
_PROCESSOR: Final = re.compile(r"\.processor\.(to_q|to_k|to_v|to_out)_lora\.")
_ADAPTER_MODEL, _ADAPTER_CONFIG = "adapter_model", "adapter_config.json"  # PEFT's names for both files
_ADAPTER_METADATA: Final = "lora_adapter_metadata"  # where diffusers keeps PEFT's configuration, as JSON


class Change(NamedTuple):
    """What one LoRA does to one weight: the keys of its factors, and the factor before their product."""

    weights: Weights
    up: str
    down: str
    mid: str
    scale: float
    dyn_dim: int | None


class Patch:
    """What LoRAs have done to one checkpoint's weights, and the way back."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._wanted: tuple[LoraRequest, ...] = ()
        self._originals: dict[nn.Parameter, Tensor] = {}
        self._notes: tuple[str, ...] = ()

    def changed(self, wanted: Sequence[LoraRequest]) -> Model:
        """The checkpoint with `wanted` in its weights and nothing else; at once if they are there already.

        Raises WebuiError for a file that cannot be used with it; then its weights are the original ones.
        """
        wanted = tuple(wanted)
        if wanted != self._wanted:
            self.restore()
            merged, notes = _merged(self._model, wanted)
            for parameter, tensor in merged.items():
                self._originals[parameter] = parameter.data
                parameter.data = tensor
            self._wanted, self._notes = wanted, notes
        return self._model.with_loras(wanted)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what had no effect."""
        return self._notes

    def restore(self) -> None:
        """The original weights, the very tensors."""
        for parameter, tensor in self._originals.items():
            parameter.data = tensor
        self._originals.clear()
        self._wanted, self._notes = (), ()


@torch.no_grad()
def _merged(model: Model, wanted: Sequence[LoraRequest]) -> tuple[dict[nn.Parameter, Tensor], tuple[str, ...]]:
    """The weights that change, in their own types, and notes. Sums are made in fp32, one weight at a time."""
    targets = model.lora_targets()
    changes: dict[nn.Parameter, list[Change]] = {}
    notes: list[str] = []
    for one in wanted:
        weights = _opened(one)
        unknown = 0
        layers = list(_layers(weights, one))
        for layer, change in layers:
            target = targets.get(layer)
            if target is None:
                unknown += 1
                continue
            _require_fit(one, layer, change, target, model.name)
            strength = one.te if target.is_text else one.unet
            if one.blocks and target.block is not None:
                strength *= one.blocks[target.block]
            if strength:
                scaled = change._replace(scale=change.scale * strength)
                changes.setdefault(target.parameter, []).append(scaled)
        if unknown == len(layers):
            raise _refused(one, f"fits no layer of the checkpoint {model.name}", _made_for(weights.header))
        if unknown:
            notes.append(
                f"The LoRA {one.name!r} changes {unknown} of its {len(layers)} layers to no effect: the checkpoint "
                f"{model.name} has none of these names."
            )
        if any(key.startswith(_BUNDLED) for key in weights.header):
            notes.append(f"The embeddings inside of the LoRA {one.name!r} are not read.")
    merged = {parameter: _sum(parameter.data, parts) for parameter, parts in changes.items()}
    for one in wanted:
        _require_unchanged(one)
    return merged, tuple(notes)


def _sum(weight: Tensor, changes: Sequence[Change]) -> Tensor:
    total = weight.to(torch.float32, copy=True)
    for change in changes:
        up, down = (change.weights.read(key).to(total.device, torch.float32) for key in (change.up, change.down))
        up, down = up.flatten(1)[:, : change.dyn_dim], down[: change.dyn_dim].flatten(1)
        if change.mid:
            mid = change.weights.read(change.mid).to(total.device, torch.float32)
            mid = mid[: change.dyn_dim, : change.dyn_dim]
            total.add_(torch.einsum("or,rshw,si->oihw", up, mid, down).reshape(total.shape), alpha=change.scale)
        elif total.ndim == 2:
            total.addmm_(up, down, alpha=change.scale)  # half the time of a product that is then added
        else:
            total.add_((up @ down).reshape(total.shape), alpha=change.scale)
    return total.to(weight.dtype)


# ---- files ----


def _opened(wanted: LoraRequest) -> Weights:
    try:
        weights = open_weights(wanted.stamp.path)
    except WebuiError as error:
        raise WebuiError(f"prompt: the LoRA {wanted.name!r}: {error.message}", error.hint, FIELD) from error
    except OSError as error:
        raise WebuiError(
            f"prompt: the LoRA {wanted.name!r} cannot be read: {error.strerror or error}.", "Refresh the list.", FIELD
        ) from error
    for pattern, kind in REFUSED:
        if any(pattern.search(key) for key in weights.header):
            raise _refused(wanted, f"is {kind}, which is not supported", "Use a plain LoRA or LoCon instead.")
    return weights


def _require_unchanged(wanted: LoraRequest) -> None:
    """Raises WebuiError if the file is another one than when the job began."""
    path = wanted.stamp.path
    if not path.exists() or stamp_of(path) != wanted.stamp:
        raise _refused(wanted, "was replaced while the job ran", "Generate again.")


def _layers(weights: Weights, wanted: LoraRequest) -> Iterator[tuple[str, Change]]:
    """(name, change) of a file's layers, names as they stand there. Raises WebuiError for a file that is no LoRA."""
    if wanted.dyn_dim is not None and wanted.dyn_dim < 1:
        raise WebuiError(f"prompt: rank {wanted.dyn_dim} of <lora:{wanted.name}> must be at least 1.", "", FIELD)
    layers: dict[str, dict[str, str]] = {}  # name -> keys by role
    for key in weights.header:
        told = _PROCESSOR.sub(r".\1.lora.", key)
        for pattern, role in _ROLES:
            if match := pattern.fullmatch(told):
                layers.setdefault(match[1], {})[role] = key
                break
    layers = {name: keys for name, keys in layers.items() if "up" in keys or "down" in keys}
    if not layers:
        raise _refused(wanted, "holds no LoRA", "Choose another file.")
    adapters = _adapter_metadata(wanted, format_of(wanted.stamp.path) == "safetensors")
    for name, keys in layers.items():
        if "up" not in keys or "down" not in keys:
            raise _refused(wanted, f"lacks one of the two factors of {name}", "Download it again.")
        up, down = weights.header[keys["up"]].shape, weights.header[keys["down"]].shape
        if len(up) not in (2, 4) or len(down) not in (2, 4) or 0 in (*up, *down):
            raise _refused(wanted, f"has factors of the wrong shape in {name}", "Download it again.")
        scale = _scale(weights, keys, name, down[0], adapters)
        if not math.isfinite(scale):
            raise _refused(wanted, f"has an alpha that is no number in {name}", "Download it again.")
        yield name, Change(weights, keys["up"], keys["down"], keys.get("mid", ""), scale, wanted.dyn_dim)


def _scale(weights: Weights, keys: Mapping[str, str], name: str, rank: int, adapters: Mapping[str, Any]) -> float:
    """What stands before up @ down: the file's own scale, else alpha / rank; without an alpha 1."""
    for role, divisor in (("scale", 1), ("alpha", rank)):
        if role in keys and math.prod(weights.header[keys[role]].shape) == 1:
            return float(weights.read(keys[role])) / divisor
    part = next((part for part in ("unet", "text_encoder") if name.startswith(f"{part}.")), "unet")
    own = name.removeprefix(f"{part}.").removeprefix("base_model.model.")
    patterns = adapters.get(f"{part}.alpha_pattern")
    alpha = adapters.get(f"{part}.lora_alpha")
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        if own == pattern or own.endswith(f".{pattern}"):
            alpha = value
    if not isinstance(alpha, int | float):
        return 1.0
    return alpha / (math.sqrt(rank) if adapters.get(f"{part}.use_rslora") is True else rank)


def _adapter_metadata(wanted: LoraRequest, is_safetensors: bool) -> Mapping[str, Any]:
    """PEFT's configuration, as diffusers keeps it in the file, or as PEFT saves it beside `adapter_model`."""
    path = wanted.stamp.path
    try:
        told = parse_json(read_metadata(path).get(_ADAPTER_METADATA, "{}")) if is_safetensors else {}
    except ValueError:
        told = {}
    if told or path.stem != _ADAPTER_MODEL:
        return cast(dict[str, Any], told) if isinstance(told, dict) else {}
    try:
        beside = read_json(path.with_name(_ADAPTER_CONFIG))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, WebuiError) as error:
        why = f"has an {_ADAPTER_CONFIG} beside it that cannot be read"
        raise _refused(wanted, why, "Download it again.") from error
    return {f"{part}.{key}": value for part in ("unet", "text_encoder") for key, value in beside.items()}


def _require_fit(wanted: LoraRequest, layer: str, change: Change, target: LoraTarget, checkpoint: str) -> None:
    """Raises WebuiError unless the product of the factors has the shape of the weight."""
    header = change.weights.header
    up, down = header[change.up].shape, header[change.down].shape
    rows, rank = up[0], math.prod(up[1:])
    inner, columns = down[0], math.prod(down[1:])
    if change.mid:
        mid = header[change.mid].shape
        fits = len(mid) == 4 and mid[:2] == (rank, inner)
        columns *= math.prod(mid[2:])
    else:
        fits = rank == inner
    if not fits:
        raise _refused(wanted, f"has factors that do not belong together in {layer}", "Download it again.")
    weight = target.parameter.shape
    if (rows, columns) != (weight[0], math.prod(weight[1:])):
        raise _refused(
            wanted,
            f"does not fit the checkpoint {checkpoint}: {layer} is {rows} x {columns} in it and {weight[0]} x "
            f"{math.prod(weight[1:])} in the checkpoint",
            _made_for(header),
        )


def _made_for(header: Header) -> str:
    for part, model in _OTHER_MODELS.items():
        if any(key.startswith(part) for key in header):
            return f"It is made for {model}."
    return "Use it with a checkpoint of the size it was trained on."


def _refused(wanted: LoraRequest, why: str, cure: str) -> WebuiError:
    return WebuiError(f"prompt: the LoRA {wanted.name!r} {why}.", cure, FIELD)
