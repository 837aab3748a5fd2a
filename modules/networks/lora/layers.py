"""Reads a LoRA file as changes to layers: groups keys, identifies kinds, finds alphas. Only scalars are read here."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from modules.base.errors import WebuiError
from modules.networks.files.embeddings import BUNDLED
from modules.networks.files.foreign import format_of, parse_json, read_json
from modules.networks.files.headers import stamp_of
from modules.networks.files.listing import read_metadata
from modules.networks.files.loras import FIELD, LoraRequest
from modules.networks.lora.kinds import KINDS, LoraKind, Misfit, Shape, Size
from modules.networks.lora.roles import parse_key
from modules.networks.weights import Weights, open_weights

_DOWNLOAD: Final = "Download it again."
_FLOATS: Final = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_SCALARS: Final = ("alpha", "scale", "on_input")
_ADAPTER_MODEL, _ADAPTER_CONFIG = "adapter_model", "adapter_config.json"  # PEFT's names for both files
_ADAPTER_METADATA: Final = "lora_adapter_metadata"  # where diffusers keeps PEFT's configuration, as JSON


@dataclass(frozen=True)
class Change:
    """The change of one weight or bias by one LoRA. `keys` are the keys of its tensors by part.

    scale: alpha / rank.  magnitude: the key of DoRA's lengths, or "".  by_output: whether these are per output.
    """

    lora: LoraRequest
    weights: Weights
    layer: str
    kind: LoraKind
    keys: Mapping[str, str]
    scale: float = 1.0
    magnitude: str = ""
    by_output: bool = True

    @property
    def shapes(self) -> dict[str, Shape]:
        return {part: self.weights.header[key].shape for part, key in self.keys.items()}

    def size(self, weight: Shape) -> Size:
        """The size of the change. Raises WebuiError if its factors do not fit together."""
        try:
            return self.kind.size(self.shapes, weight)
        except Misfit as error:
            raise refused(self.lora, f"has {error} in {self.layer}", _DOWNLOAD) from error


@dataclass(frozen=True)
class LoraFile:
    """The content of a LoRA file. `layers` are by the file's own names; `unread` are unknown keys."""

    weights: Weights
    layers: Mapping[str, tuple[Change, ...]]
    unread: tuple[str, ...]


def open_lora(request: LoraRequest) -> LoraFile:
    """The content of the file. Raises WebuiError if it cannot be read, or has no change of a known kind."""
    if request.dyn_dim is not None and request.dyn_dim < 1:
        raise WebuiError(f"prompt: rank {request.dyn_dim} of <lora:{request.name}> must be at least 1.", "", FIELD)
    weights = _opened(request)
    unread: list[str] = []
    found: dict[str, dict[str, str]] = {}  # layer -> keys by part
    for key in weights.header:
        place = None if key.startswith(BUNDLED) else parse_key(key)
        if place is not None:
            found.setdefault(place.layer, {})[place.part] = key
        elif not key.startswith(BUNDLED):
            unread.append(key)
    adapters = _adapter_metadata(request, format_of(request.stamp.path) == "safetensors")
    layers: dict[str, tuple[Change, ...]] = {}
    for layer, keys in found.items():
        changes = tuple(_changes(request, weights, layer, keys, adapters))
        if changes:
            layers[layer] = changes
        used = {key for change in changes for key in (*change.keys.values(), change.magnitude)}
        used |= {keys[part] for part in ("alpha", "scale") if changes and part in keys}
        unread += [key for key in keys.values() if key not in used]
    if not layers:
        raise refused(request, "holds no LoRA", "Choose another file.")
    return LoraFile(weights, layers, tuple(unread))


def refused(request: LoraRequest, why: str, cure: str) -> WebuiError:
    return WebuiError(f"prompt: the LoRA {request.name!r} {why}.", cure, FIELD)


def require_unchanged(request: LoraRequest) -> None:
    """Raises WebuiError if the file has changed since the job started."""
    path = request.stamp.path
    if not path.exists() or stamp_of(path) != request.stamp:
        raise refused(request, "was replaced while the job ran", "Generate again.")


def _opened(request: LoraRequest) -> Weights:
    try:
        return open_weights(request.stamp.path)
    except WebuiError as error:
        raise WebuiError(f"prompt: the LoRA {request.name!r}: {error.message}", error.hint, FIELD) from error
    except OSError as error:
        raise WebuiError(
            f"prompt: the LoRA {request.name!r} cannot be read: {error.strerror or error}.", "Refresh the list.", FIELD
        ) from error


def _changes(
    request: LoraRequest, weights: Weights, layer: str, keys: Mapping[str, str], adapters: Mapping[str, Any]
) -> Iterator[Change]:
    """The changes of a layer, which may have several: factors, and a difference of its bias."""
    for part, key in keys.items():
        if part not in _SCALARS and weights.header[key].dtype not in _FLOATS:
            raise refused(
                request, f"is quantized ({key} is {weights.header[key].dtype})", "Use a version in fp16 or bf16."
            )
    shapes = {part: weights.header[key].shape for part, key in keys.items()}
    for kind in KINDS:
        if not kind.marks & keys.keys():
            continue
        try:
            rank = kind.rank(shapes)
        except (KeyError, IndexError):
            rank = 0  # `size` reports what is missing
        scale = 1.0 if "alpha" in kind.parts else _scale(weights, keys, layer, rank, adapters)
        if not math.isfinite(scale):
            raise refused(request, f"has an alpha that is no number in {layer}", _DOWNLOAD)
        own = {part: key for part, key in keys.items() if part in kind.marks | kind.parts}
        magnitude = "" if kind.is_bias else keys.get("dora", keys.get("magnitude", ""))
        lengths = weights.header[magnitude].shape if magnitude else ()
        by_output = "dora" not in keys or len(lengths) < 2 or lengths[0] != 1
        yield Change(request, weights, layer, kind, own, scale, magnitude, by_output)


def _scale(weights: Weights, keys: Mapping[str, str], name: str, rank: int, adapters: Mapping[str, Any]) -> float:
    """The factor of the change: the file's own scale, else alpha / rank; 1 without an alpha."""
    for part, divisor in (("scale", 1), ("alpha", rank)):
        if divisor and part in keys and math.prod(weights.header[keys[part]].shape) == 1:
            return float(weights.read(keys[part])) / divisor
    if not rank:
        return 1.0
    part = next((part for part in ("unet", "text_encoder_2", "text_encoder") if name.startswith(f"{part}.")), "unet")
    own = name.removeprefix(f"{part}.").removeprefix("base_model.model.")
    patterns = adapters.get(f"{part}.alpha_pattern")
    alpha = adapters.get(f"{part}.lora_alpha", adapters.get(f"{part}.alpha"))
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        if own == pattern or own.endswith(f".{pattern}"):
            alpha = value
    if not isinstance(alpha, int | float):
        return 1.0
    return alpha / (math.sqrt(rank) if adapters.get(f"{part}.use_rslora") is True else rank)


def _adapter_metadata(request: LoraRequest, is_safetensors: bool) -> Mapping[str, Any]:
    """PEFT's configuration, from the file as written by diffusers, or from the JSON that PEFT saves next to
    `adapter_model`."""
    path = request.stamp.path
    try:
        adapter = parse_json(read_metadata(path).get(_ADAPTER_METADATA, "{}")) if is_safetensors else {}
    except ValueError:
        adapter = {}
    if adapter or path.stem != _ADAPTER_MODEL:
        return cast(dict[str, Any], adapter) if isinstance(adapter, dict) else {}
    try:
        beside = read_json(path.with_name(_ADAPTER_CONFIG))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, WebuiError) as error:
        raise refused(request, f"has an {_ADAPTER_CONFIG} beside it that cannot be read", _DOWNLOAD) from error
    parts = ("unet", "text_encoder", "text_encoder_2")
    return {f"{part}.{key}": value for part in parts for key, value in beside.items()}
