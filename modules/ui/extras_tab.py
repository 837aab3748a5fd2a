"""The Extras tab: source and form left, result right. A script builds the controls from the request's declaration."""

from typing import Any, Final, NamedTuple

import gradio as gr

from modules.schema.request.extras import ExtrasRequest
from modules.ui.parts import part


class _Widget(NamedTuple):
    """What the page offers for a field, if that is less than the field accepts, and A1111's initial value."""

    kind: str
    elem: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    default: Any = None


_WIDGETS: Final = {
    "upscaler_1": _Widget("dropdown", "extras_upscaler_1"),
    "upscaler_2": _Widget("dropdown", "extras_upscaler_2"),
    "extras_upscaler_2_visibility": _Widget("slider", "extras_upscaler_2_visibility", 0, 1, 0.001),
    "upscaling_resize": _Widget("slider", "extras_upscaling_resize", 1, 8, 0.05, 4.0),
    "max_side_length": _Widget("number", "extras_upscale_max_side_length", 0, None, 8),
    "upscaling_resize_w": _Widget("slider", "extras_upscaling_resize_w", 64, 8192, 8),
    "upscaling_resize_h": _Widget("slider", "extras_upscaling_resize_h", 64, 8192, 8),
    "upscaling_crop": _Widget("checkbox", "extras_upscaling_crop"),
    "denoise": _Widget("slider", "extras_denoise", 0, 1, 0.01),
    "sharpen": _Widget("slider", "extras_sharpen", 0, 2, 0.05),
    "color_fix": _Widget("dropdown", "extras_color_fix"),
}


def extras_tab() -> None:
    """Builds the inside of the tab: empty elements for the scripts."""
    with gr.Row(elem_classes=["workspace", "extras"]):
        with gr.Column(min_width=0, elem_id="extras_settings", elem_classes=["settings"]):
            part("extras-modes")
            part("extras-source")
            part("extras-batch")
            part("extras-form")
        with gr.Column(min_width=0, elem_id="extras_results", elem_classes=["results"]):
            with gr.Column(min_width=0, elem_id="extras_actions_column", elem_classes=["actions"]):
                part("extras-go")
                part("run", "extras")
            part("result", "extras")


def extras_controls() -> list[dict[str, Any]]:
    """A description of each field, from which the scripts build its control; the page fills in the upscalers' names."""
    schema = ExtrasRequest.model_json_schema()["properties"]
    return [_control(name, widget, schema[name]) for name, widget in _WIDGETS.items()]


def _control(name: str, widget: _Widget, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "elem": widget.elem,
        "label": schema["title"],
        "description": schema["description"],
        "default": schema["default"] if widget.default is None else widget.default,
        "kind": widget.kind,
        "choices": schema.get("enum", []),
        "unlisted": [],
        "counts": False,
        "minimum": widget.minimum,
        "maximum": widget.maximum,
        "step": widget.step,
    }
