"""The `.yaml` next to a checkpoint, in the layout of Stable Diffusion's configuration files, and its values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import yaml

from modules.base.errors import WebuiError
from modules.networks.files.foreign import DEEPEST, FIELD, read_json, read_text

MOST_CHANNELS: Final = 1_000_000  # the largest count in a configuration
LARGEST_YAML: Final = 2**16  # bytes; Stable Diffusion's have 2 000

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Sidecar:
    """The parts of an LDM or SGM `.yaml` that are used; empty if there is no file.

    text_encoders: the values of each, in file order.
    """

    model: Values = field(default_factory=dict[str, Any])
    unet: Values = field(default_factory=dict[str, Any])
    vae: Values = field(default_factory=dict[str, Any])
    text_encoders: tuple[Values, ...] = ()
    scaling: str = ""

    @property
    def text_encoder(self) -> Values:
        """The values of the first text encoder."""
        return self.text_encoders[0] if self.text_encoders else {}

    def of_text_encoder(self, index: int) -> Values:
        return self.text_encoders[index] if index < len(self.text_encoders) else {}


class _PlainLoader(yaml.SafeLoader):
    """Rejects aliases, because a few lines of them can expand to gigabytes, and nesting deeper than a configuration."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent) or self.depth > DEEPEST:
            raise yaml.YAMLError("an alias, or nested too deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_sidecar(checkpoint: Path) -> Sidecar:
    """Reads the `.yaml` next to a checkpoint. Raises WebuiError if it is not a yaml of this kind.

    A text encoder's params may contain its values under transformers' names, or in `version` the name of a folder next
    to the yaml with a `config.json`.
    """
    path = checkpoint.with_suffix(".yaml")
    if not path.is_file():
        return Sidecar()
    try:
        model = yaml.load(read_text(path, LARGEST_YAML), _PlainLoader)["model"]["params"]
        vae = _params(model, "first_stage_config")
        unet = _params(model, "unet_config") or _params(model, "network_config")
        scaling = _params(model, "denoiser_config").get("scaling_config") or {}
        return Sidecar(
            model,
            unet,
            dict(vae) | dict(vae.get("ddconfig") or {}),
            tuple(_with_folder(path.parent, each) for each in _text_encoders(model)),
            str(scaling.get("target", "")),
        )
    except OSError as error:
        raise WebuiError(
            f"{path.name} cannot be read: {error.strerror or error}.", "Make it readable, or remove it.", field=FIELD
        ) from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WebuiError(
            f"{path.name} is no model configuration in the layout of Stable Diffusion's yaml files.",
            "Mend it, or remove it to use the usual configuration.",
            field=FIELD,
        ) from error


def _params(model: Values, part: str) -> Values:
    return (model.get(part) or {}).get("params") or {}


def _text_encoders(model: Values) -> Sequence[Values]:
    """The entries for text encoders; SGM's yaml lists them together with the embedders of sizes."""
    if model.get("cond_stage_config") is not None:
        return [_params(model, "cond_stage_config")]
    embedders = cast(list[Values], _params(model, "conditioner_config").get("emb_models") or [])
    return [each.get("params") or {} for each in embedders if each.get("input_key") == "txt"]


def _with_folder(folder: Path, params: Values) -> Values:
    text = dict(params)
    config = folder / str(text.pop("version", "")) / "config.json"
    return read_json(config) | text if config.is_file() else text


def whole(values: Values, key: str, usual: int, name: str, most: int = MOST_CHANNELS) -> int:
    """A count from a yaml, 1 to `most`. Raises WebuiError that names the key."""
    number = values.get(key, usual)
    if type(number) is not int or not 1 <= number <= most:
        raise _wrong(name, key, number, f"a whole number from 1 to {most}")
    return number


def number(values: Values, key: str, usual: float, within: tuple[float, float], name: str) -> float:
    """A number from a yaml, `within` inclusive bounds. Raises WebuiError that names the key."""
    value = values.get(key, usual)
    low, high = within
    try:
        number = float(value)  # YAML reads 1e-4 as text
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise _wrong(name, key, value, f"a number from {low:g} to {high:g}")
    return number


def _wrong(name: str, key: str, value: Any, expected: str) -> WebuiError:
    return WebuiError(
        f"{Path(name).stem}.yaml: {key}={ascii(value)[:60]}: expected {expected}.",
        "Mend it, or remove the file to use the usual configuration.",
        field=FIELD,
    )
