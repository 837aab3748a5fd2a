"""Inpainting: from a mask to what the encoder sees and what the sampler may change, and from the result back.

The order of operations and their arithmetic are A1111's, so that the same request gives the same picture.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps
from torch import Tensor

from modules.images import masks, tone
from modules.images.geometry import Box, Size
from modules.images.resize import JUST_RESIZE, LATENT_UPSCALE, RESIZE_AND_FILL, resized
from modules.networks.vae import Posterior, from_uint8
from modules.processing import area_strength, soft_inpainting
from modules.processing.outpaint import Grown, cells_outside, grown
from modules.processing.plan import CELL, Canvas, Plan, Softness, Source
from modules.processing.unet import GuidedUNet
from modules.sampling.denoise import Blend, hard_blend, masked, masked_input
from modules.sampling.discrete import ModelSchedule
from modules.sampling.noise import ImageNoise
from modules.schema.request import MASKED_CONTENTS, RESIZE_MODES
from modules.schema.settings import COMPOSITE, MASK, Settings

FILL, ORIGINAL, LATENT_NOISE, LATENT_NOTHING = range(len(MASKED_CONTENTS))


@dataclass(frozen=True)
class Prepared:
    """The pictures of an inpainting job.

    image: RGB, what the encoder sees.  mask: L, what of it may change; `latent_mask` the same for the latent.
    whole: RGB, what comes back where nothing is redrawn.  overlay: RGBA, `whole` with the hole of the mask.
    box: where `image` lies in `whole`, if it is a part of it.  content: L, what of the latent gets another content to
    begin with.  reach: L, of the size of `whole`, 0 where it is not masked: there the original shows, whatever has
    changed below.  outside: L, 255 where the source ends and `image` goes on.  cut: the result's size, where it is
    smaller.
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


def prepare(source: Source, canvas: Canvas, size: Size, background: str) -> Prepared | None:
    """Source and mask at `size`, the masked region alone where only that is worked on.

    None if the mask is empty and the whole picture is redrawn, as without one. (A1111 does so where it works on the
    masked region alone; else it paints and then shows nothing of it, which only "A1111 exact" repeats.)
    """
    picture = source.picture.rgb(background)
    mask = _blurred_mask(canvas, Size(*picture.size))
    if mask.getbbox() is None and _is_plain(canvas):
        return None
    is_aligned = source.resize_mode == LATENT_UPSCALE and not canvas.is_exact
    if is_aligned and canvas.frame is None and not canvas.only_masked:
        # The encoder takes whole cells of the source; what lies over the result is to lie where they come to lie.
        whole_cells = (0, 0, picture.width // CELL * CELL, picture.height // CELL * CELL)
        picture, mask = picture.crop(whole_cells), mask.crop(whole_cells)
    mode = JUST_RESIZE if is_aligned else _mask_mode(source.resize_mode)
    larger: Grown | None = None
    content = mask
    if canvas.frame is not None:
        larger = grown(picture, canvas.frame, None if canvas.only_masked else _cells_over(canvas, picture, size))
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
        image = resized(picture.crop(box), RESIZE_AND_FILL, size)
    else:
        mask, content = resized(mask, mode, size), resized(content, mode, size)
        overlay_mask, reach = _shown(mask, canvas, is_cropped=False), _reach(mask)
        image = resized(picture, source.resize_mode, size)
        whole = resized(picture, JUST_RESIZE, size) if is_aligned else image
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
    """Whether a job whose mask is empty is one without a mask. Where all is to be kept, nobody wants all redrawn."""
    is_asked_for = canvas.is_inverted or canvas.frame is not None or canvas.latent_mask is not None
    return not is_asked_for and not (canvas.is_exact and not canvas.only_masked)


def _drawn_mask(canvas: Canvas, size: Size) -> Image.Image:
    """The mask the right way round; empty (of `size`, the source's) where there is none.

    One of another size is brought to the source's; in A1111, where it is fitted to the result by itself, it stays.
    """
    if canvas.mask is None:
        return Image.new("L", size)
    mask = masks.drawn(canvas.mask.open(), canvas.is_rounded)
    if mask.size != size and not canvas.is_exact:
        mask = mask.resize(size, Image.Resampling.LANCZOS)
    return mask.point([255 - value for value in range(256)]) if canvas.is_inverted else mask


def _blurred_mask(canvas: Canvas, size: Size) -> Image.Image:
    """`_drawn_mask`, its edge softened."""
    mask = _drawn_mask(canvas, size)
    return mask if canvas.mask is None else masks.blurred(mask, *canvas.blur)


def _shown(mask: Image.Image, canvas: Canvas, is_cropped: bool) -> Image.Image:
    """The mask by which the original is laid over the result."""
    if canvas.by_grey:
        return _reach(mask)
    return mask if is_cropped else masks.doubled(mask)


def _reach(mask: Image.Image) -> Image.Image:
    """`mask`, steeply risen from its first greys on: where it shows at all it soon shows alone."""
    return mask.point([min(255, value * 255 // area_strength.SHOWN) for value in range(256)])


def _part(layer: Image.Image, box: Box | None, size: Size) -> Image.Image:
    return resized(layer if box is None else layer.crop(box), RESIZE_AND_FILL, size)


def _cells_over(canvas: Canvas, picture: Image.Image, size: Size) -> Size | None:
    """The whole cells that cover the grown `picture`, unless it is to be resized to `size`."""
    assert canvas.frame is not None
    whole = canvas.frame.margins.around(Size(*picture.size))
    return Size(*(-(-side // CELL) * CELL for side in whole)) if whole == size else None


@dataclass(frozen=True)
class Inpainting:
    """A batch under a mask.

    original: (B, C, h, w), the encoded picture with what stands under the mask to begin with, fp32.
    mask: (1, 1, h, w), 1 where the latent may change.  steps: of the whole schedule.
    """

    prepared: Prepared
    original: Tensor
    mask: Tensor
    canvas: Canvas
    steps: int

    @property
    def softness(self) -> Softness | None:
        return self.canvas.softness

    def around(self, unet: GuidedUNet, schedule: ModelSchedule, levels: Tensor, is_preserving: bool) -> "MaskedUNet":
        """`unet`, kept from changing what is not masked, on its walk over `levels`.

        `is_preserving` tells the samplers of the DDIM family.
        """
        blend = hard_blend
        if self.canvas.by_grey:
            # In all families what is predicted is held: A1111's way in DDIM's would show places that are not freed yet
            # without their noise.
            blend = partial(area_strength.freed, levels, self.canvas.strength, self.steps)
            return MaskedUNet(unet, self.original, self.mask, blend, is_preserving=False)
        if self.softness is not None:
            blend = partial(_softly, self.softness, schedule if is_preserving else None)
        return MaskedUNet(unet, self.original, self.mask, blend, is_preserving)

    def finished(self, latents: Tensor) -> Tensor:
        """The sampler's last latents with the original outside the mask; soft inpainting leaves that to the pixels."""
        if self.canvas.by_grey:
            return torch.where(self.mask > 0, latents, self.original)
        return latents if self.softness is not None else torch.lerp(self.original, latents, self.mask)

    def laid_over(self, pixels: NDArray[np.uint8], index: int, latent: Tensor) -> NDArray[np.uint8]:
        """Decoded `pixels` (H, W, 3) of picture `index`, the original over them: where nothing is masked, its bytes."""
        overlay = self.overlay(index, latent)
        pixels = self._in_tone(pixels)
        return np.asarray(masks.pasted_back(Image.fromarray(pixels, "RGB"), overlay, self.prepared.box))

    def beside(
        self, index: int, latent: Tensor, pixels: NDArray[np.uint8], settings: Settings
    ) -> dict[str, Image.Image]:
        """What the settings want beside picture `index`, by the suffix of its name; `pixels` as they were decoded."""
        if not settings.beside:
            return {}
        hole = self._hole(index, latent)
        layers = {MASK: hole.convert("RGB"), COMPOSITE: self._under(hole, pixels, settings.overlay_inpaint)}
        return {suffix: self._cut_layer(layers[suffix]) for suffix in settings.beside}

    def _hole(self, index: int, latent: Tensor) -> Image.Image:
        """The mask (L) by which the original was left out over picture `index`: where it is 0 the original shows."""
        return ImageOps.invert(self.overlay(index, latent).getchannel("A"))

    def _under(self, hole: Image.Image, pixels: NDArray[np.uint8], is_laid_over: bool) -> Image.Image:
        """RGBA of what shows of decoded `pixels` through `hole`, all else transparent."""
        tile = Image.fromarray(self._in_tone(pixels) if is_laid_over else pixels, "RGB").convert("RGBA")
        box = self.prepared.box
        painted = tile if box is None or not is_laid_over else masks.placed(tile, box, Size(*hole.size))
        return masks.shown_through(painted, resized(hole, RESIZE_AND_FILL, Size(*painted.size)))

    def _cut_layer(self, layer: Image.Image) -> Image.Image:
        size = self.prepared.cut
        return layer if size is None else layer.crop((0, 0, size.width, size.height))

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`pixels` without what was painted to fill whole cells."""
        size = self.prepared.cut
        return pixels if size is None else np.ascontiguousarray(pixels[: size.height, : size.width])

    def _in_tone(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        prepared, canvas = self.prepared, self.canvas
        original = np.asarray(prepared.image)
        if pixels.shape != original.shape:  # latent upscale: the original lies elsewhere
            return pixels
        redrawn = np.asarray(prepared.mask) > 0
        if canvas.frame is not None and prepared.outside is not None:
            scale = 1.0 if prepared.box is None else prepared.image.width / prepared.box.size.width
            new = np.asarray(prepared.outside) > 0
            pixels = tone.feathered(pixels, original, new, ~redrawn, canvas.frame.feather * scale)
        return tone.matched(pixels, original, redrawn, canvas.color_match)

    def overlay(self, index: int, latent: Tensor) -> Image.Image:
        """What is laid over picture `index` of the batch, whose latent has become `latent` (C, h, w)."""
        prepared = self.prepared
        if self.softness is None:
            return prepared.overlay
        size = Size(*prepared.mask.size)
        mask = soft_inpainting.overlay_mask(
            self.original[index], latent, self.mask[0, 0], self.softness, size, self.canvas.is_exact
        )
        whole = Size(*prepared.whole.size)
        if prepared.outside is not None:  # there is nothing that could show through
            mask = ImageChops.lighter(mask, prepared.outside)
        if prepared.box is not None:
            mask = masks.placed(mask, prepared.box, whole)
        mask = resized(mask, RESIZE_AND_FILL, whole)
        if not self.canvas.is_exact:
            mask = ImageChops.darker(mask, prepared.reach)
        return masks.with_hole(prepared.whole, mask)


def begin_inpainting(plan: Plan, canvas: Canvas, prepared: Prepared, latents: Tensor, settings: Settings) -> Inpainting:
    """The batch whose encoded pictures are `latents` (B, C, h, w), its masked content put in place."""
    channels, height, width = latents.shape[1:]
    cells = Size(width, height)
    mask = _cells_of(prepared.latent_mask, cells, canvas).to(latents.device)
    content = mask
    if prepared.outside is not None:
        content = _cells_of(prepared.content, cells, canvas).to(latents.device)
        mask = torch.maximum(mask, cells_outside(prepared.outside, cells).to(latents.device))
    if canvas.content in (LATENT_NOISE, LATENT_NOTHING):
        latents = latents * (1 - content)
    if canvas.content == LATENT_NOISE:
        # The seeds of the first batch, without their variations, in every batch: A1111 does it so.
        seeds = [image.seed for image in plan.batches[0]][: len(latents)]
        noise = ImageNoise(settings.randn_source, (channels, height, width), seeds, latents.device)
        latents = latents + noise.first() * content
    return Inpainting(prepared, latents, mask, canvas, plan.first.walk.steps)


def latent_mask(mask: Image.Image, cells: Size, rounded: bool) -> Tensor:
    """`mask` at the latent's size (bicubic), (1, 1, h, w) in [0, 1]; halves round to even where it is rounded."""
    small = np.asarray(mask.resize(cells, Image.Resampling.BICUBIC), np.float32) / 255
    return torch.from_numpy(np.around(small) if rounded else small)[None, None]


def _cells_of(mask: Image.Image, cells: Size, canvas: Canvas) -> Tensor:
    """`mask` at the latent's size; a grey that is a strength is its cell's mean, as bicubic would lend it to others."""
    if canvas.by_grey:
        mask = mask.resize(cells, Image.Resampling.BOX)
    return latent_mask(mask, cells, canvas.is_rounded)


class MaskedUNet:
    """A guided UNet that keeps the original where nothing is masked; the same interface."""

    def __init__(self, unet: GuidedUNet, original: Tensor, mask: Tensor, blend: Blend, is_preserving: bool) -> None:
        self._unet = unet
        self._denoise = (masked_input if is_preserving else masked)(self._seen_by_unet, original, mask, blend)
        self._given: Tensor | None = None
        self._seen: Tensor | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self._given = x
        return self._denoise(x, sigma)

    def latest_uncond(self) -> Tensor:
        """The unconditional prediction of the latest call, charged to the x that came in, as `masked_input` does."""
        assert self._given is not None, "nothing has been predicted yet"
        assert self._seen is not None, "nothing has been predicted yet"
        return self._unet.latest_uncond() + (self._given - self._seen)

    def _seen_by_unet(self, x: Tensor, sigma: Tensor) -> Tensor:
        self._seen = x
        return self._unet(x, sigma)


def inpainting_input(
    encoded: Callable[[Tensor], Posterior],
    image: Image.Image | None,
    mask: Image.Image | None,
    rounded: bool,
    weight: float,
    cells: Size,
) -> Tensor:
    """What an inpainting checkpoint is shown beside the latent, (1, 1 + C, h, w): where to draw, and what is there.

    The latter is `encoded` from `image` (RGB), grey under the mask as far as `weight` (`inpainting_mask_weight`) says.
    Without a mask all of it is drawn, without an image (txt2img) from nothing. A1111 draws from the posterior without
    a seed; here its mean is taken.
    """
    size = Size(cells.width * CELL, cells.height * CELL) if image is None else Size(*image.size)
    hidden = torch.ones(1, 1, size.height, size.width)
    if mask is not None:
        values = np.asarray(resized(mask, RESIZE_AND_FILL, size), np.float32) / 255
        hidden = torch.from_numpy(np.around(values) if rounded else values)[None, None]
    pixels = torch.zeros(1, 3, size.height, size.width) if image is None else from_uint8(np.array(image)[None])
    latent = encoded(torch.lerp(pixels, pixels * (1 - hidden), weight)).mean
    shape = (cells.height, cells.width)
    if latent.shape[-2:] != shape:
        latent = torch.nn.functional.interpolate(latent, size=shape, mode="bilinear")
    return torch.cat([torch.nn.functional.interpolate(hidden, size=shape).to(latent.device), latent], dim=1)


def _softly(
    softness: Softness, schedule: ModelSchedule | None, original: Tensor, current: Tensor, mask: Tensor, sigma: Tensor
) -> Tensor:
    # In the DDIM family A1111 hands the timestep over where the formula wants sigma.
    level = sigma[0] if schedule is None else schedule.sigma_to_t(sigma[0])
    return soft_inpainting.blended(original, current, mask, level, softness)


def _mask_mode(resize_mode: int) -> int:
    """The resize mode of masks: they have no latent to be resized in, and A1111 fills."""
    return RESIZE_AND_FILL if resize_mode == LATENT_UPSCALE else resize_mode


def notes(
    source: Source, canvas: Canvas, size: Size, prepared: Prepared | None, keeps_original: bool
) -> tuple[str, ...]:
    """What the person should know of how source and mask go together.

    `size` is the result's, or the tile's where only the masked region is worked on; `keeps_original` tells whether the
    original is laid over the result (`overlay_inpaint`).
    """
    found = [*filter(None, (_about_size(source, canvas, size), _about_extent(source, canvas, size, prepared)))]
    if prepared is None:
        return tuple(found)
    picture = source.picture
    is_displaced = canvas.is_exact and not canvas.only_masked and source.resize_mode == LATENT_UPSCALE
    if is_displaced and (picture.width, picture.height) != size:
        found.append(
            "Latent upscale leaves the source at its own size, so the original lies over the result's upper left "
            "corner, as in A1111. Choose another resize mode, or Only masked."
        )
    if not keeps_original:
        found.append(
            "Overlay original for inpaint is off: what is not masked changes too"
            + (", and the masked region comes back alone." if prepared.box is not None else ".")
        )
    elif canvas.softness is not None and canvas.is_exact:
        found.append("Soft inpainting decides by what has changed: near the mask, unmasked pixels may change too.")
    return tuple(found)


def _about_size(source: Source, canvas: Canvas, size: Size) -> str:
    """What becomes of a mask that has another size than the source; "" where it has not."""
    picture, mask = source.picture, canvas.mask
    if mask is None or (mask.width, mask.height) == (picture.width, picture.height):
        return ""
    said = f"The mask is {mask.width}x{mask.height} and the source {picture.width}x{picture.height}: "
    if not canvas.is_exact or (canvas.frame is not None and not canvas.only_masked):
        return said + "it was brought to the source's size."
    if canvas.only_masked:
        return said + "the region is counted in the mask's pixels, as in A1111, and may lie elsewhere in the source."
    name = RESIZE_MODES[_mask_mode(source.resize_mode)]
    return said + f"it was brought to {size.width}x{size.height} by itself ({name}), as in A1111."


def _about_extent(source: Source, canvas: Canvas, size: Size, prepared: Prepared | None) -> str:
    """What a mask does that covers nothing, everything, or less than can be redrawn; "" for all others."""
    if canvas.mask is None:
        return ""
    covered = _drawn_mask(canvas, Size(source.picture.width, source.picture.height)).getextrema()
    if prepared is None or covered == (0, 0):
        reason = "The mask is empty"
        if canvas.is_inverted:
            reason = "The mask covers the whole picture and Inpaint not masked is chosen"
        if prepared is None:
            return f"{reason}: the whole picture is redrawn, as without a mask."
        return f"{reason}: " + ("nothing is redrawn." if canvas.frame is None else "only what is new is painted.")
    if covered == (255, 255):
        reason = "The mask covers the whole picture"
        if canvas.is_inverted:
            reason = "The mask is empty and Inpaint not masked is chosen"
        return f"{reason}: all of it is redrawn, as without a mask."
    cells = Size(max(1, size.width // CELL), max(1, size.height // CELL))
    if canvas.is_rounded and canvas.frame is None and not latent_mask(prepared.latent_mask, cells, True).any():
        cure = "paint more of it, or whiter, or lower Mask blur" + (
            "." if canvas.only_masked else ", or choose Only masked."
        )
        return f"The mask fills no cell of {CELL}x{CELL} pixels by half, so nothing is redrawn: {cure}"
    return ""
