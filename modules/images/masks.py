"""Inpainting masks as geometry, and what stands under them. Masks are mode L: 255 is redrawn, 0 is kept."""

from PIL import Image, ImageFilter, ImageOps

from modules.images.geometry import Box, Size

# Gaussian radii in pixels and how often each layer is laid on: far surroundings first, the near edge on top.
FILL_LAYERS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))


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
    """`box` grown on its short sides to the shape of `target`, moved back into `image`.

    Where the image is too small for it, it is cut and keeps another shape than `target`.
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
    """RGB `image`, its masked part replaced by the colours around it: A1111's masked content "fill"."""
    kept = Image.new("RGBa", image.size)  # premultiplied, so that what is masked lends no colour to the blur
    kept.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
    result = Image.new("RGBA", image.size)
    for radius, times in FILL_LAYERS:
        layer = kept.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            result.alpha_composite(layer)
    return result.convert("RGB")


def _grown(start: int, end: int, grow: int, limit: int) -> tuple[int, int]:
    """`grow` more pixels, the smaller half before `start`; moved, then cut, into 0 … `limit`."""
    start, end = start - grow // 2, end + grow - grow // 2
    if end > limit:
        start, end = start - (end - limit), limit
    if start < 0:
        start, end = 0, end - start
    return start, min(end, limit)
