"""Control units in an infotext: one pair per unit, as in sd-webui-controlnet, and the hashes of their pictures.

`ControlNet 0: "Module: canny, Model: lines [0123abcd], Weight: 1.0, …"`
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import ValidationError

from modules.schema.control import MOST_UNITS, ControlUnit

PICTURES: Final = "Control pictures"  # our own key: sha256 of each unit's picture, or SOURCE
SOURCE: Final = "source"  # instead of a hash: the unit used img2img's source
KEYS: Final = tuple(f"ControlNet {number}" for number in range(MOST_UNITS))
_FIELDS: Final[Mapping[str, str]] = {
    "module": "module", "model": "model", "weight": "weight", "resize mode": "resize_mode",
    "processor res": "processor_res", "threshold a": "threshold_a", "threshold b": "threshold_b",
    "guidance start": "guidance_start", "guidance end": "guidance_end", "pixel perfect": "pixel_perfect",
    "control mode": "control_mode", "hr option": "hr_option",
}  # fmt: skip


def unit_text(unit: ControlUnit, resolution: int, threshold_a: float, threshold_b: float) -> str:
    """A unit as text, with the values that its preprocessor used."""
    values: dict[str, Any] = {
        "Module": unit.module,
        "Model": unit.model,
        "Weight": unit.weight,
        "Resize Mode": unit.resize_mode,
        "Processor Res": resolution,
        "Threshold A": threshold_a,
        "Threshold B": threshold_b,
        "Guidance Start": unit.guidance_start,
        "Guidance End": unit.guidance_end,
        "Pixel Perfect": unit.pixel_perfect,
        "Control Mode": unit.control_mode,
    }
    if unit.hr_option != ControlUnit().hr_option:
        values["Hr Option"] = unit.hr_option
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def read_unit(text: str) -> ControlUnit | None:
    """The unit in a text, without its picture; None if the text is not a unit.

    >>> read_unit("Module: canny, Model: lines [0123abcd], Weight: 0.5").weight
    0.5
    """
    values: dict[str, Any] = {}
    for part in text.split(", "):
        name, colon, value = part.partition(": ")
        field = _FIELDS.get(name.strip().casefold())
        if colon and field:
            values[field] = _value(field, value.strip())
    try:
        return ControlUnit(**values) if "model" in values else None
    except ValidationError:
        return None


def picture_hashes(text: str, count: int) -> Sequence[str]:
    """For each of `count` units the sha256 of its picture, `SOURCE`, or "" if the text does not say."""
    hashes = [each.strip() for each in text.split(",")] if text else []
    return [*hashes, *[""] * count][:count]


def _value(field: str, text: str) -> Any:
    """The text converted to the type of its field; choices may have any letter case."""
    annotation = ControlUnit.model_fields[field].annotation
    if annotation is bool:
        return text.casefold() == "true"
    if annotation is int or annotation is float:
        try:
            return annotation(float(text))
        except (ValueError, OverflowError):
            return text
    return next((each for each in get_args(annotation) if each.casefold() == text.casefold()), text)
