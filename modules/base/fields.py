"""How a declared parameter appears: its label, its widget, its infotext key.

A request or settings field is declared once, as `Annotated[type, Field(bounds, description), Control(label, …)]`.
`params(cls)` reads the declarations back, for the page, the API documentation and the infotext.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from modules.base.errors import WebuiError

ControlKind = Literal[
    "auto", "slider", "number", "textbox", "dropdown", "radio", "checkbox", "checks", "picture", "hidden"
]


MOST_REPORTED = 20  # unknown fields that are checked: pydantic makes an error of each, and only one is reported
LONG = 80  # shown characters of a rejected value


@dataclass(frozen=True)
class Control:
    """How a field appears on the page and in the infotext.

    `minimum` and `maximum` are the widget's, if its range is narrower than the field's. `choices` are the labels in
    order (an integer field counts them from 0), or the name of a list in the catalog, such as "samplers"; `unlisted`
    are those that keep their number for programs but are hidden because they are not available; `empty` is the label
    of an extra choice before these, whose value is "".
    `infotext` is the key of the value in a picture's parameters ("Size-1" and "Size-2" are the two numbers of
    `Size: 512x768`), `absent` the value if a text lacks the key; without it, a request field stays as it is in the
    form and a setting takes its default. `elem` is the elem_id after the tab's prefix ("steps" becomes
    `img2img_steps`). `section` groups settings. `ours` marks a key that A1111 does not write: it is left out of a text
    that must match A1111's.
    """

    label: str
    kind: ControlKind = "auto"
    step: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | str = ()
    unlisted: tuple[str, ...] = ()
    empty: str = ""
    infotext: str = ""
    absent: Any = ...
    elem: str = ""
    lines: int = 1
    placeholder: str = ""
    section: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Param:
    """One declared field, resolved: bounds, default and control together."""

    name: str
    type: Any
    default: Any
    minimum: float | None
    maximum: float | None
    description: str
    control: Control

    @property
    def widget_minimum(self) -> float | None:
        return self.control.minimum if self.control.minimum is not None else self.minimum

    @property
    def widget_maximum(self) -> float | None:
        return self.control.maximum if self.control.maximum is not None else self.maximum


def params(model: type[BaseModel]) -> dict[str, Param]:
    """The fields of `model` that carry a `Control`, by name, in the order of declaration."""
    found: dict[str, Param] = {}
    for name, info in model.model_fields.items():
        control = next((m for m in info.metadata if isinstance(m, Control)), None)
        if control is None:
            continue
        found[name] = Param(
            name=name,
            type=info.annotation,
            default=info.get_default(call_default_factory=True),
            minimum=_bound(info.metadata, annotated_types.Ge, "ge"),
            maximum=_bound(info.metadata, annotated_types.Le, "le"),
            description=info.description or "",
            control=control,
        )
    return found


def few(model: type[BaseModel], values: Any) -> Any:
    """`values` with at most MOST_REPORTED unknown fields: reporting a million would take seconds."""
    if not isinstance(values, Mapping) or len(values) <= len(model.model_fields) + MOST_REPORTED:
        return values
    unknown = islice((name for name in values if name not in model.model_fields), MOST_REPORTED)
    return {name: values[name] for name in (*(known for known in model.model_fields if known in values), *unknown)}


class Strict(BaseModel):
    """A model that rejects unknown fields, however many there are."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few(cls, values: Any) -> Any:
        return few(cls, values)


def explained(model: type[BaseModel], error: ValidationError) -> WebuiError:
    """The first error that pydantic found, as one sentence: field, value, what was expected."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    declared = params(model).get(name)
    label = f"{declared.control.label} ({name})" if declared else shortened(name)
    given = first.get("input")
    shown = "" if isinstance(given, str) and len(given) > LONG else f" = {shortened(repr(given))}"
    return WebuiError(f"{label}{shown}: {expectation(declared, error)}.", field=name)


def expectation(declared: Param | None, error: ValidationError) -> str:
    """What the field expects: "expected a whole number from 1 to 150"."""
    fault = error.errors()[0]
    if fault["type"] == "extra_forbidden":
        return "there is no such field"
    if declared and declared.minimum is not None and declared.maximum is not None:
        whole = "whole " if declared.type is int else ""
        return f"expected a {whole}number from {_plain(declared.minimum)} to {_plain(declared.maximum)}"
    if declared and get_origin(declared.type) is Literal:
        return "expected " + " or ".join(map(str, get_args(declared.type)))
    if declared and declared.type is bool:
        return "expected true or false"
    message = fault["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def number_not_bool(model: type[BaseModel], name: str, value: Any) -> Any:
    """`value`. Rejects true and false, which Python would take for 1 and 0."""
    annotation = model.model_fields[name].annotation
    if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
        raise ValueError("expected a value, not true or false")
    return value


def cut(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `model`'s whole-number fields truncated towards 0, as A1111's API does.

    Text is left alone: A1111 does not accept "12.5" either.
    """
    return {name: int(value) if _is_cut(model, name, value) else value for name, value in values.items()}


def _is_cut(model: type[BaseModel], name: str, value: Any) -> bool:
    if not isinstance(value, float) or not math.isfinite(value) or name not in model.model_fields:
        return False
    annotation = model.model_fields[name].annotation
    kinds = (annotation, *get_args(annotation))
    return int in kinds and float not in kinds


def shortened(text: str) -> str:
    return text if len(text) <= LONG else text[:LONG] + "…"


def _plain(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def _bound(metadata: list[Any], kind: type, name: str) -> float | None:
    return next((getattr(m, name) for m in metadata if isinstance(m, kind)), None)
