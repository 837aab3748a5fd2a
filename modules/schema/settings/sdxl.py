"""Settings of Stable Diffusion XL."""

from typing import Annotated

from pydantic import Field

from modules.base.fields import Control
from modules.schema.settings.section import Section

_SECTION = "Stable Diffusion XL"


class StableDiffusionXLSettings(Section):
    """The section Stable Diffusion XL. A1111 writes none of these into infotexts, so the keys are Palimpsest's own."""

    sdxl_crop_top: Annotated[
        int,
        Field(ge=0, le=1024, description="What XL is told to have been cropped from the top, in pixels."),
        Control("Crop top coordinate", kind="number", step=1, infotext="XL crop top", ours=True, section=_SECTION),
    ] = 0
    sdxl_crop_left: Annotated[
        int,
        Field(ge=0, le=1024, description="What XL is told to have been cropped from the left, in pixels."),
        Control("Crop left coordinate", kind="number", step=1, infotext="XL crop left", ours=True, section=_SECTION),
    ] = 0
    sdxl_refiner_low_aesthetic_score: Annotated[
        float,
        Field(ge=0, le=10, description="Score that the refiner is told with the negative prompt."),
        Control("SDXL low aesthetic score", kind="number", infotext="XL low aesthetic score", ours=True,
                section=_SECTION),
    ] = 2.5  # fmt: skip
    sdxl_refiner_high_aesthetic_score: Annotated[
        float,
        Field(ge=0, le=10, description="Score that the refiner is told with the prompt."),
        Control("SDXL high aesthetic score", kind="number", infotext="XL high aesthetic score", ours=True,
                section=_SECTION),
    ] = 6.0  # fmt: skip
    sdxl_clip_l_skip: Annotated[
        bool,
        Field(description="Clip skip counts for XL's smaller text encoder too. Off, XL ignores Clip skip."),
        Control("Clip skip SDXL", kind="checkbox", infotext="XL clip skip", ours=True, section=_SECTION),
    ] = False
