"""The fields of soft inpainting, which blends original and result gradually."""

from typing import Annotated

from pydantic import Field

from modules.base.fields import Control

SoftInpainting = Annotated[
    bool,
    Field(description="Blend gradually: gray areas of the mask are partly redrawn, and the edge follows the changes."),
    Control(
        "Soft inpainting", kind="checkbox", elem="soft_inpainting_enabled", infotext="Soft inpainting enabled",
        absent=False,
    ),
]  # fmt: skip
# Integers stay integers: A1111 writes "1" for a slider at 1 and "1.0" for a client's 1.0.
MaskBlendPower = Annotated[
    int | float,
    Field(ge=0, le=8, description="When the original is preserved: above 1 mostly in late steps, below 1 more evenly."),
    Control(
        "Schedule bias", kind="slider", step=0.1, elem="mask_blend_power", infotext="Soft inpainting schedule bias",
    ),
]  # fmt: skip
MaskBlendScale = Annotated[
    int | float,
    Field(ge=0, le=8, description="How strongly partly masked content is preserved."),
    Control(
        "Preservation strength", kind="slider", step=0.05, elem="mask_blend_scale",
        infotext="Soft inpainting preservation strength",
    ),
]  # fmt: skip
DetailPreservation = Annotated[
    int | float,
    Field(ge=1, le=32, description="Restores the contrast that blending removes; 1 turns it off."),
    Control(
        "Transition contrast boost", kind="slider", step=0.5, elem="inpaint_detail_preservation",
        infotext="Soft inpainting transition contrast boost",
    ),
]  # fmt: skip
CompositeMaskInfluence = Annotated[
    int | float,
    Field(ge=0, le=1, description="How much the mask controls the final blend; at 0 only the difference does."),
    Control(
        "Mask influence", kind="slider", step=0.05, elem="composite_mask_influence",
        infotext="Soft inpainting mask influence",
    ),
]  # fmt: skip
CompositeThreshold = Annotated[
    int | float,
    Field(ge=0, le=8, description="Amount of change at which original and result are blended half and half."),
    Control(
        "Difference threshold", kind="slider", step=0.25, elem="composite_difference_threshold",
        infotext="Soft inpainting difference threshold",
    ),
]  # fmt: skip
CompositeContrast = Annotated[
    int | float,
    Field(ge=0, le=8, description="How sharp the transition between original and result is."),
    Control(
        "Difference contrast", kind="slider", step=0.25, elem="composite_difference_contrast",
        infotext="Soft inpainting difference contrast",
    ),
]  # fmt: skip
