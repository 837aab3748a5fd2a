"""Varies a field of the first ControlNet unit, as the axes of A1111's extension do."""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from modules.base.errors import WebuiError
from modules.base.fields import explained
from modules.extension.hooks import Request, changed
from modules.schema.control import ControlUnit


def of_unit(name: str) -> Callable[[Any, Any, Sequence[Any]], Any]:
    """How an axis sets the field `name` of the first unit; the other units stay."""

    def apply(request: Request, value: Any, every: Sequence[Any]) -> Request:
        if not request.controlnet:
            raise WebuiError(
                "[ControlNet]: there is no unit to vary.",
                "Add a ControlNet unit, or choose another axis.",
                "controlnet",
            )
        first, *others = request.controlnet
        try:
            unit = ControlUnit(**{**first.model_dump(), name: value})
        except ValidationError as error:
            raise _explained(error) from error
        return changed(request, {"controlnet": (unit, *others)})

    return apply


def _explained(error: ValidationError) -> WebuiError:
    """The error as a sentence, also if it is about two fields at once."""
    first = error.errors()[0]
    if first["loc"]:
        return explained(ControlUnit, error)
    return WebuiError(f"[ControlNet]: {first['msg'].removeprefix('Value error, ')}.", field="controlnet")
