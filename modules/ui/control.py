"""What the page's scripts need to know about ControlNet units: their fields, and how many a request may have."""

from typing import Any, Final

from modules.base.fields import Param, params
from modules.schema.control import MOST_UNITS, ControlUnit
from modules.ui import form

# Which of a preprocessor's numbers stand in these fields, and with which label and range, the server says for each.
_OF_THE_PREPROCESSOR: Final = ("processor_res",)


def control_units() -> dict[str, Any]:
    """The fields from which the scripts build a unit's controls; the page fills in the names of models."""
    declared = params(ControlUnit)
    shown = [_control(param) for name, param in declared.items() if name not in _OF_THE_PREPROCESSOR]
    return {"most": MOST_UNITS, "fields": shown}


def _control(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "label": param.control.label,
        "description": param.description,
        "default": param.default,
        "kind": form.kind(param),
        "choices": param.control.choices,
        "unlisted": [],
        "counts": False,
        "minimum": param.widget_minimum,
        "maximum": param.widget_maximum,
        "step": param.control.step,
    }
