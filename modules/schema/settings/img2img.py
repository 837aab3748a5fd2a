"""Settings of img2img."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from modules.base.fields import Control
from modules.schema.settings.section import Section

CSS_HEX = re.compile(r"#[0-9a-fA-F]{6}")


class Img2ImgSettings(Section):
    """The section img2img."""

    initial_noise_multiplier: Annotated[
        float,
        Field(ge=0, le=1.5, description="Multiplies the noise added to the source."),
        Control("Noise multiplier for img2img", kind="slider", step=0.001, infotext="Noise multiplier",
                section="img2img"),
    ] = 1.0  # fmt: skip
    img2img_extra_noise: Annotated[
        float,
        Field(ge=0, le=1, description="Extra noise added to the source, more than the sampler removes."),
        Control("Extra noise multiplier for img2img and hires fix", kind="slider", step=0.01, infotext="Extra noise",
                absent=0.0, section="img2img"),
    ] = 0.0  # fmt: skip
    upscaler_for_img2img: Annotated[
        str,
        Field(max_length=200, description="Makes the source larger where the result is; None uses Lanczos."),
        Control("Upscaler for img2img", kind="dropdown", choices="upscalers", infotext="Upscaler for img2img",
                absent="None", ours=True, section="img2img"),
    ] = "None"  # fmt: skip
    img2img_fix_steps: Annotated[
        bool,
        Field(description="Run exactly the number of steps on the slider, whatever the denoising strength."),
        Control("With img2img, do exactly the amount of steps the slider specifies", kind="checkbox",
                infotext="Fix steps", ours=True, section="img2img"),
    ] = False  # fmt: skip
    img2img_background_color: Annotated[
        str,
        Field(description="Color that shows where the source is transparent."),
        Control("Background color for transparent pictures", kind="textbox", infotext="Background color", ours=True,
                section="img2img"),
    ] = "#ffffff"  # fmt: skip
    inpainting_mask_weight: Annotated[
        float,
        Field(ge=0, le=1, description="How much of the masked content is hidden from inpainting checkpoints."),
        Control("Inpainting conditioning mask strength", kind="slider", step=0.01, infotext="Conditional mask weight",
                absent=1.0, section="img2img"),
    ] = 1.0  # fmt: skip
    img2img_color_correction: Annotated[
        bool,
        Field(description="Match each result's colors to its source; flat areas may show banding."),
        Control("Apply color correction to img2img results to match original colors", kind="checkbox",
                infotext="Color correction", absent=False, ours=True, section="img2img"),
    ] = False  # fmt: skip
    overlay_inpaint: Annotated[
        bool,
        Field(description="Paste the original over unmasked areas, so that they stay identical."),
        Control("Overlay original for inpaint", kind="checkbox", infotext="Overlay original", absent=True, ours=True,
                section="img2img"),
    ] = True  # fmt: skip
    return_mask: Annotated[
        bool,
        Field(description="Show the mask after each inpainted picture; the A1111 API returns it too."),
        Control("For inpainting, include the greyscale mask in results", kind="checkbox", section="img2img"),
    ] = False
    return_mask_composite: Annotated[
        bool,
        Field(description="After each picture, show only its masked part, transparent elsewhere."),
        Control("For inpainting, include masked composite in results", kind="checkbox", section="img2img"),
    ] = False

    @field_validator("img2img_background_color")
    @classmethod
    def _a_color(cls, value: str) -> str:
        if not CSS_HEX.fullmatch(value):
            raise ValueError("expected a color such as #ffffff")
        return value
