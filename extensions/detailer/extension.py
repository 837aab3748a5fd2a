"""Detailer: redraws each face, or other region, of a picture at the checkpoint's native size and pastes it back."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from PIL import Image
from pydantic import Field

from modules.base.errors import WebuiError
from modules.base.fields import Control
from modules.base.picture import Picture
from modules.extension.hooks import (
    Ahead,
    Arguments,
    Course,
    Extension,
    Keep,
    Run,
    RunImage,
    Script,
    Studio,
    changed,
    with_pairs,
)
from modules.images import regions
from modules.images.detect import DETECTOR_NAMES, DETECTORS, detect
from modules.images.geometry import Box, Size
from modules.images.masks import drawn
from modules.images.regions import Region
from modules.infotext.grammar import FormKind
from modules.schema.catalog import Catalog
from modules.schema.request import GenerationRequest, Img2ImgRequest

BOXES = "script_args.boxes"
MULTIPLE = 64  # pixels: the sides of a redrawn region are multiples of this
PLAIN: Mapping[str, Any] = {
    "latent_mask": None, "mask_blur_x": None, "mask_blur_y": None, "inpainting_mask_invert": 0, "inpainting_fill": 1,
    "inpaint_full_res": 1, "mask_strength_by_grey": False, "soft_inpainting": False,
    "outpaint_left": 0, "outpaint_right": 0, "outpaint_top": 0, "outpaint_bottom": 0,
    "resize_by": None, "resize_mode": 0, "n_iter": 1, "batch_size": 1,
}  # fmt: skip


class DetailerArguments(Arguments):
    find: Annotated[
        str,
        Field(max_length=40, description="What to look for, if there are neither boxes nor a mask."),
        Control("Find", kind="dropdown", choices=DETECTOR_NAMES),
    ] = DETECTOR_NAMES[0]
    strength: Annotated[
        float,
        Field(ge=0, le=1, description="Denoising strength of the regions; 0.3 to 0.5 keeps a face's likeness."),
        Control("Strength", kind="slider", step=0.01),
    ] = 0.4
    padding: Annotated[
        int,
        Field(ge=0, le=512, description="How many pixels around a region the model sees."),
        Control("Padding", kind="slider", step=4, maximum=256),
    ] = 32
    mask_blur: Annotated[
        int,
        Field(ge=0, le=64, description="Width in pixels of the soft edge, which lies inside of a box."),
        Control("Mask blur of regions", kind="slider", step=1),
    ] = 8
    boxes: Annotated[
        str,
        Field(max_length=4000, description="left, top, right, bottom in pixels, one box a line; empty: look for them."),
        Control("Boxes (empty: find them)", kind="textbox", lines=2, placeholder="120, 80, 220, 180"),
    ] = ""
    prompt: Annotated[
        str,
        Field(max_length=10_000, description="Prompt for the regions; empty uses the form's."),
        Control("Prompt of regions (empty: the form's)", kind="textbox", lines=2),
    ] = ""
    redraw_first: Annotated[
        bool,
        Field(description="img2img: redraw the whole source first, then the regions of the result."),
        Control("Redraw the whole picture first", kind="checkbox"),
    ] = False


class Txt2ImgDetailerArguments(DetailerArguments):
    redraw_first: Annotated[
        bool, Field(description="img2img only."), Control("Redraw the whole picture first", kind="hidden")
    ] = False


class Detailer(Script):
    name = "Detailer"
    description = "Redraws each face, box or masked region at the checkpoint's own size. All other pixels stay."

    def arguments(self, kind: FormKind) -> type[Arguments]:
        return DetailerArguments if kind == "img2img" else Txt2ImgDetailerArguments

    def check(self, kind: FormKind, request: GenerationRequest, arguments: DetailerArguments, catalog: Catalog) -> None:
        if arguments.find not in DETECTOR_NAMES:
            raise WebuiError(
                f"Find = {arguments.find!r}: expected one of {', '.join(DETECTOR_NAMES)}.", field="script_args.find"
            )
        boxes = regions.parsed(arguments.boxes, BOXES)
        if isinstance(request, Img2ImgRequest):
            source = request.init_images[0]
            for box in boxes:
                regions.clipped(box, Size(source.width, source.height), BOXES)

    def run(self, kind: FormKind, request: Any, arguments: DetailerArguments, studio: Studio) -> Course:
        request = studio.seeded(request)
        if isinstance(request, Img2ImgRequest) and not arguments.redraw_first:
            yield from self._of_source(request, arguments, studio)
            return
        yield Ahead(request.images, request.n_iter + request.images)
        for number in range(request.n_iter):
            whole = changed(
                request,
                {
                    "n_iter": 1, "seed": request.seed + number * request.batch_size,
                    "subseed": request.subseed + number * request.batch_size,
                },
            )  # fmt: skip
            for made in (yield Run(whole, is_kept=False)):
                found = _regions(made.image, request, arguments)
                if not found:
                    studio.warn(f"Detailer: no {arguments.find.lower()} were found in the picture of seed {made.seed}.")
                yield from self._detailed(made, found, request, arguments, studio)

    def _of_source(self, request: Img2ImgRequest, arguments: DetailerArguments, studio: Studio) -> Course:
        source = request.init_images[0].rgb(studio.settings.img2img_background_color)
        found = _regions(source, request, arguments)
        if not found:
            raise WebuiError(
                f"Detailer: no {arguments.find.lower()} were found in the source.",
                "Draw a mask, or set boxes.",
                BOXES,
            )  # fmt: skip
        yield Ahead(request.images, request.images * len(found))
        for number in range(request.images):
            seed = request.seed + number
            yield from self._detailed(RunImage(source, seed, ""), found, request, arguments, studio)

    def _detailed(
        self,
        made: RunImage,
        found: Sequence[Region],
        request: GenerationRequest,
        arguments: DetailerArguments,
        studio: Studio,
    ) -> Course:
        """Redraws the regions one after another, each in the result of the one before, and saves the picture."""
        image, text = made.image, made.infotext
        pairs = _pairs(arguments, found) if found else {}
        done = 0
        for region in found:
            results = yield Run(_child(image, region, request, arguments, studio, made.seed), is_kept=False)
            if results:
                done += 1
                image, text = results[0].image, text or results[0].infotext
        if text:
            yield Keep(image, with_pairs(text, pairs if done else {}), made.seed)


def _regions(image: Image.Image, request: GenerationRequest, arguments: DetailerArguments) -> list[Region]:
    """The given boxes, else the parts of the mask, else the detected regions."""
    size, blur = Size(*image.size), arguments.mask_blur
    given = regions.parsed(arguments.boxes, BOXES)
    if given:
        boxes = [regions.clipped(_moved(box, request, size), size, BOXES) for box in given]
        return [regions.of_box(box, size, blur) for box in boxes]
    if isinstance(request, Img2ImgRequest) and request.mask is not None:
        mask = drawn(request.mask.open(), rounded=True).resize(size, Image.Resampling.NEAREST)
        return regions.of_mask(mask, blur)
    detector = DETECTORS[DETECTOR_NAMES.index(arguments.find)]
    return [regions.of_box(each.box, size, blur) for each in detect(image, detector)]


def _moved(box: Box, request: GenerationRequest, size: Size) -> Box:
    """A box of the source, mapped to a picture of `size` that the source was redrawn as."""
    if not isinstance(request, Img2ImgRequest):
        return box
    source = request.init_images[0]
    across, down = size.width / source.width, size.height / source.height
    return Box(round(box.left * across), round(box.top * down), round(box.right * across), round(box.bottom * down))


def _child(
    image: Image.Image,
    region: Region,
    request: GenerationRequest,
    arguments: DetailerArguments,
    studio: Studio,
    seed: int,
) -> Img2ImgRequest:
    size = _native(region, arguments.padding, studio.native)
    of_both = {
        name: getattr(request, name)
        for name in Img2ImgRequest.model_fields
        if name in type(request).model_fields and name not in ("script_name", "script_args")
    }
    values: dict[str, Any] = {
        **of_both, **PLAIN,
        "prompt": arguments.prompt or request.prompt,
        "init_images": (Picture.from_image(image),), "mask": Picture.from_image(region.mask),
        "mask_blur": region.blur, "inpaint_full_res_padding": arguments.padding,
        "denoising_strength": arguments.strength, "width": size.width, "height": size.height, "seed": seed,
    }  # fmt: skip
    return Img2ImgRequest.parse(values)


def _native(region: Region, padding: int, native: int) -> Size:
    """A size with the region's proportions and about the area of the checkpoint's training pictures.

    >>> _native(Region(Box(0, 0, 100, 200), Image.new("L", (1, 1)), 0), 0, 512)
    Size(width=384, height=704)
    """
    width, height = (length + 2 * padding for length in region.box.size)
    across = native * math.sqrt(width / height)
    sides = (max(1, round(length / MULTIPLE)) * MULTIPLE for length in (across, native * native / across))
    return Size(*(min(side, 2 * native) for side in sides))


def _pairs(arguments: DetailerArguments, found: Sequence[Region]) -> dict[str, object]:
    pairs: dict[str, object] = {
        "Detailer": arguments.find,
        "Detailer strength": arguments.strength,
        "Detailer padding": arguments.padding,
        "Detailer mask blur": arguments.mask_blur,
        "Detailer boxes": "; ".join(", ".join(map(str, region.box)) for region in found),
    }
    if arguments.prompt:
        pairs["Detailer prompt"] = arguments.prompt
    return pairs


class DetailerExtension(Extension):
    def scripts(self) -> Sequence[Script]:
        return (Detailer(),)
