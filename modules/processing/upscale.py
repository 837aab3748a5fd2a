"""Upscaling a finished picture, as in A1111's Extras, and the filters before and after it."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from PIL import Image

from modules.images.enlarge import centered, covering_scale, enlarged, exactly, require_fits
from modules.images.filters import COLOR_FIXES, color_fixed, denoised, sharpened
from modules.images.geometry import Size
from modules.schema.request.extras import ExtrasRequest
from modules.schema.upscalers import NONE, Upscaler

Pairs = dict[str, object]


class UpscaleOptions(Protocol):
    """A1111's fields. `resize_mode` 0 upscales by `upscaling_resize`, 1 to `upscaling_resize_w` and `_h`."""

    @property
    def resize_mode(self) -> int: ...
    @property
    def upscaling_resize(self) -> float: ...
    @property
    def max_side_length(self) -> int: ...
    @property
    def upscaling_resize_w(self) -> int: ...
    @property
    def upscaling_resize_h(self) -> int: ...
    @property
    def upscaling_crop(self) -> bool: ...
    @property
    def extras_upscaler_2_visibility(self) -> float: ...


class Target(NamedTuple):
    """How a picture is enlarged: by `scale`, then cropped to `crop`, if set."""

    scale: float
    crop: Size | None = None


def require_room(options: UpscaleOptions, size: Size) -> None:
    """Raises WebuiError if the result of a picture of `size` would be too large."""
    field = "upscaling_resize_w" if options.resize_mode == 1 else "upscaling_resize"
    require_fits(size, scale_of(options, size), field)


def processed(
    request: ExtrasRequest, image: Image.Image, first: Upscaler, second: Upscaler, hear: Callable[[], None]
) -> tuple[Image.Image, Pairs]:
    """(`image` after all that `request` asks for; what was done, as pairs of an infotext). `hear` may raise to stop."""
    image = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
    done: Pairs = {}
    hear()
    result = denoised(image, request.denoise, hear)
    if request.denoise > 0:
        done["Postprocess denoise"] = request.denoise
    fix = (lambda larger: color_fixed(larger, image, request.color_fix)) if request.color_fix in COLOR_FIXES else None
    if first.name != NONE:
        result, pairs = upscaled(request, result, first, second, fix)
        done |= pairs
    elif fix is not None:
        result = fix(result)
    if fix is not None:
        done["Postprocess color fix"] = request.color_fix
    hear()
    result = sharpened(result, request.sharpen)
    if request.sharpen > 0:
        done["Postprocess sharpen"] = request.sharpen
    return result, done


def streamed_pairs(request: ExtrasRequest, size: Size, first: Upscaler, second: Upscaler) -> Pairs:
    """As the second result of `processed`, of a request without a color fix."""
    pairs: Pairs = {"Postprocess denoise": request.denoise} if request.denoise > 0 else {}
    pairs |= pairs_of(request, size, first, second)
    return pairs | ({"Postprocess sharpen": request.sharpen} if request.sharpen > 0 else {})


def upscaled(
    options: UpscaleOptions,
    image: Image.Image,
    first: Upscaler,
    second: Upscaler,
    fix: Callable[[Image.Image], Image.Image] | None = None,
) -> tuple[Image.Image, Pairs]:
    """(`image` by the upscaler `first`, with `second` blended over it; what was done, as pairs of an infotext).

    `fix` is applied before the result is cropped. Raises WebuiError if it would be too large.
    """
    size = Size(*image.size)
    require_room(options, size)
    scale, crop = target_of(options, size)
    result = enlarged(image, first, scale)
    if is_blended(options, second):
        other = exactly(enlarged(image, second, scale), Size(*result.size))
        result = Image.blend(result, other.convert(result.mode), options.extras_upscaler_2_visibility)
    if fix is not None:
        result = fix(result)
    return result if crop is None else centered(result, crop), pairs_of(options, size, first, second)


def is_blended(options: UpscaleOptions, second: Upscaler) -> bool:
    return second.name != NONE and options.extras_upscaler_2_visibility > 0


def pairs_of(options: UpscaleOptions, size: Size, first: Upscaler, second: Upscaler) -> Pairs:
    """What is done to a picture of `size`, as pairs of an infotext, in A1111's words."""
    scale, crop = target_of(options, size)
    pairs: Pairs = {}
    if options.resize_mode == 1:
        pairs["Postprocess upscale to"] = f"{options.upscaling_resize_w}x{options.upscaling_resize_h}"
    else:
        pairs["Postprocess upscale by"] = options.upscaling_resize
        if scale != options.upscaling_resize:
            pairs["Max side length"] = options.max_side_length
    if crop is not None:
        pairs["Postprocess crop to"] = f"{crop.width}x{crop.height}"
    pairs["Postprocess upscaler"] = first.name
    if is_blended(options, second):
        pairs["Postprocess upscaler 2"] = second.name
        pairs["Postprocess upscaler 2 visibility"] = options.extras_upscaler_2_visibility
    return pairs


def target_of(options: UpscaleOptions, size: Size) -> Target:
    """How a picture of `size` is enlarged."""
    if options.resize_mode == 1:
        target = Size(options.upscaling_resize_w, options.upscaling_resize_h)
        return Target(covering_scale(size, target), target if options.upscaling_crop else None)
    scale, longest = options.upscaling_resize, options.max_side_length
    if longest == 0 or max(size) * scale <= longest:
        return Target(scale)
    width, height = size.width * scale, size.height * scale
    limited = (
        Size(int(longest * width // height), longest)
        if height > width
        else (Size(longest, int(longest * height // width)))
    )
    return Target(covering_scale(size, limited))


def scale_of(options: UpscaleOptions, size: Size) -> float:
    """The factor by which a picture of `size` is enlarged."""
    return target_of(options, size).scale
