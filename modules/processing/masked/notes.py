"""Warnings about how source and mask fit together."""

from modules.images.geometry import Size
from modules.images.resize import resizes_latents
from modules.processing.masked.latents import latent_mask
from modules.processing.masked.prepare import Prepared, drawn_mask, mask_mode
from modules.processing.plan import Canvas, Source
from modules.schema.resize_modes import RESIZE_MODES
from modules.schema.sizes import SizeRule


def notes(
    source: Source,
    canvas: Canvas,
    size: Size,
    prepared: Prepared | None,
    keeps_original: bool,
    sizes: SizeRule,
) -> tuple[str, ...]:
    """Warnings about how source and mask fit together.

    `size` is the result's, or the tile's with Only masked; `keeps_original`: whether the original is pasted over the
    result (`overlay_inpaint`).
    """
    found = [*filter(None, (_about_size(source, canvas, size), _about_extent(source, canvas, size, prepared, sizes)))]
    if prepared is None:
        return tuple(found)
    picture = source.picture
    is_displaced = canvas.is_exact and not canvas.only_masked and resizes_latents(source.resize_mode)
    if is_displaced and (picture.width, picture.height) != size:
        found.append(
            "Latent upscale keeps the source at its own size, so the original covers the result's upper left "
            "corner, as in A1111. Choose another resize mode, or Only masked."
        )
    if not keeps_original:
        found.append(
            "Overlay original for inpaint is off: unmasked areas change too"
            + (", and only the masked region is returned." if prepared.box is not None else ".")
        )
    elif canvas.softness is not None and canvas.is_exact:
        found.append("Soft inpainting blends according to what changed: unmasked pixels near the mask may change too.")
    return tuple(found)


def _about_size(source: Source, canvas: Canvas, size: Size) -> str:
    """What happens to a mask whose size differs from the source's; "" if it does not."""
    picture, mask = source.picture, canvas.mask
    if mask is None or (mask.width, mask.height) == (picture.width, picture.height):
        return ""
    note = f"The mask is {mask.width}x{mask.height} and the source {picture.width}x{picture.height}: "
    if not canvas.is_exact or (canvas.frame is not None and not canvas.only_masked):
        return note + "it was resized to match the source."
    if canvas.only_masked:
        return note + "the region is measured in the mask's pixels, as in A1111, and may be elsewhere in the source."
    name = RESIZE_MODES[mask_mode(source.resize_mode)].label
    return note + f"it was resized to {size.width}x{size.height} separately ({name}), as in A1111."


def _about_extent(source: Source, canvas: Canvas, size: Size, prepared: Prepared | None, sizes: SizeRule) -> str:
    """What happens with a mask that covers nothing, everything, or too little to be redrawn; "" for all others."""
    if canvas.mask is None:
        return ""
    covered = drawn_mask(canvas, Size(source.picture.width, source.picture.height)).getextrema()
    if prepared is None or covered == (0, 0):
        reason = "The mask is empty"
        if canvas.is_inverted:
            reason = "The mask covers the whole picture and Inpaint not masked is selected"
        if prepared is None:
            return f"{reason}: the whole picture is redrawn, as without a mask."
        return f"{reason}: " + ("nothing is redrawn." if canvas.frame is None else "only the new area is painted.")
    if covered == (255, 255):
        reason = "The mask covers the whole picture"
        if canvas.is_inverted:
            reason = "The mask is empty and Inpaint not masked is selected"
        return f"{reason}: all of it is redrawn, as without a mask."
    cells = Size(*(max(1, sizes.cells(side)) for side in size))
    if canvas.is_rounded and canvas.frame is None and not latent_mask(prepared.latent_mask, cells, True).any():
        cure = "paint more of it, or whiter, or lower Mask blur" + (
            "." if canvas.only_masked else ", or choose Only masked."
        )
        return f"The mask covers no {sizes.cell}x{sizes.cell} pixel cell by half, so nothing is redrawn: {cure}"
    return ""
