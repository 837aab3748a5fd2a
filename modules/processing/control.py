"""The control units of a job: which ControlNets act in a pass and in which steps, and the maps that they see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.images.fit_map import fitted_map, pixel_perfect
from modules.images.geometry import Size
from modules.images.preprocessors import USUAL_RESOLUTION, Pixels, preprocessor
from modules.images.resize import JUST_RESIZE, resized
from modules.infotext.control import KEYS, PICTURES, SOURCE, unit_text
from modules.networks.control.cache import ControlNetCache
from modules.networks.control.network import Control, ControlNet, layer_weights
from modules.networks.model import Model
from modules.processing.clock import Stopwatch
from modules.processing.control_maps import MapCache, MapKey
from modules.processing.masked.prepare import Prepared
from modules.processing.plan import Plan
from modules.schema.control import BALANCED, CONTROL, FIRST, SECOND, ControlUnit
from modules.schema.request import GenerationRequest
from modules.schema.resources import Resources

NO_SLIDER: Final = 0.5  # what the extension writes for a number that the preprocessor does not have
HALF: Final = 127  # a mask's value up to which a pixel is not masked
SMALLEST: Final = 64  # pixels; a resolution below stands for the usual one
SOFT_IN_THE_SECOND_PASS: Final = ("canny", "mlsd")  # preprocessors of hard lines, which spoil what hires. fix adds


@dataclass
class StepCount:
    """Steps that the pass at hand has finished, of `total`."""

    total: int = 1
    done: int = 0

    def is_within(self, unit: ControlUnit) -> bool:
        """Whether a unit acts in the step to come.

        A1111 counts a step when its callback comes, so the first two steps are both at 0.
        """
        share = max(0, self.done - 1) / self.total
        return unit.guidance_start <= share <= unit.guidance_end


@dataclass(frozen=True)
class JobControl:
    """The units of one job.

    maps: those of earlier passes and jobs.  prepared: the pictures of an inpainting job, whose crop the units' pictures
    get too.
    """

    request: GenerationRequest
    plan: Plan
    resources: Resources
    background: str
    nets: ControlNetCache
    maps: MapCache = field(default_factory=MapCache)
    prepared: Prepared | None = None
    steps: StepCount = field(default_factory=StepCount)

    def of_pass(self, index: int, size: Size, steps: int, model: Model, clock: Stopwatch) -> tuple[Control, ...]:
        """What acts in a pass of so many steps. Raises WebuiError for a ControlNet that cannot be used."""
        left_out = FIRST if index == 1 else SECOND
        has_two = self.plan.hires is not None
        units = [
            (unit, each.path)
            for unit, each in zip(self.request.controlnet, self.resources.control_models, strict=True)
            if not (has_two and unit.hr_option == left_out)
        ]
        self.steps.total, self.steps.done = max(1, steps), 0
        if not units:
            return ()
        with clock.stage("control"):
            nets = self.nets.take([path for _, path in units], model)
            return tuple(self._control(unit, net, size, index) for (unit, _), net in zip(units, nets, strict=True))

    def _control(self, unit: ControlUnit, net: ControlNet, size: Size, index: int) -> Control:
        is_soft = unit.control_mode != BALANCED or (index == 1 and unit.module in SOFT_IN_THE_SECOND_PASS)
        count = len(net.network.controlnet_down_blocks) + 1
        return Control(
            net,
            net.embedded(self._hint(unit, size)),
            layer_weights(count, unit.weight, is_soft),
            lambda: self.steps.is_within(unit),
            unit.control_mode == CONTROL,
        )

    def map(self, unit: ControlUnit, size: Size) -> Pixels:
        """What a unit's ControlNet sees in a pass of `size`, (height, width, 3)."""
        picture = self._picture(unit)
        resolution = _resolution(unit)
        if unit.pixel_perfect:
            resolution = pixel_perfect(Size(*picture.size), size, unit.resize_mode)
        pixels = np.array(picture)
        numbers = (resolution, unit.threshold_a, unit.threshold_b)

        def drawn() -> Pixels:
            return fitted_map(preprocessor(unit.module).drawn(pixels, *numbers), size, unit.resize_mode)

        digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
        return self.maps.taken(
            MapKey(digest, (unit.module, *numbers), (size.width, size.height, unit.resize_mode)), drawn
        )

    def _hint(self, unit: ControlUnit, size: Size) -> Tensor:
        """A unit's map as its ControlNet takes it; -1 in the masked part, if the preprocessor says so."""
        shown = hint(self.map(unit, size))
        if self.prepared is not None and preprocessor(unit.module).hides_mask:
            is_masked = np.array(resized(self.prepared.mask, JUST_RESIZE, size)) > HALF
            shown[:, :, torch.from_numpy(is_masked)] = -1
        return shown

    def _picture(self, unit: ControlUnit) -> Image.Image:
        """A unit's picture, RGB; of an inpainting job that works on a region, that region of it."""
        box = None if self.prepared is None else self.prepared.box
        if unit.image is None:
            if self.prepared is not None:
                return self.prepared.whole if box is None else self.prepared.whole.crop(box)
            assert self.plan.source is not None
            return self.plan.source.picture.rgb(self.background)
        own = self.request.control_images[unit.image].rgb(self.background)
        if self.prepared is None or box is None:
            return own
        whole = Size(*self.prepared.whole.size)
        return (own if Size(*own.size) == whole else resized(own, JUST_RESIZE, whole)).crop(box)


def hint(pixels: Pixels) -> Tensor:
    """A map (H, W, 3) as a ControlNet takes it, (1, 3, H, W) in 0 … 1."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].to(torch.float32) / 255


def described(request: GenerationRequest, is_exact: bool) -> dict[str, str]:
    """What an infotext says of units: a pair each, and the hashes of their pictures unless it is to be A1111's."""
    pairs = dict(zip(KEYS, map(_text, request.controlnet), strict=False))
    if pairs and not is_exact:
        images = (unit.image for unit in request.controlnet)
        pairs[PICTURES] = ", ".join(SOURCE if at is None else request.control_images[at].sha256 for at in images)
    return pairs


def _text(unit: ControlUnit) -> str:
    row = preprocessor(unit.module)
    given = (unit.threshold_a, unit.threshold_b)
    numbers = [slider.taken(number) for slider, number in zip(row.sliders, given, strict=False)]
    first, second = [*map(float, numbers), NO_SLIDER, NO_SLIDER][:2]
    return unit_text(unit, _resolution(unit), first, second)


def _resolution(unit: ControlUnit) -> int:
    return unit.processor_res if unit.processor_res >= SMALLEST else USUAL_RESOLUTION
