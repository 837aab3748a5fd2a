"""ControlNet units as clients of A1111's extension send them, in every format that its versions accept.

A unit is an object or fourteen positional values; a list may contain several units.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from modules.base.errors import WebuiError
from modules.schema.control import BALANCED, BOTH, CONTROL, CROP, FILL, FIRST, MOST_UNITS, PROMPT, SECOND, STRETCH

SCRIPT: Final = "controlnet"
FIELD: Final = "controlnet"
POSITIONS: Final = (
    "enabled", "module", "model", "weight", "image", "resize_mode", "low_vram", "processor_res", "threshold_a",
    "threshold_b", "guidance_start", "guidance_end", "pixel_perfect", "control_mode",
)  # fmt: skip
ALIASES: Final[Mapping[str, str]] = {
    "guidance": "guidance_end", "input_image": "image", "mask_image": "mask", "enable": "enabled",
}  # fmt: skip
CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "resize_mode": (STRETCH, CROP, FILL),
    "control_mode": (BALANCED, PROMPT, CONTROL),
    "hr_option": (BOTH, FIRST, SECOND),
}
OLD_CHOICES: Final[Mapping[str, str]] = {
    "inner fit (scale to fit)": CROP, "scale to fit (inner fit)": CROP, "outer fit (shrink to fit)": FILL,
    "envelope (outer fit)": FILL, "prefer prompt": PROMPT, "prefer controlnet": CONTROL,
}  # fmt: skip
NUMBERS: Final = ("weight", "processor_res", "threshold_a", "threshold_b", "guidance_start", "guidance_end")
OFF: Final = ("false", "0", "no", "none", "", "off")


class SentUnits(NamedTuple):
    """units: fields of `ControlUnit`.  pictures: the pictures for `control_images`.  notes: what was ignored."""

    units: list[dict[str, Any]]
    pictures: list[Any]
    notes: list[str]


def sent_units(arguments: Sequence[Any]) -> SentUnits:
    """The enabled units. Raises WebuiError for values that are not units, and for too many units."""
    sent = SentUnits([], [], [])
    for unit in _units(arguments):
        if not _is_on(unit.get("enabled", True)):
            continue
        if len(sent.units) == MOST_UNITS:
            raise WebuiError(f"controlnet: more than {MOST_UNITS} units are switched on.", "Send fewer.", FIELD)
        fields: dict[str, Any] = {name: _choice(name, unit[name]) for name in CHOICES if unit.get(name) is not None}
        if _is_on(unit.get("guessmode", False)):
            fields["control_mode"] = CONTROL
        fields |= {name: _number(name, unit[name]) for name in NUMBERS if unit.get(name) is not None}
        fields |= {name: str(unit[name]) for name in ("module", "model") if unit.get(name) is not None}
        fields["pixel_perfect"] = _is_on(unit.get("pixel_perfect", False))
        if fields.get("processor_res", 0) < 64:
            fields.pop("processor_res", None)
        picture, mask = _picture(unit.get("image"))
        if unit.get("generated_image") and _is_on(unit.get("use_preview_as_input", False)):
            picture, fields["module"] = unit["generated_image"], "none"
        if mask or unit.get("mask"):
            sent.notes.append("controlnet: a unit's mask has no effect here.")
        if picture:
            fields["image"] = len(sent.pictures)
            sent.pictures.append(picture)
        sent.units.append(fields)
    return sent


def _units(arguments: Sequence[Any]) -> list[dict[str, Any]]:
    units: list[dict[str, Any]] = []
    at = 0
    while at < len(arguments):
        value = arguments[at]
        if isinstance(value, Mapping):
            units.append({ALIASES.get(str(name), str(name)): given for name, given in value.items()})
            at += 1
        elif isinstance(value, bool):
            units.append(dict(zip(POSITIONS, arguments[at : at + len(POSITIONS)], strict=False)))
            at += len(POSITIONS)
        elif value is None:
            at += 1
        else:
            raise WebuiError(
                f"controlnet: args[{at}] = {str(value)[:60]!r}: expected a unit as an object.",
                'Send "args": [{"image": …, "module": …, "model": …}].',
                FIELD,
            )
    return units


def _picture(value: Any) -> tuple[Any, Any]:
    """(picture, mask) from a text, an object with both, or a list of both."""
    if isinstance(value, Mapping):
        return value.get("image"), value.get("mask")
    if isinstance(value, list | tuple):
        first = next(iter(cast(Sequence[Any], value)), None)
        if isinstance(first, Mapping):
            return _picture(cast(Mapping[str, Any], first))
        listed = [*cast(Sequence[Any], value), None, None]
        return listed[0], listed[1]
    return value, None


def _choice(name: str, value: Any) -> str:
    """A choice, given by number or by a current or former name."""
    choices = CHOICES[name]
    if isinstance(value, int | float) and not isinstance(value, bool) and value in range(len(choices)):
        return choices[int(value)]
    text = str(value).strip().casefold()
    found = OLD_CHOICES.get(text) or next((each for each in choices if each.casefold() == text), None)
    if found is None and text.isdecimal() and int(text) < len(choices):
        found = choices[int(text)]
    if found is None:
        expected = ", ".join(f"{number} or {each!r}" for number, each in enumerate(choices))
        raise WebuiError(f"controlnet: {name} = {str(value)[:60]!r}: expected {expected}.", field=FIELD)
    return found


def _number(name: str, value: Any) -> Any:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise WebuiError(f"controlnet: {name} = {str(value)[:60]!r}: expected a number.", field=FIELD) from error
    return int(number) if name == "processor_res" and number == number and abs(number) < 1e6 else number


def _is_on(value: Any) -> bool:
    return str(value).strip().lower() not in OFF
