"""Ultimate SD upscale: enlarges the source and redraws it tile by tile; each tile sees its finished neighbors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from PIL import Image
from pydantic import Field, field_validator

from modules.base.errors import WebuiError
from modules.base.fields import Control
from modules.base.picture import Picture
from modules.extension.hooks import Ahead, Arguments, Course, Extension, Keep, Run, Scene, Script, Studio, changed
from modules.images.geometry import Size
from modules.infotext.grammar import FormKind
from modules.schema.catalog import Catalog
from modules.schema.request import Img2ImgRequest
from modules.schema.upscalers import UPSCALERS, named, names_of, of_pictures

from .noise import noise_at
from .tiles import Tile, bands, grid, half_tiles

BUILT_IN = names_of(of_pictures(UPSCALERS))
SMALLEST = 64  # pixels a side: the smallest tile
MOST_PIXELS = 100_000_000  # in the result
PLAIN: Mapping[str, Any] = {
    "latent_mask": None, "mask_blur_x": None, "mask_blur_y": None, "inpainting_mask_invert": 0, "inpainting_fill": 1,
    "inpaint_full_res": 0, "inpaint_color_match": 0.0, "mask_strength_by_grey": False, "soft_inpainting": False,
    "outpaint_left": 0, "outpaint_right": 0, "outpaint_top": 0, "outpaint_bottom": 0,
    "resize_by": None, "resize_mode": 0, "n_iter": 1, "batch_size": 1, "subseed_strength": 0.0,
}  # fmt: skip
"""Fields reset for each tile: the form's mask and sizes do not apply to tiles."""
ORDERS = ("Linear", "Chess", "None")
SEAM_FIXES = ("None", "Band pass", "Half tile offset pass", "Half tile offset pass + intersections")
TARGETS = ("From img2img settings", "Custom size", "Scale from image size")


class RedrawArguments(Arguments):
    info: Annotated[
        Any,
        Field(
            description="Unused: A1111's extension shows an explanation here, and clients send arguments by position."
        ),
        Control("Explanation", kind="hidden"),
    ] = ""
    tile_width: Annotated[
        int,
        Field(ge=SMALLEST, le=2048, description="Width of a tile in pixels."),
        Control("Tile width", kind="slider", step=64),
    ] = 512
    tile_height: Annotated[
        int,
        Field(ge=0, le=2048, description="Height of a tile in pixels; 0 is the tile's width."),
        Control("Tile height (0: as its width)", kind="slider", step=64),
    ] = 0
    mask_blur: Annotated[
        int,
        Field(ge=0, le=64, description="Width in pixels of the blend between neighboring tiles."),
        Control("Mask blur of tiles", kind="slider", step=1),
    ] = 8
    padding: Annotated[
        int,
        Field(ge=0, le=512, description="How many pixels around a tile the model sees."),
        Control("Padding", kind="slider", step=16),
    ] = 32
    seams_fix_width: Annotated[
        int,
        Field(ge=8, le=128, description="Width in pixels of the bands."),
        Control("Seams fix: width of bands", kind="slider", step=8),
    ] = 64
    seams_fix_denoise: Annotated[
        float,
        Field(ge=0, le=1, description="Denoising strength along the seams."),
        Control("Seams fix: denoising strength", kind="slider", step=0.01),
    ] = 0.35
    seams_fix_padding: Annotated[
        int,
        Field(ge=0, le=128, description="How many pixels around a repair the model sees."),
        Control("Seams fix: padding", kind="slider", step=16),
    ] = 32
    upscaler_index: Annotated[
        str,
        Field(max_length=200, description="How to enlarge the source before it is redrawn."),
        Control("Upscaler", kind="dropdown", choices="upscalers"),
    ] = "None"
    save_upscaled_image: Annotated[
        bool,
        Field(description="Save the picture as it is before the seams are redrawn."),
        Control("Save the picture without seams fix", kind="checkbox"),
    ] = False
    redraw_mode: Annotated[
        int,
        Field(
            ge=0, le=2, description="Order of the tiles: row by row, or like the fields of a chess board; or no redraw."
        ),
        Control("Order", kind="radio", choices=ORDERS),
    ] = 0
    save_seams_fix_image: Annotated[
        bool,
        Field(description="Save the picture with its seams redrawn."),
        Control("Save the picture with seams fix", kind="hidden"),
    ] = True
    seams_fix_mask_blur: Annotated[
        int,
        Field(ge=0, le=64, description="Mask blur of the repairs, in pixels."),
        Control("Seams fix: mask blur", kind="slider", step=1),
    ] = 4
    seams_fix_type: Annotated[
        int,
        Field(ge=0, le=3, description="How to redraw the seams once more."),
        Control("Seams fix", kind="dropdown", choices=SEAM_FIXES),
    ] = 0
    target_size_type: Annotated[
        int,
        Field(ge=0, le=2, description="What says how large the result is."),
        Control("Target size", kind="dropdown", choices=TARGETS),
    ] = 2
    custom_width: Annotated[
        int,
        Field(
            ge=64,
            le=16384,
            description="The custom size's width in pixels; the picture keeps its proportions and fits into it.",
        ),
        Control("Custom width", kind="slider", step=64, maximum=8192),
    ] = 2048
    custom_height: Annotated[
        int,
        Field(ge=64, le=16384, description="The custom size's height in pixels."),
        Control("Custom height", kind="slider", step=64, maximum=8192),
    ] = 2048
    custom_scale: Annotated[
        float,
        Field(ge=1, le=16, description="How many times larger than the source."),
        Control("Scale", kind="slider", step=0.05, maximum=8),
    ] = 2.0

    @field_validator("upscaler_index", mode="before")
    @classmethod
    def _upscaler_by_number(cls, value: Any) -> Any:
        is_place = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(BUILT_IN)
        return BUILT_IN[value] if is_place else value

    @field_validator("redraw_mode", "seams_fix_type", "target_size_type", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        for names in (ORDERS, SEAM_FIXES, TARGETS):
            if value in names:
                return names.index(value)
        return value

    @property
    def tile(self) -> Size:
        return Size(self.tile_width, self.tile_height or self.tile_width)


class UltimateUpscale(Script):
    name = "Ultimate SD upscale"
    description = (
        "Enlarges the source and redraws it tile by tile; each tile sees its neighbors. "
        "Use a denoising strength of 0.2 to 0.35."
    )
    kinds = ("img2img",)

    def arguments(self, kind: FormKind) -> type[Arguments]:
        return RedrawArguments

    def check(self, kind: FormKind, request: Img2ImgRequest, arguments: RedrawArguments, catalog: Catalog) -> None:
        named(arguments.upscaler_index, of_pictures(catalog.upscalers), "script_args.upscaler_index")
        self._check(request, arguments)

    def _check(self, request: Img2ImgRequest, arguments: RedrawArguments) -> None:
        if ORDERS[arguments.redraw_mode] == "None" and SEAM_FIXES[arguments.seams_fix_type] == "None":
            raise WebuiError(
                "Order: None and Seams fix: None would redraw nothing.",
                "Choose an order, or a seams fix.",
                "script_args.redraw_mode",
            )  # fmt: skip
        if arguments.tile_height and arguments.tile_height < SMALLEST:
            raise WebuiError(
                f"Tile height = {arguments.tile_height}: expected 0, or {SMALLEST} to 2048.",
                "Use 0 for square tiles.",
                "script_args.tile_height",
            )  # fmt: skip
        source = Size(request.init_images[0].width, request.init_images[0].height)
        scale = _scale(source, request, arguments)
        if min(source) * scale < SMALLEST:
            raise WebuiError(
                f"Scale = {scale:g}: the result would be {source.width * scale:.0f}x{source.height * scale:.0f} "
                f"pixels, at least {SMALLEST}x{SMALLEST} are needed.",
                "Use a larger scale or target size.",
                "script_args.custom_scale",
            )  # fmt: skip
        pixels = source.width * source.height * scale**2
        if pixels > MOST_PIXELS:
            raise WebuiError(
                f"Scale = {scale:g}: the result would have {pixels / 1e6:.0f} megapixels, "
                f"at most {MOST_PIXELS // 1_000_000} are made.",
                "Use a smaller scale or target size.",
                "script_args.custom_scale",
            )  # fmt: skip

    def run(self, kind: FormKind, request: Img2ImgRequest, arguments: RedrawArguments, studio: Studio) -> Course:
        self._check(request, arguments)
        request = studio.seeded(request)
        row = studio.upscaler(arguments.upscaler_index, "script_args.upscaler_index")
        source = request.init_images[0].rgb(studio.settings.img2img_background_color)
        # "None" means no network, but still enlarges: as in A1111's extension, Lanczos is used.
        upscaler = "Lanczos" if row.name == "None" else row.name
        source = studio.enlarged(source, _scale(Size(*source.size), request, arguments), upscaler)
        tiles, repairs = _tiles(Size(*source.size), arguments), list(_repairs(Size(*source.size), arguments))
        if request.subseed_strength:
            studio.warn("Variation strength has no effect on Ultimate SD upscale, whose tiles share one noise map.")
        yield Ahead(request.images, (len(tiles) + len(repairs)) * request.images)
        pairs = _pairs(arguments, row.name)
        for number in range(request.images):
            seed = request.seed + number
            picture = _Redrawn(source, request, seed, pairs, _noise_multiplier(request, studio))
            yield from picture.redraw(tiles, request.denoising_strength, arguments.mask_blur)
            if repairs and picture.infotext and arguments.save_upscaled_image:
                yield Keep(picture.image.copy(), picture.infotext, seed)
            yield from picture.redraw(repairs, arguments.seams_fix_denoise, arguments.seams_fix_mask_blur)
            if picture.infotext:
                yield Keep(picture.image, picture.infotext, seed)


class _Redrawn:
    """A picture in progress: the `image` so far, and the `infotext` of its first tile ("" before that is redrawn)."""

    def __init__(
        self,
        source: Image.Image,
        request: Img2ImgRequest,
        seed: int,
        pairs: Mapping[str, object],
        noise_multiplier: float,
    ) -> None:
        self.image = source.copy()
        self.infotext = ""
        self._request = request
        self._seed = seed
        self._pairs = pairs
        self._noise_multiplier = noise_multiplier

    def redraw(self, tiles: Sequence[Tile], strength: float, mask_blur: int) -> Course:
        """Redraws each tile, starting from the result of the tiles before it. A skipped tile stays as it was."""
        for tile in tiles:
            child = changed(
                self._request,
                {
                    "init_images": (Picture.from_image(self.image.crop(tile.region)),),
                    **PLAIN,
                    "mask": Picture.from_image(tile.mask()), "mask_blur": mask_blur, "denoising_strength": strength,
                    "width": tile.region.size.width, "height": tile.region.size.height,
                    "seed": self._seed,
                },
            )  # fmt: skip
            made = yield Run(child, self._pairs, is_kept=False, noise=self._noise_of(tile))
            if made:
                self.image.paste(made[0].image, (tile.region.left, tile.region.top))
                self.infotext = self.infotext or made[0].infotext

    def _noise_of(self, tile: Tile) -> Callable[[Scene], Any]:
        return partial(_cut_noise, self._seed, tile, self._noise_multiplier)


def _noise_multiplier(request: Img2ImgRequest, studio: Studio) -> float:
    own = request.initial_noise_multiplier
    return studio.settings.initial_noise_multiplier if own is None else own


def _cut_noise(seed: int, tile: Tile, multiplier: float, scene: Scene) -> Any:
    """The part of the noise map under `tile`, (B, C, h, w) like the scene's own noise."""
    drawn = scene.noise
    _, channels, height, width = (int(length) for length in drawn.shape)
    cell = tile.region.size.width // width
    cut = noise_at(seed, channels, tile.region.left // cell, tile.region.top // cell, width, height)
    return drawn.new_tensor(cut)[None].expand_as(drawn) * multiplier


def _scale(source: Size, request: Img2ImgRequest, arguments: RedrawArguments) -> float:
    """The scale factor from source to result; the proportions are kept."""
    target = TARGETS[arguments.target_size_type]
    if target == "Scale from image size":
        return arguments.custom_scale
    width, height = request.width, request.height
    if target == "Custom size":
        width, height = arguments.custom_width, arguments.custom_height
    # Slightly more, or rounding down could make the result a pixel too small.
    return min(width / source.width, height / source.height) * (1 + 1e-9)


def _tiles(picture: Size, arguments: RedrawArguments) -> list[Tile]:
    match ORDERS[arguments.redraw_mode]:
        case "Linear":
            return grid(picture, arguments.tile, arguments.padding, "linear")
        case "Chess":
            return grid(picture, arguments.tile, arguments.padding, "chess")
        case _:
            return []


def _repairs(picture: Size, arguments: RedrawArguments) -> Iterator[Tile]:
    kind, padding = SEAM_FIXES[arguments.seams_fix_type], arguments.seams_fix_padding
    if kind == "Band pass":
        return bands(picture, arguments.tile, arguments.seams_fix_width, padding)
    if kind == "None":
        return iter(())
    return half_tiles(picture, arguments.tile, padding, with_crossings=kind.endswith("intersections"))


def _pairs(arguments: RedrawArguments, upscaler: str) -> dict[str, object]:
    """The infotext pairs; the first five keys are the same as those of the A1111 extension."""
    pairs: dict[str, object] = {
        "Ultimate SD upscale upscaler": upscaler,
        "Ultimate SD upscale tile_width": arguments.tile.width,
        "Ultimate SD upscale tile_height": arguments.tile.height,
        "Ultimate SD upscale mask_blur": arguments.mask_blur,
        "Ultimate SD upscale padding": arguments.padding,
        "Ultimate SD upscale order": ORDERS[arguments.redraw_mode],
    }
    if arguments.seams_fix_type:
        pairs["Ultimate SD upscale seams fix"] = SEAM_FIXES[arguments.seams_fix_type]
        pairs["Ultimate SD upscale seams fix denoise"] = arguments.seams_fix_denoise
        pairs["Ultimate SD upscale seams fix width"] = arguments.seams_fix_width
        pairs["Ultimate SD upscale seams fix padding"] = arguments.seams_fix_padding
        pairs["Ultimate SD upscale seams fix mask_blur"] = arguments.seams_fix_mask_blur
    return pairs


class TiledRedraw(Extension):
    def scripts(self) -> Sequence[Script]:
        return (UltimateUpscale(),)
