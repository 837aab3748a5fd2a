"""Control units in an infotext: a pair each, as sd-webui-controlnet writes them, and the pictures' hashes beside them.

`ControlNet 0: "Module: canny, Model: lines [0123abcd], Weight: 1.0, …"`
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import ValidationError

from modules.schema.control import MOST_UNITS, ControlUnit

PICTURES: Final = "Control pictures"  # ours: sha256 of each unit's picture, or SOURCE
SOURCE: Final = "source"  # instead of a hash: the unit saw img2img's source
KEYS: Final = tuple(f"ControlNet {number}" for number in range(MOST_UNITS))
_FIELDS: Final[Mapping[str, str]] = {
    "module": "module", "model": "model", "weight": "weight", "resize mode": "resize_mode",
    "processor res": "processor_res", "threshold a": "threshold_a", "threshold b": "threshold_b",
    "guidance start": "guidance_start", "guidance end": "guidance_end", "pixel perfect": "pixel_perfect",
    "control mode": "control_mode", "hr option": "hr_option",
}  # fmt: skip


def unit_text(unit: ControlUnit, resolution: int, threshold_a: float, threshold_b: float) -> str:
    """A unit with the numbers that its preprocessor has used."""
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
    """The unit of a text, without its picture; None if it is none.

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
    """For each of `count` units the sha256 of its picture, `SOURCE`, or "" where the text does not tell."""
    hashes = [each.strip() for each in text.split(",")] if text else []
    return [*hashes, *[""] * count][:count]


def _value(field: str, text: str) -> Any:
    """The text as what its field takes; choices in any letter case."""
    annotation = ControlUnit.model_fields[field].annotation
    if annotation is bool:
        return text.casefold() == "true"
    if annotation is int or annotation is float:
        try:
            return annotation(float(text))
        except (ValueError, OverflowError):
            return text
    return next((each for each in get_args(annotation) if each.casefold() == text.casefold()), text)
