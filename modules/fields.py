"""How a declared parameter looks from outside: its label, its widget, its infotext key.

A request or settings field is declared once, as `Annotated[type, Field(bounds, description), Control(label, …)]`.
`params(cls)` reads the declarations back, for the page, the API documentation and the infotext.
"""

from dataclasses import dataclass
from typing import Any, Literal

import annotated_types
from pydantic import BaseModel

Kind = Literal["auto", "slider", "number", "textbox", "dropdown", "radio", "checkbox", "picture", "hidden"]


@dataclass(frozen=True)
class Control:
    """What a person sees of a field.

    `minimum` and `maximum` are the widget's, where it offers less than the field accepts. `choices` are the labels in
    order (an integer field counts them from 0), or the name of a list in the catalog, such as "samplers".
    `infotext` is the key under which the value stands in a picture's parameters ("Size-1" and "Size-2" are the two
    numbers of `Size: 512x768`), `absent` the value that a text without the key stands for; without it, a request
    field stays as it is in the form and a setting takes its default. `elem` is the elem_id after the tab's prefix
    ("steps" becomes `img2img_steps`). `section` groups settings.
    """

    label: str
    kind: Kind = "auto"
    step: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | str = ()
    infotext: str = ""
    absent: Any = ...
    elem: str = ""
    lines: int = 1
    placeholder: str = ""
    section: str = ""


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


def _bound(metadata: list[Any], kind: type, name: str) -> float | None:
    return next((getattr(m, name) for m in metadata if isinstance(m, kind)), None)
