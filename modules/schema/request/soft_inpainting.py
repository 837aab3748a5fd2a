"""The fields of soft inpainting, which blends original and result by degrees."""

from typing import Annotated

from pydantic import Field

from modules.base.fields import Control

SoftInpainting = Annotated[
    bool,
    Field(description="Blend by degrees: greys of the mask redraw in part, and the edge follows what has changed."),
    Control(
        "Soft inpainting", kind="checkbox", elem="soft_inpainting_enabled", infotext="Soft inpainting enabled",
        absent=False,
    ),
]  # fmt: skip
# Whole numbers stay whole: A1111 writes "1" for a slider at 1 and "1.0" for a client's 1.0.
MaskBlendPower = Annotated[
    int | float,
    Field(ge=0, le=8, description="When the original is preserved: above 1 more in late steps, below 1 more evenly."),
    Control(
        "Schedule bias", kind="slider", step=0.1, elem="mask_blend_power", infotext="Soft inpainting schedule bias",
    ),
]  # fmt: skip
MaskBlendScale = Annotated[
    int | float,
    Field(ge=0, le=8, description="How strongly half-masked content is preserved."),
    Control(
        "Preservation strength", kind="slider", step=0.05, elem="mask_blend_scale",
        infotext="Soft inpainting preservation strength",
    ),
]  # fmt: skip
DetailPreservation = Annotated[
    int | float,
    Field(ge=1, le=32, description="Amplifies the contrast that blending takes away; 1 is none."),
    Control(
        "Transition contrast boost", kind="slider", step=0.5, elem="inpaint_detail_preservation",
        infotext="Soft inpainting transition contrast boost",
    ),
]  # fmt: skip
CompositeMaskInfluence = Annotated[
    int | float,
    Field(ge=0, le=1, description="How much the mask says in the final blend of pixels: 0 leaves it to the change."),
    Control(
        "Mask influence", kind="slider", step=0.05, elem="composite_mask_influence",
        infotext="Soft inpainting mask influence",
    ),
]  # fmt: skip
CompositeThreshold = Annotated[
    int | float,
    Field(ge=0, le=8, description="How far a place must change before its original shows through by half."),
    Control(
        "Difference threshold", kind="slider", step=0.25, elem="composite_difference_threshold",
        infotext="Soft inpainting difference threshold",
    ),
]  # fmt: skip
CompositeContrast = Annotated[
    int | float,
    Field(ge=0, le=8, description="How sharp the passage from original to redrawn is."),
    Control(
        "Difference contrast", kind="slider", step=0.25, elem="composite_difference_contrast",
        infotext="Soft inpainting difference contrast",
    ),
]  # fmt: skip
