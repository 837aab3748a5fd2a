"""The size of the result of a file, and how its source and mask are scaled for it."""

import math
from typing import Any

from PIL import Image

from modules.base.picture import Picture
from modules.images.geometry import Size, scaled
from modules.jobs.batch.options import LONGEST_SIDE, SHORTEST_SIDE, BatchOptions
from modules.processing.estimate import is_source_large
from modules.schema.request import Img2ImgRequest
from modules.schema.sizes import SizeRule


def within(size: Size, rule: SizeRule, max_side: int | None, max_megapixels: float | None) -> Size:
    """`size` under the rule, scaled down to the limits while keeping its proportions.

    >>> within(Size(4000, 3000), SizeRule(cell=8, multiple_of=8, native=512), 1024, None)
    Size(width=1024, height=768)
    """
    side = min(max_side or LONGEST_SIDE, LONGEST_SIDE)
    shares = [1.0, side / max(size)]
    if max_megapixels is not None:
        shares.append(math.sqrt(max_megapixels * 1e6 / (size.width * size.height)))
    share = min(shares)
    # Slightly more, so that a side computed as 767.9999 becomes 768.
    return Size(*(max(SHORTEST_SIDE, rule.floor(int(pixels * share + 1e-6))) for pixels in size))


def sized(request: Img2ImgRequest, options: BatchOptions, rule: SizeRule) -> Img2ImgRequest:
    """The request with the size of its result."""
    source = Size(request.init_images[0].width, request.init_images[0].height)
    if options.size == "source":
        requested = source
    elif request.resize_by is not None:
        requested = scaled(source, request.resize_by)
    else:
        requested = Size(request.width, request.height)
    size = within(requested, rule, options.max_side, options.max_megapixels)
    is_capped = options.max_side is not None or options.max_megapixels is not None
    if options.size == "form" and (
        not is_capped or size == Size(rule.floor(requested.width), rule.floor(requested.height))
    ):
        return request  # as in A1111
    update: dict[str, Any] = {"width": size.width, "height": size.height, "resize_by": None}
    if options.size == "source":
        update["resize_mode"] = 0  # the proportions match the source to within a few pixels
    return request.model_copy(update=update)


def masked_alone(
    request: Img2ImgRequest, options: BatchOptions, rule: SizeRule
) -> tuple[Img2ImgRequest, tuple[str, ...]]:
    """The request, changed to Only masked for a large source if the options say so, and a note about it."""
    is_whole = request.mask is not None and request.inpaint_full_res == 0
    if not is_whole or options.large_sources == "as asked" or options.size == "source":
        return request, ()
    if not is_source_large(request, rule):
        return request, ()
    source = request.init_images[0]
    note = f"Only the masked area was redrawn, so the rest keeps its {source.width}x{source.height} pixels."
    return request.model_copy(update={"inpaint_full_res": 1}), (note,)


def fitted(
    request: Img2ImgRequest, picture: Picture, options: BatchOptions, rule: SizeRule
) -> tuple[Img2ImgRequest, tuple[str, ...]]:
    """The request with its checked source, and a mask of the source's size.

    With Only masked the result is as large as the source, so the limits scale the source.
    """
    mask = request.mask
    notes: list[str] = []
    if mask is not None and (mask.width, mask.height) != (picture.width, picture.height):
        notes.append(
            f"The mask ({mask.width}x{mask.height}) was resized to match the picture "
            f"({picture.width}x{picture.height})."
        )
        mask = _resized(mask, Size(picture.width, picture.height))
    source = Size(picture.width, picture.height)
    if mask is not None and request.inpaint_full_res == 1:
        size = within(source, rule, options.max_side, options.max_megapixels)
        if max(size) < max(source) and (options.max_side or options.max_megapixels):
            picture, mask = _resized(picture, size), _resized(mask, size)
            notes.append(f"The picture was scaled down to {size.width}x{size.height}.")
    return request.model_copy(update={"init_images": (picture,), "mask": mask}), tuple(notes)


def _resized(picture: Picture, size: Size) -> Picture:
    return Picture.from_image(picture.open().resize(size, Image.Resampling.LANCZOS))
