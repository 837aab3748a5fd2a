"""The fields of Extras: one finished picture, enlarged and filtered. A1111's names where it has them."""

from typing import Literal

from pydantic import ConfigDict, Field

from modules.base.fields import Strict
from modules.base.picture import Picture
from modules.schema.upscalers import NONE

ColorFix = Literal["None", "Wavelet", "AdaIN"]
LONGEST_SIDE = 32_768  # pixels


class ExtrasRequest(Strict):
    """A picture and its processing, in this order: denoise, upscale, fix colors, crop, sharpen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Picture | None = Field(default=None, description="The picture.")
    upscaler_1: str = Field(
        title="Upscaler 1", default="Lanczos", max_length=200,
        description="Name of an upscaler of pictures; None leaves the size as it is.",
    )  # fmt: skip
    upscaler_2: str = Field(
        title="Upscaler 2", default=NONE, max_length=200, description="Second upscaler, blended over the first."
    )
    extras_upscaler_2_visibility: float = Field(
        title="Upscaler 2 visibility", default=0.0, ge=0, le=1, description="Opacity of the second upscaler's result."
    )
    resize_mode: int = Field(
        title="Resize mode", default=0, ge=0, le=1, description="0 upscales by upscaling_resize, 1 to a size."
    )
    upscaling_resize: float = Field(title="Resize", default=2.0, gt=0, le=64, description="Upscaling factor.")
    max_side_length: int = Field(
        title="Max side length", default=0, ge=0, le=LONGEST_SIDE,
        description="In resize mode 0: the result is scaled down so that no side is longer; 0 sets no limit.",
    )  # fmt: skip
    upscaling_resize_w: int = Field(
        title="Width", default=512, ge=1, le=LONGEST_SIDE, description="Width of the result, in resize mode 1."
    )
    upscaling_resize_h: int = Field(
        title="Height", default=512, ge=1, le=LONGEST_SIDE, description="Height of the result, in resize mode 1."
    )
    upscaling_crop: bool = Field(
        title="Crop to fit", default=True, description="In resize mode 1: crop the result to the exact size."
    )
    denoise: float = Field(
        title="Denoise", default=0.0, ge=0, le=1,
        description="Removes noise before upscaling, by comparing small patches (non-local means). 0 leaves it out.",
    )  # fmt: skip
    sharpen: float = Field(
        title="Sharpen", default=0.0, ge=0, le=2,
        description="Sharpens the result with an unsharp mask. 0 leaves it out.",
    )  # fmt: skip
    color_fix: ColorFix = Field(
        title="Color fix", default="None",
        description="Gives the result the source's colors: Wavelet keeps the result's details and takes the soft "
        "shading from the source; AdaIN matches mean and spread of each channel.",
    )  # fmt: skip
    samples_format: Literal["", "png", "jpg", "webp", "tiff"] = Field(
        title="File format", default="",
        description="The result's file format; empty for the one in the settings. tiff is a tiled BigTIFF.",
    )  # fmt: skip
