"""Enlarging finished pictures, by the arithmetic of A1111's Extras."""

import difflib

from PIL import Image

from modules.base.errors import WebuiError
from modules.images.geometry import Size

NONE, LANCZOS, NEAREST = "None", "Lanczos", "Nearest"
UPSCALERS = (NONE, LANCZOS, NEAREST)
FILTERS = {LANCZOS: Image.Resampling.LANCZOS, NEAREST: Image.Resampling.NEAREST}
CELL = 8  # pixels; enlarged sides are cut to a multiple of it
MOST_PIXELS = 100_000_000  # of a result, as many as are read


def upscaler(name: str, field: str) -> str:
    """The upscaler as it is written, from any letter case. Raises WebuiError with the nearest name."""
    folded = {known.casefold(): known for known in UPSCALERS}
    folded_name = name.strip().casefold() or NONE.casefold()
    if folded_name not in folded:
        near = difflib.get_close_matches(folded_name, folded, 1, 0.0)[0]
        raise WebuiError(
            f"{field}={name[:80]!r}: there is no such upscaler; did you mean {folded[near]!r}?", field=field
        )
    return folded[folded_name]


def scaled(size: Size, scale: float) -> Size:
    """`size` times `scale`, each side cut to a multiple of eight, and at least eight."""
    return Size(*(max(int(side * scale) // CELL * CELL, CELL) for side in size))


def covering_scale(size: Size, target: Size) -> float:
    """How many times larger `size` must be to cover `target`."""
    return max(target.width / size.width, target.height / size.height)


def require_fits(size: Size, scale: float, field: str) -> None:
    """Raises WebuiError if a picture of `size`, enlarged, would be larger than is made."""
    pixels = size.width * size.height * scale * scale
    if pixels > MOST_PIXELS:
        raise WebuiError(
            f"{field}: {size.width}x{size.height} upscaled {scale:g} times has more than "
            f"{MOST_PIXELS // 1_000_000} megapixels.",
            "Take a smaller size.",
            field,
        )


def enlarged(image: Image.Image, name: str, scale: float) -> Image.Image:
    """`image` (RGB or RGBA) by upscaler `name`; "None" leaves it as it is."""
    if name == NONE:
        return image
    return image.resize(scaled(Size(*image.size), scale), FILTERS[name])


def centerd(image: Image.Image, target: Size) -> Image.Image:
    """The middle of `image`, cut to `target`; black where it is smaller."""
    canvas = Image.new(image.mode, target)
    canvas.paste(image, (target.width // 2 - image.width // 2, target.height // 2 - image.height // 2))
    return canvas
