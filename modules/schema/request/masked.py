"""The mask fields: which area is redrawn, from what content, and with how much context."""

from typing import Annotated

from pydantic import Field

from modules.base.fields import Control

MASK_MODES = ("Inpaint masked", "Inpaint not masked")
MASKED_CONTENTS = ("fill", "original", "latent noise", "latent nothing")
INPAINT_AREAS = ("Whole picture", "Only masked")

MaskBlur = Annotated[
    int,
    Field(ge=0, le=512, description="Blur of the mask's edge: the sigma of a Gaussian, in pixels of the mask."),
    Control("Mask blur", kind="slider", step=1, maximum=64, elem="mask_blur", infotext="Mask blur"),
]
MaskBlurX = Annotated[
    int | None,
    Field(ge=0, le=512, description="Horizontal mask blur; null uses mask_blur."),
    Control("Mask blur x", kind="hidden", infotext="Mask blur x", absent=None, ours=True),
]
MaskBlurY = Annotated[
    int | None,
    Field(ge=0, le=512, description="Vertical mask blur; null uses mask_blur."),
    Control("Mask blur y", kind="hidden", infotext="Mask blur y", absent=None, ours=True),
]
MaskRound = Annotated[
    bool,
    Field(description="Round the mask to black and white; if off, gray areas are partly redrawn."),
    Control("Round the mask", kind="hidden", infotext="Mask round", absent=True, ours=True),
]
MaskInvert = Annotated[
    int,
    Field(ge=0, le=1, description="Which part is redrawn: " + ", ".join(MASK_MODES) + "."),
    Control(
        "Mask mode", kind="radio", choices=MASK_MODES, elem="mask_mode", infotext="Mask mode", absent=0,
    ),
]  # fmt: skip
InpaintingFill = Annotated[
    int,
    Field(ge=0, le=3, description="What the masked area contains at the start: " + ", ".join(MASKED_CONTENTS) + "."),
    Control(
        "Masked content", kind="radio", choices=MASKED_CONTENTS, elem="inpainting_fill", infotext="Masked content",
        absent=1,
    ),
]  # fmt: skip
InpaintFullRes = Annotated[
    int,
    Field(ge=0, le=1, description="Only masked redraws just the masked region, enlarged to width and height."),
    Control(
        "Inpaint area", kind="radio", choices=INPAINT_AREAS, elem="inpaint_full_res", infotext="Inpaint area",
        absent=0,
    ),
]  # fmt: skip
InpaintPadding = Annotated[
    int,
    Field(ge=0, le=4096, description="Pixels around the mask to include as context."),
    Control(
        "Only masked padding, pixels", kind="slider", step=4, maximum=256, elem="inpaint_full_res_padding",
        infotext="Masked area padding", absent=32,
    ),
]  # fmt: skip
MaskStrengthByGray = Annotated[
    bool,
    Field(description="Gray in the mask sets the strength: 50% gray is redrawn at half the denoising strength."),
    Control(
        "Gray sets strength", kind="checkbox", elem="mask_strength_by_grey", infotext="Mask strength by grey",
        absent=False,
    ),
]  # fmt: skip
InpaintColorMatch = Annotated[
    float,
    Field(ge=0, le=1, description="How far to match the redrawn area's colors to its surroundings; 0 turns it off."),
    Control(
        "Color match", kind="slider", step=0.05, elem="inpaint_color_match", infotext="Inpaint color match",
        absent=0.0,
    ),
]  # fmt: skip
