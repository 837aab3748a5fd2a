"""The picture area of the img2img tab and the mask controls.

The area itself is `assets/canvas`, ES modules in an empty element. The form's own widgets are Gradio's; the style
sheet shows those of the mask in the modes that have one (`data-masks` on the tab, set by the canvas).
"""

from collections.abc import Callable
from typing import Protocol

import gradio as gr

SOFT_INPAINTING = (
    "mask_blend_power", "mask_blend_scale", "inpaint_detail_preservation", "composite_mask_influence",
    "composite_difference_threshold", "composite_difference_contrast",
)  # fmt: skip


class PlaceField(Protocol):
    """Puts the widget of a declared field here."""

    def __call__(self, param: str, /) -> None: ...


def canvas(part: Callable[[str], None]) -> None:
    """The source picture with mask and sketch. `part` makes the empty element that the scripts fill."""
    part("source")


def mask_controls(place: PlaceField, part: Callable[[str], None]) -> None:
    """Blur, mode, content, area and padding with A1111's labels and order, then our own, then soft inpainting."""
    with gr.Column(min_width=0, elem_id="img2img_inpaint_controls", elem_classes=["inpaint-controls"]):
        place("mask_blur")
        place("inpainting_mask_invert")
        place("inpainting_fill")
        place("inpaint_full_res")
        part("area-note")
        place("inpaint_full_res_padding")
        place("inpaint_color_match")
        place("mask_strength_by_grey")
        place("soft_inpainting")
        with gr.Column(min_width=0, elem_id="img2img_soft_inpainting", elem_classes=["extra", "closed", "soft"]):
            for name in SOFT_INPAINTING:
                place(name)
