"""The sizes that a request results in, under the size rule of the model's family."""

import math
from collections.abc import Callable

from modules.base.errors import WebuiError
from modules.images.geometry import Margins, Size
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from modules.schema.sizes import SizeRule

LARGEST = 8192  # pixels of a side of the second pass
OLD_FIRST_PIXELS, OLD_FIRST_STEP = 512 * 512, 64


def result_size(request: GenerationRequest, sizes: SizeRule) -> tuple[Size, Size]:
    """(size of the result under `sizes`, requested size). `resize_by` multiplies the source's size, truncating."""
    width, height = request.width, request.height
    if isinstance(request, Img2ImgRequest) and (request.resize_by is not None or is_grown(request)):
        picture = Size(request.init_images[0].width, request.init_images[0].height)
        whole = margins(request).around(picture)
        scale = 1.0 if request.resize_by is None else request.resize_by
        width, height = int(whole.width * scale), int(whole.height * scale)
        if scale == 1 and is_grown(
            request
        ):  # the old pixels stay as they are, so the rest of the last cells is cropped
            return _grown_size(whole, sizes), whole
    cut = Size(sizes.floor(width), sizes.floor(height))
    least = sizes.multiple_of
    if min(cut) < least:
        raise WebuiError(
            f"Scale (resize_by) = {getattr(request, 'resize_by', None)}: the result would be {width}x{height} pixels, "
            f"but at least {least}x{least} are needed.",
            "Choose a larger scale.",
            "resize_by",
        )
    return cut, Size(width, height)


def with_first_size(request: GenerationRequest, settings: Settings) -> GenerationRequest:
    """`request`; under the old rule with the first pass's size in place of the result's.

    A1111's old rule: about as many pixels as 512x512, each side rounded up to a multiple of 64.
    """
    is_old = isinstance(request, Txt2ImgRequest) and request.enable_hr and settings.use_old_hires_fix_width_height
    if not is_old:
        return request
    scale = math.sqrt(OLD_FIRST_PIXELS / (request.width * request.height))
    width, height = (
        math.ceil(scale * side / OLD_FIRST_STEP) * OLD_FIRST_STEP for side in (request.width, request.height)
    )
    update = {"width": width, "height": height, "hr_resize_x": request.width, "hr_resize_y": request.height}
    return request.model_copy(update=update)


def hires_sizes(request: Txt2ImgRequest, sizes: SizeRule) -> tuple[Size, Size]:
    """(size in pixels to which the first picture is enlarged, size of the second pass in whole cells).

    Without an explicit size it is `hr_scale` times the first one. With one side given, the other follows; with both,
    the picture is enlarged until it covers them, and the excess is cropped.
    """
    width, height = request.width, request.height
    target = Size(request.hr_resize_x, request.hr_resize_y)
    if target == (0, 0):
        enlarged = Size(int(width * request.hr_scale), int(height * request.hr_scale))
    elif target.height == 0 or (target.width > 0 and width * target.height < target.width * height):
        enlarged = Size(target.width, target.width * height // width)
    else:
        enlarged = Size(target.height * width // height, target.height)
    least = sizes.multiple_of
    cells = Size(enlarged.width // least, enlarged.height // least)
    if min(target) > 0:  # whole cells exceed the size
        cells = Size(
            cells.width - max(0, (enlarged.width - target.width) // least),
            cells.height - max(0, (enlarged.height - target.height) // least),
        )
    if min(cells) < 1 or max(cells) * least > LARGEST:
        raise WebuiError(
            f"Hires fix: the result would be {enlarged.width}x{enlarged.height} pixels, expected from {least} to "
            f"{LARGEST} on each side.",
            "Choose another scale or size.",
            "hr_scale" if target == (0, 0) else "hr_resize_x",
        )
    return enlarged, Size(cells.width * least, cells.height * least)


def margins(request: Img2ImgRequest) -> Margins:
    """The margins around the source, in its pixels."""
    return Margins(request.outpaint_left, request.outpaint_top, request.outpaint_right, request.outpaint_bottom)


def ignored_size(request: GenerationRequest, sizes: SizeRule) -> str:
    """A sentence if the given width and height are ignored because the source and its margins set the size."""
    if not isinstance(request, Img2ImgRequest) or not is_grown(request):
        return ""
    _, requested = result_size(request, sizes)
    if not request.model_fields_set & {"width", "height"} or (request.width, request.height) == requested:
        return ""
    return (
        f"width and height ({request.width}x{request.height}) are ignored when outpainting: the result is "
        f"the source with its margins, {requested.width}x{requested.height}."
    )


def size_advice(request: GenerationRequest, is_second: bool) -> tuple[str, Callable[[Size], str]]:
    """(the field that sets the size of a pass, how to change it)."""
    if is_second:
        return "hr_scale", lambda fitting: f"Set the second pass's size to {fitting.width}x{fitting.height}."
    if isinstance(request, Img2ImgRequest) and is_grown(request):
        return "outpaint_left", lambda fitting: "Extend it less, or use a smaller copy of the source."
    if isinstance(request, Img2ImgRequest) and request.resize_by is not None:
        wide = request.init_images[0].width

        def by(fitting: Size) -> str:
            share = int(fitting.width / wide * 20) / 20  # the slider's steps
            return f"Set Resize by to {share:g}, or the size to {fitting.width}x{fitting.height}."

        return "resize_by", by
    return "width", lambda fitting: f"Set the size to {fitting.width}x{fitting.height}."


def is_grown(request: Img2ImgRequest) -> bool:
    """Whether the source and its margins set the result's size, not width and height."""
    return request.is_outpainted and request.inpaint_full_res == 0


def _grown_size(whole: Size, sizes: SizeRule) -> Size:
    """The whole cells that cover `whole` pixels."""
    if max(whole) > LARGEST:
        raise WebuiError(
            f"Outpainting: the result would be {whole.width}x{whole.height} pixels, expected at most {LARGEST} on each "
            "side.",
            "Extend it less, or use a smaller source.",
            "outpaint_left",
        )
    return Size(sizes.ceil(whole.width), sizes.ceil(whole.height))
