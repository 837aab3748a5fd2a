"""Inpainting of a batch: what the sampler may change, and how its result is pasted back into the source."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps
from torch import Tensor

from modules.images import masks, tone
from modules.images.geometry import Size
from modules.images.resize import RESIZE_AND_FILL, resized
from modules.processing.masked import area_strength, soft_inpainting
from modules.processing.masked.latents import cells_of
from modules.processing.masked.outpaint import cells_outside
from modules.processing.masked.prepare import LATENT_NOISE, LATENT_NOTHING, Prepared
from modules.processing.plan import Canvas, Plan, Softness
from modules.sampling.denoise import SplitDenoise, hard_blend, masked, masked_input
from modules.sampling.noise import ImageNoise
from modules.sampling.noise_model import NoiseModel
from modules.schema.settings import COMPOSITE, MASK, Settings


@dataclass(frozen=True)
class Inpainting:
    """A batch under a mask.

    original: (B, C, h, w), the encoded picture with the initial content under the mask, fp32.
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

    def around(self, denoise: SplitDenoise, noise: NoiseModel, levels: Tensor, is_preserving: bool) -> SplitDenoise:
        """`denoise` restricted to the masked area, in a pass over `levels`.

        `is_preserving`: whether the sampler is of the DDIM family.
        """
        if self.canvas.by_gray:
            # The prediction is blended for all samplers: A1111's way for DDIM would show cells whose steps have not
            # begun without their noise.
            blend = partial(area_strength.freed, levels, self.canvas.strength, self.steps)
            return masked(denoise, self.original, self.mask, blend)
        blend = hard_blend
        if self.softness is not None:
            blend = partial(_softly, self.softness, noise if is_preserving else None)
        return (masked_input if is_preserving else masked)(denoise, self.original, self.mask, blend)

    def finished(self, latents: Tensor) -> Tensor:
        """The final latents with the original outside the mask; soft inpainting blends pixels instead."""
        if self.canvas.by_gray:
            return torch.where(self.mask > 0, latents, self.original)
        return latents if self.softness is not None else torch.lerp(self.original, latents, self.mask)

    def laid_over(self, pixels: NDArray[np.uint8], index: int, latent: Tensor) -> NDArray[np.uint8]:
        """Decoded `pixels` (H, W, 3) of picture `index` with the original pasted over: unmasked bytes stay."""
        overlay = self.overlay(index, latent)
        pixels = self._in_tone(pixels)
        return np.asarray(masks.pasted_back(Image.fromarray(pixels, "RGB"), overlay, self.prepared.box))

    def beside(
        self, index: int, latent: Tensor, pixels: NDArray[np.uint8], settings: Settings
    ) -> dict[str, Image.Image]:
        """The pictures that the settings add to picture `index`, by suffix; `pixels` as decoded."""
        if not settings.beside:
            return {}
        hole = self._hole(index, latent)
        layers = {MASK: hole.convert("RGB"), COMPOSITE: self._under(hole, pixels, settings.overlay_inpaint)}
        return {suffix: self._cut_layer(layers[suffix]) for suffix in settings.beside}

    def _hole(self, index: int, latent: Tensor) -> Image.Image:
        """The mask (L) used for pasting over picture `index`: where it is 0 the original shows."""
        return ImageOps.invert(self.overlay(index, latent).getchannel("A"))

    def _under(self, hole: Image.Image, pixels: NDArray[np.uint8], is_laid_over: bool) -> Image.Image:
        """RGBA of decoded `pixels` inside `hole`, transparent elsewhere."""
        tile = Image.fromarray(self._in_tone(pixels) if is_laid_over else pixels, "RGB").convert("RGBA")
        box = self.prepared.box
        painted = tile if box is None or not is_laid_over else masks.placed(tile, box, Size(*hole.size))
        return masks.shown_through(painted, resized(hole, RESIZE_AND_FILL, Size(*painted.size)))

    def _cut_layer(self, layer: Image.Image) -> Image.Image:
        size = self.prepared.cut
        return layer if size is None else layer.crop((0, 0, size.width, size.height))

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`pixels` without the part that was painted to fill whole cells."""
        size = self.prepared.cut
        return pixels if size is None else np.ascontiguousarray(pixels[: size.height, : size.width])

    def _in_tone(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        prepared, canvas = self.prepared, self.canvas
        original = np.asarray(prepared.image)
        if pixels.shape != original.shape:  # latent upscale: the original is at another position
            return pixels
        redrawn = np.asarray(prepared.mask) > 0
        if canvas.frame is not None and prepared.outside is not None:
            scale = 1.0 if prepared.box is None else prepared.image.width / prepared.box.size.width
            new = np.asarray(prepared.outside) > 0
            pixels = tone.feathered(pixels, original, new, ~redrawn, canvas.frame.feather * scale)
        return tone.matched(pixels, original, redrawn, canvas.color_match)

    def overlay(self, index: int, latent: Tensor) -> Image.Image:
        """The overlay for picture `index` of the batch, whose final latent is `latent` (C, h, w)."""
        prepared = self.prepared
        if self.softness is None:
            return prepared.overlay
        size = Size(*prepared.mask.size)
        mask = soft_inpainting.overlay_mask(
            self.original[index], latent, self.mask[0, 0], self.softness, size, self.canvas.is_exact
        )
        whole = Size(*prepared.whole.size)
        if prepared.outside is not None:  # nothing could show through
            mask = ImageChops.lighter(mask, prepared.outside)
        if prepared.box is not None:
            mask = masks.placed(mask, prepared.box, whole)
        mask = resized(mask, RESIZE_AND_FILL, whole)
        if not self.canvas.is_exact:
            mask = ImageChops.darker(mask, prepared.reach)
        return masks.with_hole(prepared.whole, mask)


def begin_inpainting(plan: Plan, canvas: Canvas, prepared: Prepared, latents: Tensor, settings: Settings) -> Inpainting:
    """The batch with encoded pictures `latents` (B, C, h, w) and the chosen masked content."""
    channels, height, width = latents.shape[1:]
    cells = Size(width, height)
    mask = cells_of(prepared.latent_mask, cells, canvas).to(latents.device)
    content = mask
    if prepared.outside is not None:
        content = cells_of(prepared.content, cells, canvas).to(latents.device)
        mask = torch.maximum(mask, cells_outside(prepared.outside, cells).to(latents.device))
    if canvas.content in (LATENT_NOISE, LATENT_NOTHING):
        latents = latents * (1 - content)
    if canvas.content == LATENT_NOISE:
        # As in A1111: the seeds of the first batch, without variations, in every batch.
        seeds = [image.seed for image in plan.batches[0]][: len(latents)]
        noise = ImageNoise(settings.randn_source, (channels, height, width), seeds, latents.device)
        latents = latents + noise.first() * content
    return Inpainting(prepared, latents, mask, canvas, plan.first.steps.steps)


def _softly(
    softness: Softness, schedule: NoiseModel | None, original: Tensor, current: Tensor, mask: Tensor, sigma: Tensor
) -> Tensor:
    # In the DDIM family A1111 passes the timestep where the formula has sigma.
    level = sigma[0] if schedule is None else schedule.sigma_to_t(sigma[0])
    return soft_inpainting.blended(original, current, mask, level, softness)
