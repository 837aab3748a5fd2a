"""The four resize modes of img2img, on pictures."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image

from modules.images.enlarge import covering_scale, enlarged
from modules.images.geometry import Box, Placement, Size, covering, fitting
from modules.schema.resize_modes import RESIZE_MODES, number_of
from modules.schema.upscalers import Upscaler

MOST_PIXELS = 100_000_000  # of a scaled picture before it is cut


def resized(image: Image.Image, mode: int, target: Size, upscaler: Upscaler | None = None) -> Image.Image:
    """`image` brought to `target` by resize mode `mode` (an index of RESIZE_MODES), with Lanczos; same color mode.

    What gets larger goes through `upscaler` first, if there is one: A1111's option upscaler_for_img2img, which leaves
    masks (mode L) alone. A mode that resizes the latent (after encoding) returns the picture unchanged.
    """
    if not 0 <= mode < len(RESIZE_MODES):
        raise ValueError(f"resize mode {mode}: expected 0 to {len(RESIZE_MODES) - 1}")
    row = RESIZE_MODES[mode]
    return image if not row.function or image.size == target else FUNCTIONS[row.function](image, target, upscaler)


def just_resize(image: Image.Image, target: Size, upscaler: Upscaler | None = None) -> Image.Image:
    return _at(image, target, upscaler)


def crop_and_resize(image: Image.Image, target: Size, upscaler: Upscaler | None = None) -> Image.Image:
    return _placed(image, covering(Size(*image.size), target), target, upscaler)


def resize_and_fill(image: Image.Image, target: Size, upscaler: Upscaler | None = None) -> Image.Image:
    place = fitting(Size(*image.size), target)
    result = _placed(image, place, target, upscaler)
    _stretch_edges(result, place)
    return result


Fit = Callable[[Image.Image, Size, Upscaler | None], Image.Image]
FUNCTIONS: Mapping[str, Fit] = MappingProxyType(
    {each.__name__: each for each in (just_resize, crop_and_resize, resize_and_fill)}
)
JUST_RESIZE, CROP_AND_RESIZE, RESIZE_AND_FILL = map(number_of, FUNCTIONS)


def resizes_latents(mode: int) -> bool:
    """Whether resize mode `mode` leaves the picture as it is and resizes its latent."""
    return RESIZE_MODES[mode].interpolation is not None


def _at(image: Image.Image, size: Size, upscaler: Upscaler | None) -> Image.Image:
    """`image` at `size`: enlarged by `upscaler` as much as A1111 does, and brought to the last pixel with Lanczos."""
    if upscaler is not None and image.mode != "L" and (scale := covering_scale(Size(*image.size), size)) > 1:
        image = enlarged(image, upscaler, scale)
    return image.resize(size, Image.Resampling.LANCZOS)


def _placed(image: Image.Image, place: Placement, target: Size, upscaler: Upscaler | None) -> Image.Image:
    if place.size.width * place.size.height > MOST_PIXELS:
        # 10000x8 would become 640000x512 before it is cropped to 512x512: scale only what stays. That is the same in
        # theory but not to the last bit, so only where A1111's way would need gigabytes.
        across, down = image.width / place.size.width, image.height / place.size.height
        left, top = -place.left * across, -place.top * down
        box = (left, top, left + target.width * across, top + target.height * down)
        return image.resize(target, Image.Resampling.LANCZOS, box)
    result = Image.new(image.mode, target)
    result.paste(_at(image, place.size, upscaler), (place.left, place.top))
    return result


def _stretch_edges(canvas: Image.Image, place: Placement) -> None:
    """Fill the part of `canvas` outside `place` with the placed picture's edge rows or columns.

    A strip is resized from a box of zero thickness at the edge, as in A1111. With Pillow's bicubic that is 1.125 of
    the edge row minus 0.125 of its neighbor: a trace of the gradient continues into the strip.
    """
    width, height = canvas.size
    right, bottom = place.left + place.size.width, place.top + place.size.height
    inner = canvas.crop((max(0, place.left), max(0, place.top), min(width, right), min(height, bottom)))
    strips = (
        (Box(0, 0, width, place.top), Box(0, 0, inner.width, 0)),
        (Box(0, bottom, width, height), Box(0, inner.height, inner.width, inner.height)),
        (Box(0, 0, place.left, height), Box(0, 0, 0, inner.height)),
        (Box(right, 0, width, height), Box(inner.width, 0, inner.width, inner.height)),
    )
    for free, edge in strips:
        if min(free.size) > 0:
            canvas.paste(inner.resize(free.size, box=edge), (free.left, free.top))
