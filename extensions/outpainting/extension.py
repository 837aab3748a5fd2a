"""A1111's two ways to extend a picture beyond its edges: Outpainting mk2, and Poor man's outpainting."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field, field_validator

from modules.base.errors import WebuiError
from modules.base.fields import Control
from modules.base.picture import Picture
from modules.extension.hooks import Ahead, Arguments, Course, Extension, Keep, Run, RunImage, Script, Studio, changed
from modules.images.geometry import Box, Size
from modules.images.grid import grid
from modules.images.quantize import to_bytes
from modules.images.tiles import combined, rows_of_tiles
from modules.infotext.grammar import FormKind
from modules.schema.request import MASKED_CONTENTS, Img2ImgRequest
from modules.schema.settings import EXACT

from .margins import DIRECTIONS, MULTIPLE, Margins, margins
from .noise import shaped

ORIGINAL = 1  # masked content

Directions = Annotated[
    tuple[Literal["left", "right", "up", "down"], ...],
    Field(description="The sides to extend the picture on."),
    Control("Outpainting direction", kind="checks", choices=DIRECTIONS),
]
Pixels = Annotated[
    int,
    Field(ge=8, le=256, description="How far to extend the picture on each side."),
    Control("Pixels to expand", kind="slider", step=8),
]
MaskBlur = Annotated[
    int,
    Field(ge=0, le=64, description="Width in pixels of the blend between new and old."),
    Control("Mask blur", kind="slider", step=1),
]


class _Outpainting(Script):
    kinds = ("img2img",)

    def check(self, kind: FormKind, request: Img2ImgRequest, arguments: Any, catalog: object) -> None:
        if not arguments.direction:
            raise WebuiError(
                "Outpainting direction: none is selected.", "Choose a side.",
                "script_args.direction",
            )  # fmt: skip


class Mk2Arguments(Arguments):
    info: Annotated[
        Any,
        Field(description="Unused: A1111 shows a hint here, and clients send arguments by position."),
        Control("Hint", kind="hidden"),
    ] = ""
    pixels: Pixels = 128
    mask_blur: MaskBlur = 8
    direction: Directions = DIRECTIONS
    noise_q: Annotated[
        float,
        Field(ge=0, le=4, description="Fall-off of the noise's spectrum: lower values give more detail."),
        Control("Fall-off exponent (lower=higher detail)", kind="slider", step=0.01),
    ] = 1.0
    color_variation: Annotated[
        float,
        Field(ge=0, le=1, description="From gray to colored noise."),
        Control("Color variation", kind="slider", step=0.01),
    ] = 0.05


class OutpaintingMk2(_Outpainting):
    name = "Outpainting mk2"
    description = (
        "Extends the picture side by side from noise shaped like it. Best with 80 steps, Euler a, strength 0.8."
    )

    def arguments(self, kind: FormKind) -> type[Arguments]:
        return Mk2Arguments

    def run(self, kind: FormKind, request: Img2ImgRequest, arguments: Mk2Arguments, studio: Studio) -> Course:
        self.check(kind, request, arguments, None)
        request = studio.seeded(request)
        source = request.init_images[0].rgb(studio.settings.img2img_background_color)
        sides = margins(Size(*source.size), arguments.pixels, arguments.direction)
        grown = [(side, pixels) for side, pixels in zip(DIRECTIONS, sides, strict=True) if pixels]
        yield Ahead(request.images, request.images * len(grown))
        blur = (
            arguments.mask_blur * 4 if sides.left or sides.right else 0,
            arguments.mask_blur * 4 if sides.up or sides.down else 0,
        )
        results: list[RunImage] = []
        is_exact = studio.settings.compatibility == EXACT
        for number in range(request.images):
            picture, first = source, None
            for side, pixels in grown:
                canvas = _Grown(picture, side, pixels, arguments, Size(request.width, request.height), is_exact)
                child = changed(
                    request,
                    {
                        "init_images": (Picture.from_image(canvas.picture.crop(canvas.box)),), "depth_map": None,
                        "mask": Picture.from_image(canvas.mask.crop(canvas.box)),
                        "latent_mask": Picture.from_image(canvas.latent_mask),
                        "mask_blur_x": blur[0], "mask_blur_y": blur[1], "inpainting_mask_invert": 0,
                        "width": canvas.box.size.width, "height": canvas.box.size.height, "resize_by": None,
                        "resize_mode": 0, "inpaint_full_res": 0, "inpainting_fill": ORIGINAL,
                        "seed": request.seed + number, "n_iter": 1, "batch_size": 1,
                    },
                )  # fmt: skip
                made = yield Run(child, is_kept=False)
                if not made:
                    first = None
                    break
                first = first or made[0]
                picture = canvas.finished(made[0].image)
            if first is not None:
                results.append(RunImage(picture, first.seed, first.infotext))
                yield Keep(picture, first.infotext, first.seed)
        if len(results) > 1:
            yield Keep(grid([made.image for made in results]), results[0].infotext, results[0].seed, "grid")


class _Grown:
    """A picture extended on one side: `picture` has noise on the new part, `mask` marks it, `box` is the part to
    paint."""

    def __init__(
        self, old: Image.Image, side: str, pixels: int, arguments: Mk2Arguments, process: Size, is_exact: bool
    ) -> None:
        self._side = side
        across = pixels if side in ("left", "right") else 0
        down = pixels if side in ("up", "down") else 0
        self._size = Size(old.width + across, old.height + down)
        whole = Size(*(-(-length // MULTIPLE) * MULTIPLE for length in self._size))
        canvas = Image.new("RGB", whole)
        canvas.paste(old, (pixels if side == "left" else 0, pixels if side == "up" else 0))
        self.mask = self._hole(whole, whole, pixels + arguments.mask_blur)
        noise = shaped(
            np.asarray(canvas) / 255.0, np.asarray(self.mask.convert("RGB")) / 255.0, arguments.noise_q,
            arguments.color_variation,
        )  # fmt: skip
        self.picture = Image.fromarray(to_bytes(noise * 255, is_exact), "RGB")
        part = Size(
            min(process.width, self._size.width) if across else whole.width,
            min(process.height, self._size.height) if down else whole.height,
        )
        left = 0 if side == "left" else whole.width - part.width
        top = 0 if side == "up" else whole.height - part.height
        self.box = Box(left, top, left + part.width, top + part.height)
        self.latent_mask = self._hole(part, part, pixels + arguments.mask_blur * 2)

    def finished(self, painted: Image.Image) -> Image.Image:
        """The extended picture with its painted part."""
        whole = self.picture.copy()
        left = 0 if self._side == "left" else whole.width - painted.width
        top = 0 if self._side == "up" else whole.height - painted.height
        whole.paste(painted, (left, top))
        width, height = self._size
        return whole.crop((0, 0, width, height))

    def _hole(self, size: Size, within: Size, margin: int) -> Image.Image:
        """Mode L: 255, except for the part more than `margin` pixels inside the extended edge."""
        mask = Image.new("L", size, 255)
        box = (
            margin if self._side == "left" else 0,
            margin if self._side == "up" else 0,
            within.width - margin if self._side == "right" else self._size.width,
            within.height - margin if self._side == "down" else self._size.height,
        )
        if box[0] <= box[2] and box[1] <= box[3]:
            ImageDraw.Draw(mask).rectangle(box, fill=0)
        return mask


class PoorMansArguments(Arguments):
    pixels: Pixels = 128
    mask_blur: MaskBlur = 4
    inpainting_fill: Annotated[
        int,
        Field(ge=0, le=3, description="What the new margins contain at the start."),
        Control("Masked content", kind="radio", choices=MASKED_CONTENTS),
    ] = 0
    direction: Directions = DIRECTIONS

    @field_validator("inpainting_fill", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return MASKED_CONTENTS.index(value) if value in MASKED_CONTENTS else value


class PoorMansOutpainting(_Outpainting):
    name = "Poor man's outpainting"
    description = "Extends the picture and paints the margins in tiles of Width × Height."

    def arguments(self, kind: FormKind) -> type[Arguments]:
        return PoorMansArguments

    def check(self, kind: FormKind, request: Img2ImgRequest, arguments: PoorMansArguments, catalog: object) -> None:
        super().check(kind, request, arguments, catalog)
        if min(request.width, request.height) <= arguments.pixels:
            raise WebuiError(
                f"Pixels to expand = {arguments.pixels}: the tiles are only {request.width}x{request.height}, so "
                "they would contain nothing of the source.",
                "Use fewer pixels, or larger tiles (Width and Height).",
                "script_args.pixels",
            )  # fmt: skip

    def run(self, kind: FormKind, request: Img2ImgRequest, arguments: PoorMansArguments, studio: Studio) -> Course:
        self.check(kind, request, arguments, None)
        request = studio.seeded(request)
        source = request.init_images[0].rgb(studio.settings.img2img_background_color)
        sides = margins(Size(*source.size), arguments.pixels, arguments.direction)
        size = Size(source.width + sides.left + sides.right, source.height + sides.up + sides.down)
        size = Size(*(-(-length // MULTIPLE) * MULTIPLE for length in size))
        canvas = Image.new("RGB", size)
        canvas.paste(source, (sides.left, sides.up))
        mask = _frame(size, sides, arguments.mask_blur * 2)
        latent_mask = _frame(size, sides, arguments.mask_blur // 2)
        tile = Size(request.width // 8 * 8, request.height // 8 * 8)
        rows = rows_of_tiles(size, tile, arguments.pixels)
        boxes = [box for row in rows for box in row]
        work = [place for place, box in enumerate(boxes) if not _inside(box, size, sides)]
        yield Ahead(1, len(work))
        tiles = [canvas.crop(box) for box in boxes]
        first = None
        for place in work:
            child = changed(
                request,
                {
                    "init_images": (Picture.from_image(tiles[place]),), "depth_map": None,
                    "mask": Picture.from_image(mask.crop(boxes[place])),
                    "latent_mask": Picture.from_image(latent_mask.crop(boxes[place])),
                    "mask_blur": arguments.mask_blur * 2, "mask_blur_x": None, "mask_blur_y": None,
                    "inpainting_fill": arguments.inpainting_fill, "inpaint_full_res": 0, "inpainting_mask_invert": 0,
                    "width": tile.width, "height": tile.height, "resize_by": None, "resize_mode": 0,
                    "n_iter": 1, "batch_size": 1, "seed": request.seed + work.index(place),
                },
            )  # fmt: skip
            made = yield Run(child, is_kept=False)
            if made:
                first = first or made[0]
                tiles[place] = made[0].image
        if first is not None:
            yield Keep(combined(size, rows, tiles, arguments.pixels), first.infotext, first.seed)


class OutpaintingExtension(Extension):
    def scripts(self) -> Sequence[Script]:
        return (OutpaintingMk2(), PoorMansOutpainting())


def _frame(size: Size, sides: Margins, inwards: int) -> Image.Image:
    """Mode L: 255 on the margins and `inwards` pixels into the old picture, 0 on the rest of it."""
    mask = Image.new("L", size, 255)
    box = (
        sides.left + (inwards if sides.left else 0),
        sides.up + (inwards if sides.up else 0),
        size.width - sides.right - (inwards if sides.right else 0),
        size.height - sides.down - (inwards if sides.down else 0),
    )
    if box[0] <= box[2] and box[1] <= box[3]:
        ImageDraw.Draw(mask).rectangle(box, fill=0)
    return mask


def _inside(box: Box, size: Size, sides: Margins) -> bool:
    """Whether a tile is entirely inside the old picture."""
    return (
        box.left >= sides.left
        and box.right <= size.width - sides.right
        and box.top >= sides.up
        and box.bottom <= size.height - sides.down
    )
