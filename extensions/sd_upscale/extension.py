"""SD upscale: enlarges the source, redraws it tile by tile, and blends the tiles where they overlap."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from modules.base.errors import WebuiError
from modules.base.fields import Control
from modules.base.picture import Picture
from modules.extension.hooks import Ahead, Arguments, Course, Extension, Keep, Run, Script, Studio, changed
from modules.images.geometry import Size
from modules.images.tiles import combined, rows_of_tiles
from modules.infotext.grammar import FormKind
from modules.schema.catalog import Catalog
from modules.schema.request import Img2ImgRequest
from modules.schema.upscalers import UPSCALERS, named, names_of, of_pictures

BUILT_IN = names_of(of_pictures(UPSCALERS))  # A1111 refers to them by number
MOST_PIXELS = 100_000_000  # in the result


class UpscaleArguments(Arguments):
    info: Annotated[
        Any,
        Field(description="Unused: A1111 shows an explanation here, and clients send arguments by position."),
        Control("Explanation", kind="hidden"),
    ] = ""
    overlap: Annotated[
        int,
        Field(ge=0, le=256, description="Minimum overlap of the tiles, in pixels."),
        Control("Tile overlap", kind="slider", step=16),
    ] = 64
    upscaler_index: Annotated[
        str,
        Field(max_length=200, description="How to enlarge the source before it is redrawn."),
        Control("Upscaler", kind="radio", choices="upscalers"),
    ] = "None"
    scale_factor: Annotated[
        float,
        Field(ge=1, le=4, description="Upscaling factor."),
        Control("Scale Factor", kind="slider", step=0.05),
    ] = 2.0

    @field_validator("upscaler_index", mode="before")
    @classmethod
    def _by_number(cls, value: Any) -> Any:
        is_place = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(BUILT_IN)
        return BUILT_IN[value] if is_place else value


class SDUpscale(Script):
    name = "SD upscale"
    description = "Enlarges the source and redraws it in tiles of Width × Height. Use a low denoising strength."
    kinds = ("img2img",)

    def arguments(self, kind: FormKind) -> type[Arguments]:
        return UpscaleArguments

    def check(self, kind: FormKind, request: Img2ImgRequest, arguments: UpscaleArguments, catalog: Catalog) -> None:
        named(arguments.upscaler_index, of_pictures(catalog.upscalers), "script_args.upscaler_index")
        self._check_sizes(request, arguments)

    def _check_sizes(self, request: Img2ImgRequest, arguments: UpscaleArguments) -> None:
        if min(request.width, request.height) <= arguments.overlap:
            raise WebuiError(
                f"Tile overlap = {arguments.overlap}: the tiles are only {request.width}x{request.height}.",
                "Use a smaller overlap or larger tiles (Width and Height).",
                "script_args.overlap",
            )  # fmt: skip
        picture = request.init_images[0]
        pixels = picture.width * picture.height * arguments.scale_factor**2
        if pixels > MOST_PIXELS:
            raise WebuiError(
                f"Scale Factor = {arguments.scale_factor:g}: the result would have {pixels / 1e6:.0f} megapixels, "
                f"at most {MOST_PIXELS // 1_000_000} are made.",
                "Use a smaller factor.",
                "script_args.scale_factor",
            )  # fmt: skip

    def run(self, kind: FormKind, request: Img2ImgRequest, arguments: UpscaleArguments, studio: Studio) -> Course:
        self._check_sizes(request, arguments)
        request = studio.seeded(request)
        row = studio.upscaler(arguments.upscaler_index, "script_args.upscaler_index")
        source = request.init_images[0].rgb(studio.settings.img2img_background_color)
        source = studio.enlarged(source, arguments.scale_factor, row.name)
        size, tile = Size(*source.size), Size(request.width // 8 * 8, request.height // 8 * 8)
        rows = rows_of_tiles(size, tile, arguments.overlap)
        boxes = [box for row in rows for box in row]
        yield Ahead(request.n_iter, len(boxes) * request.n_iter)
        pairs = {"SD upscale overlap": arguments.overlap, "SD upscale upscaler": row.name}
        for number in range(request.n_iter):
            tiles = [source.crop(box) for box in boxes]
            text = ""
            for place, box in enumerate(boxes):
                child = changed(
                    request,
                    {
                        "init_images": (Picture.from_image(source.crop(box)),),
                        "mask": None, "latent_mask": None, "depth_map": None, "resize_by": None, "resize_mode": 0,
                        "width": tile.width, "height": tile.height, "n_iter": 1, "batch_size": 1,
                        "seed": request.seed + number + seed_offset(place, request.batch_size),
                    },
                )  # fmt: skip
                made = yield Run(child, pairs, is_kept=False)
                if made:
                    tiles[place], text = made[0].image, text or made[0].infotext
            if text:
                yield Keep(combined(size, rows, tiles, arguments.overlap), text, request.seed + number)


def seed_offset(place: int, batch_size: int) -> int:
    """The seed of tile number `place`, minus the seed of the first tile.

    Within a batch, each tile's seed is one more than that of the tile before. As in A1111, each batch starts one above
    the first tile of the batch before.

    >>> [seed_offset(place, 1) for place in range(4)], [seed_offset(place, 2) for place in range(6)]
    ([0, 1, 2, 3], [0, 1, 1, 2, 2, 3])
    """
    return place // batch_size + place % batch_size


class SDUpscaleExtension(Extension):
    def scripts(self) -> Sequence[Script]:
        return (SDUpscale(),)
