"""Widgets from declarations: a field's label, range, default and elem_id come from `request.py` and `settings.py`."""

import types
import typing
from typing import Any

import gradio as gr
from gradio.components import Component

from modules.base.fields import ControlKind, Param
from modules.schema.catalog import Catalog

# What a widget shows for a field whose default is None: the value that changes nothing, or A1111's default.
NEUTRAL: typing.Final = types.MappingProxyType({"resize_by": 1.0, "refiner_switch_at": 0.8, "image_cfg_scale": 1.5})


def default(param: Param) -> Any:
    """The widget's initial value."""
    return NEUTRAL.get(param.name) if param.default is None else param.default


def elem_id(param: Param, prefix: str) -> str:
    """A1111's element id: `img2img_steps`, `setting_jpeg_quality`."""
    return f"{prefix}_{param.control.elem or param.name}"


def choices(param: Param, catalog: Catalog) -> list[tuple[str, Any]]:
    """(label, value) pairs. Labels are the values; in an integer field, the values are the labels' indices from 0."""
    named = param.control.choices
    labels = catalog.names(named) if isinstance(named, str) else named
    rows = [(label, index if param.type is int else label) for index, label in enumerate(labels)]
    return [(param.control.empty, ""), *rows] if param.control.empty else rows


def kind(param: Param) -> ControlKind:
    """The widget, chosen by type if the declaration does not name one."""
    if param.control.kind != "auto":
        return param.control.kind
    if param.type is bool:
        return "checkbox"
    if param.control.choices:
        return "dropdown"
    if param.type in (int, float):
        return "number" if param.widget_minimum is None or param.widget_maximum is None else "slider"
    return "textbox"


def widget(param: Param, catalog: Catalog, prefix: str, **layout: Any) -> Component:
    """The Gradio component of a declared field. `layout` (scale, min_width …) is passed to it."""
    common: dict[str, Any] = {
        "value": default(param),
        "label": param.control.label,
        "elem_id": elem_id(param, prefix),
        "interactive": True,
        **layout,
    }
    match kind(param):
        case "slider":
            return gr.Slider(
                minimum=param.widget_minimum or 0,
                maximum=100 if param.widget_maximum is None else param.widget_maximum,
                step=param.control.step,
                buttons=[],
                **common,
            )
        case "number":
            return gr.Number(precision=0 if param.type is int else None, **common)
        case "dropdown":
            return gr.Dropdown(choices=choices(param, catalog), **common)
        case "radio":
            return gr.Radio(choices=choices(param, catalog), **common)
        case "checkbox":
            return gr.Checkbox(**common)
        case _:
            lines = param.control.lines
            return gr.Textbox(
                lines=lines, max_lines=max(lines, 8), placeholder=param.control.placeholder or None, **common
            )


def described(param: Param, prefix: str) -> dict[str, Any]:
    """What the page's scripts need to know about a field, as JSON-able values."""
    return {
        "name": param.name,
        "elem": elem_id(param, prefix),
        "label": param.control.label,
        "default": default(param),
        "list": param.control.choices if isinstance(param.control.choices, str) else "",
        "empty": param.control.empty,
        "minimum": param.widget_minimum,
        "maximum": param.widget_maximum,
        "whole": param.type is int,
        "description": param.description,
    }
