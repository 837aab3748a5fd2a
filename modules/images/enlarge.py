"""Enlarging finished pictures, by the arithmetic of A1111's Extras."""

from collections.abc import Mapping
from types import MappingProxyType

from PIL import Image

from modules.base.errors import WebuiError
from modules.images.geometry import Size
from modules.schema.upscalers import Enlarge, Upscaler

CELL = 8  # pixels; enlarged sides are cut to a multiple of it
MOST_PIXELS = 100_000_000  # of a result; the limit for sources
MOST_PASSES = 3  # as in A1111: a 4x network enlarges 64 times at most


def lanczos(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.LANCZOS)


def nearest(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.NEAREST)


FUNCTIONS: Mapping[str, Enlarge] = MappingProxyType({each.__name__: each for each in (lanczos, nearest)})


def function_of(upscaler: Upscaler) -> Enlarge | None:
    """What enlarges pictures; None for upscalers that leave them unchanged or work on latents."""
    if callable(upscaler.function):
        return upscaler.function
    return FUNCTIONS[upscaler.function] if upscaler.function else None


def scaled(size: Size, scale: float) -> Size:
    """`size` times `scale`, each side cut to a multiple of eight, and at least eight."""
    return Size(*(max(int(side * scale) // CELL * CELL, CELL) for side in size))


def passes_to(size: Size, target: Size, network_scale: int) -> int:
    """How often a network is applied: until it covers `target`; once at the same size (some only clean up)."""
    passes = int(target in (size, scaled(size, 1)))
    while passes < MOST_PASSES and (passes == 0 or network_scale > 1):
        factor = network_scale**passes
        if size.width * factor >= target.width and size.height * factor >= target.height:
            break
        passes += 1
    return passes


def covering_scale(size: Size, target: Size) -> float:
    """How many times larger `size` must be to cover `target`."""
    return max(target.width / size.width, target.height / size.height)


def require_fits(size: Size, scale: float, field: str) -> None:
    """Raises WebuiError if a picture of `size`, enlarged by `scale`, would exceed MOST_PIXELS."""
    pixels = size.width * size.height * scale * scale
    if pixels > MOST_PIXELS:
        raise WebuiError(
            f"{field}: {size.width}x{size.height} upscaled {scale:g} times has more than "
            f"{MOST_PIXELS // 1_000_000} megapixels.",
            "Take a smaller size.",
            field,
        )


def enlarged(image: Image.Image, upscaler: Upscaler, scale: float) -> Image.Image:
    """`image` (RGB or RGBA), `scale` times as large."""
    enlarge, size = function_of(upscaler), scaled(Size(*image.size), scale)
    return image if enlarge is None else exactly(enlarge(image, size), size)


def enlarged_by_steps(image: Image.Image, upscaler: Upscaler, whole: Size, cells: Size) -> Image.Image:
    """`image` enlarged to `whole`, then resized to `cells` with Lanczos, as A1111 does in hires. fix and SD upscale."""
    enlarge = function_of(upscaler)
    return image if enlarge is None else exactly(enlarge(image, whole), cells)


def exactly(image: Image.Image, size: Size) -> Image.Image:
    """`image` at `size`, with Lanczos."""
    return image if image.size == size else lanczos(image, size)


def centered(image: Image.Image, target: Size) -> Image.Image:
    """The center of `image`, cropped to `target`; black where `image` is smaller."""
    canvas = Image.new(image.mode, target)
    canvas.paste(image, (target.width // 2 - image.width // 2, target.height // 2 - image.height // 2))
    return canvas
