"""From source and mask to the pictures that an inpainting job works with.

The order of operations and their arithmetic are A1111's, so that the same request gives the same picture.
"""

from dataclasses import dataclass

from PIL import Image

from modules.images import masks
from modules.images.geometry import Box, Size
from modules.images.resize import JUST_RESIZE, RESIZE_AND_FILL, resized, resizes_latents
from modules.processing.masked import area_strength
from modules.processing.masked.outpaint import Grown, grown
from modules.processing.plan import Canvas, Source
from modules.schema.request import MASKED_CONTENTS
from modules.schema.resize_modes import RESIZE_MODES
from modules.schema.sizes import SizeRule

FILL, ORIGINAL, LATENT_NOISE, LATENT_NOTHING = range(len(MASKED_CONTENTS))


@dataclass(frozen=True)
class Prepared:
    """The pictures of an inpainting job.

    image: RGB, the encoder's input.  mask: L, the part of it that may change; `latent_mask` the same for the latent.
    whole: RGB, what is returned where nothing is redrawn.  overlay: RGBA, `whole` with the mask cut out.  box: the
    position of `image` in `whole`, if it is a part of it.  content: L, the part of the latent whose initial content is
    replaced.  reach: L, of the size of `whole`, 0 outside the mask: there the original always shows.  outside: L, 255
    in the part of `image` beyond the source.  cut: the result's size if it is smaller.
    """

    image: Image.Image
    mask: Image.Image
    latent_mask: Image.Image
    whole: Image.Image
    overlay: Image.Image
    box: Box | None
    content: Image.Image
    reach: Image.Image
    outside: Image.Image | None = None
    cut: Size | None = None


def prepare(source: Source, canvas: Canvas, size: Size, background: str, sizes: SizeRule) -> Prepared | None:
    """Source and mask at `size`, or the masked region alone with Only masked.

    None if the mask is empty: then the whole picture is redrawn, as without one. (A1111 does so with Only masked; else
    it samples and then shows only the source, which only "A1111 exact" repeats.)
    """
    picture = source.picture.rgb(background)
    mask = _blurred_mask(canvas, Size(*picture.size))
    if mask.getbbox() is None and _is_plain(canvas):
        return None
    is_aligned = resizes_latents(source.resize_mode) and not canvas.is_exact
    if is_aligned and canvas.frame is None and not canvas.only_masked:
        # The encoder takes whole cells of the source, and the overlay must line up with them.
        whole_cells = (0, 0, sizes.floor(picture.width), sizes.floor(picture.height))
        picture, mask = picture.crop(whole_cells), mask.crop(whole_cells)
    mode = JUST_RESIZE if is_aligned else mask_mode(source.resize_mode)
    larger: Grown | None = None
    content = mask
    if canvas.frame is not None:
        larger = grown(picture, canvas.frame, None if canvas.only_masked else _cells_over(canvas, picture, size, sizes))
        picture, mask, content = larger.picture, larger.framed(mask, 255), larger.framed(mask, 0)
        if not canvas.only_masked and larger.cut is not None:
            size = Size(*picture.size)
    box = None
    if canvas.only_masked:
        region = masks.crop_box(mask, canvas.padding)
        if region is None:
            return None
        box = masks.expanded(region, size, Size(*mask.size))
        whole, overlay_mask, reach = picture, _shown(mask, canvas, is_cropped=True), _reach(mask)
        mask, content = (resized(layer.crop(box), RESIZE_AND_FILL, size) for layer in (mask, content))
        image = resized(picture.crop(box), RESIZE_AND_FILL, size, source.upscaler)
    else:
        mask, content = resized(mask, mode, size), resized(content, mode, size)
        overlay_mask, reach = _shown(mask, canvas, is_cropped=False), _reach(mask)
        image = resized(picture, source.resize_mode, size, source.upscaler)
        whole = resized(picture, JUST_RESIZE, size, source.upscaler) if is_aligned else image
    overlay_mask = resized(overlay_mask, mode, Size(*whole.size))
    latent_mask = mask
    if canvas.latent_mask is not None:
        latent_mask = content = masks.drawn(canvas.latent_mask.open(), canvas.is_rounded)
        if larger is not None:
            latent_mask, content = (_part(larger.framed(content, beyond), box, size) for beyond in (255, 0))
    if canvas.content != ORIGINAL and content.getbbox() is not None:
        image = masks.filled(image, resized(content, mode, Size(*image.size)))
    overlay = masks.with_hole(whole, overlay_mask)
    outside = None if larger is None else _part(larger.outside, box, size)
    cut = None if larger is None else larger.cut
    return Prepared(image, mask, latent_mask, whole, overlay, box, content, reach, outside, cut)


def _is_plain(canvas: Canvas) -> bool:
    """Whether an empty mask counts as no mask; not where it means that everything is kept."""
    can_be_empty = canvas.is_inverted or canvas.frame is not None or canvas.latent_mask is not None
    return not can_be_empty and not (canvas.is_exact and not canvas.only_masked)


def drawn_mask(canvas: Canvas, size: Size) -> Image.Image:
    """The mask, inverted if requested; empty, of the source's `size`, if there is none.

    A mask of another size is resized to the source's, except for A1111 exact, where it is fitted to the result itself.
    """
    if canvas.mask is None:
        return Image.new("L", size)
    mask = masks.drawn(canvas.mask.open(), canvas.is_rounded)
    if mask.size != size and not canvas.is_exact:
        mask = mask.resize(size, Image.Resampling.LANCZOS)
    return mask.point([255 - value for value in range(256)]) if canvas.is_inverted else mask


def _blurred_mask(canvas: Canvas, size: Size) -> Image.Image:
    """`drawn_mask` with a soft edge."""
    mask = drawn_mask(canvas, size)
    return mask if canvas.mask is None else masks.blurred(mask, *canvas.blur)


def _shown(mask: Image.Image, canvas: Canvas, is_cropped: bool) -> Image.Image:
    """The mask for pasting the original over the result."""
    if canvas.by_gray:
        return _reach(mask)
    return mask if is_cropped else masks.doubled(mask)


def _reach(mask: Image.Image) -> Image.Image:
    """`mask` with a steep ramp from its darkest grays on, so that partly redrawn pixels hardly mix."""
    return mask.point([min(255, value * 255 // area_strength.SHOWN) for value in range(256)])


def _part(layer: Image.Image, box: Box | None, size: Size) -> Image.Image:
    return resized(layer if box is None else layer.crop(box), RESIZE_AND_FILL, size)


def _cells_over(canvas: Canvas, picture: Image.Image, size: Size, sizes: SizeRule) -> Size | None:
    """The whole cells that cover the extended `picture`, unless it is resized to `size`."""
    assert canvas.frame is not None
    whole = canvas.frame.margins.around(Size(*picture.size))
    return Size(*map(sizes.ceil, whole)) if whole == size else None


def mask_mode(resize_mode: int) -> int:
    """The resize mode of masks, which have no latent to resize."""
    mode = RESIZE_MODES[resize_mode].mask_mode
    return resize_mode if mode is None else mode
