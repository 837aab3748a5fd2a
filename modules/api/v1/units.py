"""Control units of an infotext with their stored pictures, for the form of the page."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from modules.api.services import Services
from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.infotext.control import KEYS, SOURCE
from modules.infotext.read import ParsedFields
from modules.schema.control import ControlUnit

PROMPTS = frozenset({"prompt", "negative_prompt"})


def described_picture(picture: Picture) -> dict[str, Any]:
    """A stored picture as JSON, as from POST /v1/pictures."""
    return {
        "id": picture.sha256,
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "notes": picture.notes,
        "url": f"/v1/pictures/{picture.sha256}",
    }


def restored_units(services: Services, read: ParsedFields) -> Mapping[str, Any]:
    """`units` and `notes` of a text. A unit whose picture is not stored is switched off, and a note says so.

    units: null if the text has prompts only, so that the form keeps its own.
    """
    if not read.fields.keys() - PROMPTS:
        return {"units": None, "notes": read.notes}
    units: list[dict[str, Any]] = []
    notes = [note for note in read.notes if not note.startswith(tuple(f"{key} (" for key in KEYS))]
    for number, (unit, digits) in enumerate(zip(read.units, read.unit_pictures, strict=True)):
        picture = _stored(services, digits)
        is_whole = picture is not None or digits == SOURCE
        if not is_whole:
            notes.append(
                f"{KEYS[number]} ({unit.module}, {unit.model}) is switched off: its picture is not stored. "
                "Drop it there again."
            )
        units.append(_described(services, unit) | {"enabled": is_whole, "picture": picture})
    return {"units": units, "notes": tuple(notes)}


def _described(services: Services, unit: ControlUnit) -> dict[str, Any]:
    values = unit.model_dump(exclude={"image"})
    with suppress(WebuiError):  # one that is not installed keeps its name, which the form shows
        values["model"] = services.catalog.current.control_model(unit.model).label
    return values


def _stored(services: Services, digits: str) -> dict[str, Any] | None:
    if not digits or digits == SOURCE:
        return None
    try:
        return described_picture(services.pictures.get(digits))
    except WebuiError:
        return None
