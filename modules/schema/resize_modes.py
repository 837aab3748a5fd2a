"""The resize modes of img2img: how a source of another size is fitted. One row fully describes a mode."""

from dataclasses import dataclass
from typing import Final, Literal

from modules.schema.upscalers import Interpolation


@dataclass(frozen=True)
class ResizeMode:
    """One mode; its number in a request is its index in `RESIZE_MODES`.

    label: its name on the page and in messages.  function: in `modules.images.resize`; "" if the latent is resized
    instead of the picture.  interpolation: of the latent.  effect: what it does to a source with other proportions, put
    before "the source".  fit: how the source is placed in the result's frame, as a value of CSS's object-fit.
    mask_mode: the number of the mode for masks, which have no latent; None for the same mode.
    """

    label: str
    function: str
    effect: str
    fit: Literal["fill", "cover", "contain"]
    interpolation: Interpolation | None = None
    mask_mode: int | None = None


RESIZE_MODES: Final = (
    ResizeMode("Just resize", "just_resize", "stretches", "fill"),
    ResizeMode("Crop and resize", "crop_and_resize", "crops", "cover"),
    ResizeMode("Resize and fill", "resize_and_fill", "adds borders to", "contain"),
    # A1111 fills masks in this mode.
    ResizeMode("Just resize (latent upscale)", "", "stretches", "fill", Interpolation("bilinear"), mask_mode=2),
)
RESIZE_LABELS: Final = tuple(row.label for row in RESIZE_MODES)


def number_of(function: str) -> int:
    """The number of the mode with this function.

    >>> number_of("crop_and_resize")
    1
    """
    return next(number for number, row in enumerate(RESIZE_MODES) if row.function == function)
