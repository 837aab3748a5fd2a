"""The request for a picture from a picture."""

from typing import Annotated, Any, Self

from pydantic import Field, field_validator

from modules.base.errors import WebuiError
from modules.base.fields import Control
from modules.base.picture import Picture
from modules.schema.request.changes import ChangeFeather, ChangeGrow, ChangeSensitivity, KeepUnchanged
from modules.schema.request.fields import DenoisingStrength, DepthMap, ImageCfgScale, InitialNoiseMultiplier
from modules.schema.request.generation import GenerationRequest, whole
from modules.schema.request.masked import (
    InpaintColorMatch,
    InpaintFullRes,
    InpaintingFill,
    InpaintPadding,
    MaskBlur,
    MaskBlurX,
    MaskBlurY,
    MaskInvert,
    MaskRound,
    MaskStrengthByGray,
)
from modules.schema.request.outpaint import (
    OutpaintBottom,
    OutpaintFeather,
    OutpaintFill,
    OutpaintLeft,
    OutpaintRight,
    OutpaintTop,
)
from modules.schema.request.soft_inpainting import (
    CompositeContrast,
    CompositeMaskInfluence,
    CompositeThreshold,
    DetailPreservation,
    MaskBlendPower,
    MaskBlendScale,
    SoftInpainting,
)
from modules.schema.resize_modes import RESIZE_LABELS, RESIZE_MODES

LATENT_CELL = 8  # pixels per side; the encoder works on whole cells

ResizeMode = Annotated[
    int,
    Field(
        ge=0,
        le=len(RESIZE_MODES) - 1,
        description="How a source of another size is fitted: " + ", ".join(RESIZE_LABELS) + ".",
    ),
    Control("Resize mode", kind="radio", choices=RESIZE_LABELS, elem="resize_mode", infotext="Resize mode", ours=True),
]
ResizeBy = Annotated[
    float | None,
    Field(ge=0.05, le=4, description="Size of the result as a multiple of the source's; null uses width and height."),
    Control("Scale", kind="slider", step=0.05, elem="scale", infotext="Resize by", absent=None, ours=True),
]


class Img2ImgRequest(GenerationRequest):
    """A picture from a picture and a prompt."""

    init_images: tuple[Picture, ...] = Field(default=(), description="The source picture.")
    resize_mode: ResizeMode = 0
    resize_by: ResizeBy = None
    denoising_strength: DenoisingStrength = 0.75
    initial_noise_multiplier: InitialNoiseMultiplier = None
    image_cfg_scale: ImageCfgScale = None
    depth_map: DepthMap = None
    keep_unchanged: KeepUnchanged = False
    change_sensitivity: ChangeSensitivity = 0.5
    change_grow: ChangeGrow = 2
    change_feather: ChangeFeather = 6
    mask: Picture | None = Field(
        default=None,
        description="What to redraw: opaque areas if the mask has transparency, else white ones; null for all.",
    )
    latent_mask: Picture | None = Field(
        default=None, description="A different mask for the latent; the final blend of pixels still uses `mask`."
    )
    # In the order in which A1111 writes their keys.
    soft_inpainting: SoftInpainting = False
    mask_blend_power: MaskBlendPower = 1
    mask_blend_scale: MaskBlendScale = 0.5
    inpaint_detail_preservation: DetailPreservation = 4
    composite_mask_influence: CompositeMaskInfluence = 0
    composite_difference_threshold: CompositeThreshold = 0.5
    composite_difference_contrast: CompositeContrast = 2
    inpainting_mask_invert: MaskInvert = 0
    mask_blur: MaskBlur = 4
    mask_blur_x: MaskBlurX = None
    mask_blur_y: MaskBlurY = None
    inpaint_full_res: InpaintFullRes = 0
    inpaint_full_res_padding: InpaintPadding = 32
    inpainting_fill: InpaintingFill = 1
    mask_round: MaskRound = True
    mask_strength_by_grey: MaskStrengthByGray = False
    inpaint_color_match: InpaintColorMatch = 0.0
    outpaint_left: OutpaintLeft = 0
    outpaint_right: OutpaintRight = 0
    outpaint_top: OutpaintTop = 0
    outpaint_bottom: OutpaintBottom = 0
    outpaint_fill: OutpaintFill = 0
    outpaint_feather: OutpaintFeather = 32

    @field_validator("inpaint_full_res", "inpainting_mask_invert", mode="before")
    @classmethod
    def _as_index(cls, value: Any) -> Any:
        return int(value) if isinstance(value, bool) else value

    @field_validator(
        "mask_blur", "mask_blur_x", "mask_blur_y", "inpainting_fill", "inpaint_full_res_padding", "outpaint_left",
        "outpaint_right", "outpaint_top", "outpaint_bottom", "outpaint_fill", "outpaint_feather", "change_grow",
        "change_feather", mode="before",
    )  # fmt: skip
    @classmethod
    def _whole_pixels(cls, value: Any) -> Any:
        return whole(value)

    @property
    def blur(self) -> tuple[int, int]:
        """Horizontal and vertical mask blur."""
        return (
            self.mask_blur if self.mask_blur_x is None else self.mask_blur_x,
            self.mask_blur if self.mask_blur_y is None else self.mask_blur_y,
        )

    @property
    def is_outpainted(self) -> bool:
        return max(self.outpaint_left, self.outpaint_right, self.outpaint_top, self.outpaint_bottom) > 0

    @field_validator("init_images", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if value is None:
            return ()
        return (value,) if isinstance(value, str | bytes | Picture) else value

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        given = values.get("init_images")
        if isinstance(given, list | tuple) and len(given) > 1:  # before any of them is decoded
            raise WebuiError(
                f"init_images: got {len(given)} pictures, expected one.",
                "Send one job per picture.",
                "init_images",
            )
        request = super().parse(values)
        if not request.init_images:
            has_mask = request.mask is not None or request.latent_mask is not None
            raise WebuiError(
                "There is a mask but no source picture." if has_mask else "There is no source picture.",
                "Drop, paste or choose one in the img2img tab.",
                "init_images",
            )
        for source in request.init_images:
            mode = RESIZE_MODES[request.resize_mode]
            if mode.interpolation is not None and min(source.width, source.height) < LATENT_CELL:
                raise WebuiError(
                    f"init_images: the picture is {source.width}x{source.height} pixels; the resize mode "
                    f"{mode.label!r} needs at least {LATENT_CELL}x{LATENT_CELL}.",
                    "Choose another resize mode or a larger picture.",
                    "init_images",
                )
        return request
