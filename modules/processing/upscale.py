"""Upscaling a finished picture, as in A1111's Extras."""

from collections.abc import Callable
from typing import Protocol

from PIL import Image

from modules.images.enlarge import centered, covering_scale, enlarged, require_fits
from modules.images.geometry import Size
from modules.schema.upscalers import NONE, Upscaler


class UpscaleOptions(Protocol):
    """A1111's fields. `resize_mode` 0 upscales by `upscaling_resize`, 1 to `upscaling_resize_w` and `_h`."""

    @property
    def resize_mode(self) -> int: ...
    @property
    def upscaling_resize(self) -> float: ...
    @property
    def upscaling_resize_w(self) -> int: ...
    @property
    def upscaling_resize_h(self) -> int: ...
    @property
    def upscaling_crop(self) -> bool: ...
    @property
    def extras_upscaler_2_visibility(self) -> float: ...


def require_room(options: UpscaleOptions, size: Size) -> None:
    """Raises WebuiError if the result of a picture of `size` would be too large."""
    field = "upscaling_resize_w" if options.resize_mode == 1 else "upscaling_resize"
    require_fits(size, scale_of(options, size), field)


def upscaled(
    options: UpscaleOptions, image: Image.Image, first: Upscaler, second: Upscaler
) -> tuple[Image.Image, dict[str, object]]:
    """(`image` by the upscaler `first`, with `second` laid over it; what was done, as pairs of an infotext).

    Raises WebuiError if it would be too large.
    """
    size, target = Size(*image.size), Size(options.upscaling_resize_w, options.upscaling_resize_h)
    is_to_size = options.resize_mode == 1
    scale = scale_of(options, size)
    require_room(options, size)
    fit: Callable[[Image.Image], Image.Image] = (
        (lambda larger: centered(larger, target)) if is_to_size and options.upscaling_crop else (lambda larger: larger)
    )
    result = fit(enlarged(image, first, scale))
    pairs: dict[str, object] = {}
    if is_to_size:
        pairs["Postprocess upscale to"] = f"{target.width}x{target.height}"
        if options.upscaling_crop:
            pairs["Postprocess crop to fit"] = True
    else:
        pairs["Postprocess upscale by"] = options.upscaling_resize
    pairs["Postprocess upscaler"] = first.name
    if second.name != NONE and options.extras_upscaler_2_visibility > 0:
        result = Image.blend(result, fit(enlarged(image, second, scale)), options.extras_upscaler_2_visibility)
        pairs["Postprocess upscaler 2"] = second.name
        pairs["Postprocess upscaler 2 visibility"] = options.extras_upscaler_2_visibility
    return result, pairs


def scale_of(options: UpscaleOptions, size: Size) -> float:
    """How many times larger a picture of `size` gets."""
    if options.resize_mode == 1:
        return covering_scale(size, Size(options.upscaling_resize_w, options.upscaling_resize_h))
    return options.upscaling_resize
