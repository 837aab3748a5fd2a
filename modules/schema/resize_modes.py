"""The resize modes of img2img: how a source of another size is fitted. One row says all of a mode."""

from dataclasses import dataclass
from typing import Final, Literal

from modules.schema.upscalers import Interpolation


@dataclass(frozen=True)
class ResizeMode:
    """One mode; its number in a request is its place in `RESIZE_MODES`.

    label: on the page, and what messages call it.  function: in `modules.images.resize`; "" where not the picture but
    its latent is resized.  interpolation: of the latent.  effect: what it does to a source of other proportions, before
    "the source".  fit: how the source lies in the result's frame, in the words of CSS's object-fit.
    mask_mode: the number of the mode for masks, which have no latent; None for its own.
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
    """The mode whose function this is.

    >>> number_of("crop_and_resize")
    1
    """
    return next(number for number, row in enumerate(RESIZE_MODES) if row.function == function)
