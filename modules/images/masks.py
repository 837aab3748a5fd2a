"""Inpainting masks: from drawn to blurred, their geometry, the content under them, and pasting results back.

Masks are mode L: 255 is redrawn, 0 is kept. The arithmetic is A1111's to the last bit.
"""

import cv2
import numpy as np
from PIL import Image, ImageFilter, ImageOps

from modules.images.geometry import Box, Size
from modules.images.resize import CROP_AND_RESIZE, resized

HALF = 128  # alpha above it counts as drawn

# Gaussian radii in pixels, and how often each layer is pasted: far surroundings first, the near edge last.
FILL_LAYERS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))


def drawn(picture: Image.Image, rounded: bool) -> Image.Image:
    """The mask drawn as `picture`: its alpha if it has transparency (0 or 255 if `rounded`), else its brightness."""
    if picture.mode != "RGBA" or picture.getextrema()[-1] == (255, 255):
        return picture.convert("L")
    alpha = picture.getchannel("A")
    return alpha.point([255 if value > HALF else 0 for value in range(256)]) if rounded else alpha


def blurred(mask: Image.Image, across: float, down: float) -> Image.Image:
    """`mask` blurred with Gaussians of `across`, then `down` pixels (sigma), each rounded to 8 bit."""
    pixels = np.asarray(mask)
    if across > 0:
        pixels = cv2.GaussianBlur(pixels, (blur_kernel(across), 1), across)
    if down > 0:
        pixels = cv2.GaussianBlur(pixels, (1, blur_kernel(down)), down)
    return Image.fromarray(pixels, "L")


def doubled(mask: Image.Image) -> Image.Image:
    """`mask` times two, clipped, so that its soft edge lies outside the drawn area."""
    return mask.point([min(2 * value, 255) for value in range(256)])


def with_hole(image: Image.Image, mask: Image.Image) -> Image.Image:
    """`image` as RGBA, made transparent by `mask` (same size); where that is 0 the bytes are unchanged."""
    return _premultiplied_hole(image, mask).convert("RGBA")


def shown_through(image: Image.Image, mask: Image.Image) -> Image.Image:
    """`image` (RGBA) where `mask` (same size) is not 0; transparent elsewhere."""
    shown = Image.new("RGBa", image.size)
    shown.paste(image.convert("RGBa"), mask=mask)
    return shown.convert("RGBA")


def placed(tile: Image.Image, box: Box, size: Size) -> Image.Image:
    """`tile` cropped and resized into `box` of an otherwise empty picture (black, transparent if it has alpha)."""
    whole = Image.new(tile.mode, size)
    whole.paste(resized(tile, CROP_AND_RESIZE, box.size), (box.left, box.top))
    return whole


def pasted_back(result: Image.Image, overlay: Image.Image, box: Box | None) -> Image.Image:
    """RGB of the redrawn `result` with `overlay` (see `with_hole`) on top.

    With a `box`, `result` is a tile of the overlay's picture, and the whole picture is returned; without, both share
    the top left corner.
    """
    whole = result.convert("RGBA") if box is None else placed(result.convert("RGBA"), box, Size(*overlay.size))
    whole.alpha_composite(overlay)
    return whole.convert("RGB")


def blur_kernel(blur: float) -> int:
    """Width in pixels of the Gaussian kernel for a mask blur of `blur` (its sigma, in pixels): 21 for 4."""
    return 2 * int(2.5 * blur + 0.5) + 1


def crop_box(mask: Image.Image, padding: int) -> Box | None:
    """The box of everything in `mask` that is not 0, `padding` pixels larger, within the picture; None if all is 0."""
    found = mask.getbbox()
    if found is None:
        return None
    left, top, right, bottom = found
    return Box(
        max(left - padding, 0),
        max(top - padding, 0),
        min(right + padding, mask.width),
        min(bottom + padding, mask.height),
    )


def expanded(box: Box, target: Size, image: Size) -> Box:
    """`box` expanded to the aspect ratio of `target` and moved back into `image`.

    If the image is too small for that, it is cropped and its aspect ratio differs from `target`'s.
    """
    ratio = target.width / target.height
    if box.size.width / box.size.height > ratio:
        grow = int(box.size.width / ratio - box.size.height)
        top, bottom = _grown(box.top, box.bottom, grow, image.height)
        return Box(box.left, top, box.right, bottom)
    grow = int(box.size.height * ratio - box.size.width)
    left, right = _grown(box.left, box.right, grow, image.width)
    return Box(left, box.top, right, box.bottom)


def filled(image: Image.Image, mask: Image.Image) -> Image.Image:
    """RGB `image`, its masked part replaced by the colors around it: A1111's masked content "fill"."""
    # Premultiplied, so that masked pixels add no color to the blur.
    kept = _premultiplied_hole(image, mask)
    result = Image.new("RGBA", image.size)
    for radius, times in FILL_LAYERS:
        layer = kept.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            result.alpha_composite(layer)
    return result.convert("RGB")


def _premultiplied_hole(image: Image.Image, mask: Image.Image) -> Image.Image:
    kept = Image.new("RGBa", image.size)
    kept.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
    return kept


def _grown(start: int, end: int, grow: int, limit: int) -> tuple[int, int]:
    """Grow a range by `grow` pixels, the smaller half before `start`; shift it, then crop it, into 0 … `limit`."""
    start, end = start - grow // 2, end + grow - grow // 2
    if end > limit:
        start, end = start - (end - limit), limit
    if start < 0:
        start, end = 0, end - start
    return start, min(end, limit)
