"""What a person asks for: one frozen object whose field names are those of A1111's HTTP API.

Each field is declared here once, with bounds, default, label, infotext key and description; the page, the API, its
documentation and the infotext are derived from it. Defaults are the page's (the API's own differ, see `api/`).
"""

import difflib
import random
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from modules.base.errors import WebuiError
from modules.base.fields import Control, Strict, explained, number_not_bool
from modules.base.picture import Picture
from modules.schema.sampler_names import resolve_names

MAX_PROMPT = 20_000  # characters; a prompt of 300 tokens has about 1500
MAX_SEED = 2**64 - 1  # what a 64-bit generator takes
SEED_RANGE = 4_294_967_294  # a drawn seed lies in 0 … 4294967293, as in A1111

MASK_MODES = ("Inpaint masked", "Inpaint not masked")
MASKED_CONTENTS = ("fill", "original", "latent noise", "latent nothing")
INPAINT_AREAS = ("Whole picture", "Only masked")
OUTPAINT_FILLS = ("stretched edges", "blur", "noise shaped like the picture")
LATENT_UPSCALERS = (
    "Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic antialiased)", "Latent (nearest)",
    "Latent (nearest-exact)",
)  # fmt: skip
HR_UPSCALERS = (*LATENT_UPSCALERS, "None", "Lanczos", "Nearest")
RESIZE_MODES = ("Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)")
LATENT_UPSCALE = 3  # of these
LATENT_CELL = 8  # pixels a side; what the encoder sees is whole cells


def counted_up(seed: int, by: int) -> int:
    """The seed `by` pictures after `seed`; after the largest comes 0."""
    counted = seed + by
    return counted if counted <= MAX_SEED else counted - MAX_SEED - 1


Prompt = Annotated[
    str,
    Field(description="What the picture should show. Weights: (word:1.2), [word]; edits: [from:to:0.5]."),
    Control("Prompt", kind="textbox", elem="prompt", lines=3, placeholder="What the picture should show"),
]
NegativePrompt = Annotated[
    str,
    Field(description="What the picture should not show; same grammar as the prompt."),
    Control(
        "Negative prompt", kind="textbox", elem="neg_prompt", lines=3, placeholder="What should not be there",
        infotext="Negative prompt",
    ),
]  # fmt: skip
SamplerName = Annotated[
    str,
    Field(max_length=100, description="Name of the sampling method; aliases and any letter case are accepted."),
    Control("Sampling method", kind="dropdown", choices="samplers", elem="sampling", infotext="Sampler"),
]
Scheduler = Annotated[
    str,
    Field(max_length=100, description="Name of the noise schedule; Automatic takes the sampler's own."),
    Control(
        "Schedule type", kind="dropdown", choices="schedulers", elem="scheduler", infotext="Schedule type",
        absent="Automatic",
    ),
]  # fmt: skip
Steps = Annotated[
    int,
    Field(ge=1, le=150, description="Sampling steps of the whole schedule; img2img walks the share that is denoised."),
    Control("Sampling steps", kind="slider", step=1, elem="steps", infotext="Steps"),
]
CfgScale = Annotated[
    float,
    Field(ge=0, le=30, description="How strictly the picture follows the prompt (classifier-free guidance)."),
    Control("CFG Scale", kind="slider", step=0.5, minimum=1, elem="cfg_scale", infotext="CFG scale"),
]
Seed = Annotated[
    int,
    Field(ge=-1, le=MAX_SEED, description="Seed of the first picture; −1 draws one. Picture i of a job has seed + i."),
    Control("Seed", kind="number", elem="seed", infotext="Seed"),
]
Width = Annotated[
    int,
    Field(ge=64, le=4096, description="Width in pixels; the result is cut to a multiple of 8."),
    Control("Width", kind="slider", step=8, maximum=2048, elem="width", infotext="Size-1"),
]
Height = Annotated[
    int,
    Field(ge=64, le=4096, description="Height in pixels; the result is cut to a multiple of 8."),
    Control("Height", kind="slider", step=8, maximum=2048, elem="height", infotext="Size-2"),
]
BatchCount = Annotated[
    int,
    Field(ge=1, le=100, description="Batches, one after the other."),
    Control("Batch count", kind="slider", step=1, elem="batch_count"),
]
BatchSize = Annotated[
    int,
    Field(ge=1, le=8, description="Pictures made at the same time; needs memory for each."),
    Control("Batch size", kind="slider", step=1, elem="batch_size"),
]
Subseed = Annotated[
    int,
    Field(ge=-1, le=MAX_SEED, description="Seed of the variation; −1 draws one."),
    Control("Variation seed", kind="number", elem="subseed", infotext="Variation seed", absent=-1),
]
SubseedStrength = Annotated[
    float,
    Field(ge=0, le=1, description="0 is the picture of the seed, 1 that of the variation seed."),
    Control(
        "Variation strength", kind="slider", step=0.01, elem="subseed_strength", infotext="Variation seed strength",
        absent=0.0,
    ),
]  # fmt: skip
SeedResizeFromW = Annotated[
    int,
    Field(ge=-1, le=4096, description="Make the noise as for this width, then crop or pad it; 0 or −1 is off."),
    Control(
        "Resize seed from width", kind="slider", step=8, minimum=0, maximum=2048, elem="seed_resize_from_w",
        infotext="Seed resize from-1", absent=0,
    ),
]  # fmt: skip
SeedResizeFromH = Annotated[
    int,
    Field(ge=-1, le=4096, description="Make the noise as for this height, then crop or pad it; 0 or −1 is off."),
    Control(
        "Resize seed from height", kind="slider", step=8, minimum=0, maximum=2048, elem="seed_resize_from_h",
        infotext="Seed resize from-2", absent=0,
    ),
]  # fmt: skip
# Settings of the same names that a request may set for itself; none takes the setting.
Eta = Annotated[
    float | None,
    Field(ge=0, le=1, description="Share of fresh noise; none takes the setting of the sampler's family."),
    Control("Eta", kind="hidden"),
]
SChurn = Annotated[
    float | None,
    Field(ge=0, le=100, description="Noise added before each step of Euler, Heun and DPM2; none takes the setting."),
    Control("Sigma churn", kind="hidden"),
]
STmin = Annotated[
    float | None,
    Field(ge=0, le=10, description="Churn acts from this noise level up; none takes the setting."),
    Control("Sigma tmin", kind="hidden"),
]
STmax = Annotated[
    float | None,
    Field(ge=0, le=999, description="Churn acts up to this noise level, 0 is no end; none takes the setting."),
    Control("Sigma tmax", kind="hidden"),
]
SNoise = Annotated[
    float | None,
    Field(ge=0, le=1.1, description="Multiplies the noise added on the way; none takes the setting."),
    Control("Sigma noise", kind="hidden"),
]
SMinUncond = Annotated[
    float | None,
    Field(ge=0, le=15, description="Negative Guidance minimum sigma; none takes the setting."),
    Control("Negative Guidance minimum sigma", kind="hidden"),
]
Tiling = Annotated[
    bool | None,
    Field(description="Edges that fit each other; none takes the setting."),
    Control("Tiling", kind="hidden"),
]
InitialNoiseMultiplier = Annotated[
    float | None,
    Field(ge=0, le=1.5, description="Multiplies the noise laid over the source; none takes the setting."),
    Control("Noise multiplier", kind="hidden"),
]
RefinerCheckpoint = Annotated[
    str,
    Field(max_length=500, description="Another checkpoint that takes over on the way; empty is none."),
    Control("Refiner checkpoint", kind="dropdown", choices="checkpoints", empty="None", elem="checkpoint",
            infotext="Refiner", absent=""),
]  # fmt: skip
RefinerSwitchAt = Annotated[
    float | None,
    Field(ge=0, le=1, description="The share of the way at which the refiner takes over; none is at once."),
    Control("Switch at", kind="slider", step=0.01, minimum=0.01, elem="switch_at", infotext="Refiner switch at",
            absent=None),
]  # fmt: skip
HrCheckpointName = Annotated[
    str,
    Field(max_length=500, description="Checkpoint of the second pass; empty is the first one's."),
    Control("Hires checkpoint", kind="dropdown", choices="checkpoints", empty="Use same checkpoint",
            elem="hr_checkpoint", infotext="Hires checkpoint", absent=""),
]  # fmt: skip
EnableHr = Annotated[
    bool,
    Field(description="Make a small picture first, enlarge it, and redraw it at the larger size."),
    Control("Hires. fix", kind="checkbox", elem="enable_hr"),
]
HrUpscaler = Annotated[
    str,
    Field(max_length=100, description="How the first picture is enlarged: " + ", ".join(HR_UPSCALERS) + "."),
    Control("Upscaler", kind="dropdown", choices=HR_UPSCALERS, elem="hr_upscaler", infotext="Hires upscaler"),
]
HrSecondPassSteps = Annotated[
    int,
    Field(ge=0, le=150, description="Steps of the second pass; 0 takes as many as the first."),
    Control("Hires steps", kind="slider", step=1, elem="hires_steps", infotext="Hires steps", absent=0),
]
HrScale = Annotated[
    float,
    Field(ge=1, le=4, description="How many times larger the result is; width and height below go before it."),
    Control("Upscale by", kind="slider", step=0.05, elem="hr_scale", infotext="Hires upscale"),
]
HrResizeX = Annotated[
    int,
    Field(ge=0, le=4096, description="Width of the result; 0 follows from the height, or from Upscale by."),
    Control("Resize width to", kind="slider", step=8, maximum=2048, elem="hr_resize_x", infotext="Hires resize-1",
            absent=0),
]  # fmt: skip
HrResizeY = Annotated[
    int,
    Field(ge=0, le=4096, description="Height of the result; 0 follows from the width, or from Upscale by."),
    Control("Resize height to", kind="slider", step=8, maximum=2048, elem="hr_resize_y", infotext="Hires resize-2",
            absent=0),
]  # fmt: skip
HrSamplerName = Annotated[
    str,
    Field(max_length=100, description="Sampler of the second pass; empty is the first one's."),
    Control("Hires sampling method", kind="dropdown", choices="samplers", empty="Use same sampler",
            elem="hr_sampler", infotext="Hires sampler", absent=""),
]  # fmt: skip
HrScheduler = Annotated[
    str,
    Field(max_length=100, description="Schedule type of the second pass; empty is the first one's."),
    Control("Hires schedule type", kind="dropdown", choices="schedulers", empty="Use same scheduler",
            elem="hr_scheduler", infotext="Hires schedule type", absent=""),
]  # fmt: skip
HrPrompt = Annotated[
    str,
    Field(description="Prompt of the second pass; empty is the first one's."),
    Control("Hires prompt", kind="textbox", elem="hires_prompt", lines=2, placeholder="The same as above",
            infotext="Hires prompt", absent=""),
]  # fmt: skip
HrNegativePrompt = Annotated[
    str,
    Field(description="Negative prompt of the second pass; empty is the first one's."),
    Control("Hires negative prompt", kind="textbox", elem="hires_neg_prompt", lines=2, placeholder="The same as above",
            infotext="Hires negative prompt", absent=""),
]  # fmt: skip
DenoisingStrength = Annotated[
    float,
    Field(ge=0, le=1, description="How much of the source is redrawn: 0.2-0.4 slight, 0.4-0.7 balanced, above large."),
    Control("Denoising strength", kind="slider", step=0.01, elem="denoising_strength", infotext="Denoising strength"),
]
ResizeMode = Annotated[
    int,
    Field(ge=0, le=3, description="How a source of another shape is fitted: " + ", ".join(RESIZE_MODES) + "."),
    Control("Resize mode", kind="radio", choices=RESIZE_MODES, elem="resize_mode", infotext="Resize mode", ours=True),
]
ResizeBy = Annotated[
    float | None,
    Field(ge=0.05, le=4, description="Size of the result as a multiple of the source's; none uses width and height."),
    Control("Scale", kind="slider", step=0.05, elem="scale", infotext="Resize by", absent=None, ours=True),
]
MaskBlur = Annotated[
    int,
    Field(ge=0, le=512, description="Softness of the mask's edge: a Gaussian's sigma in pixels of the mask picture."),
    Control("Mask blur", kind="slider", step=1, maximum=64, elem="mask_blur", infotext="Mask blur"),
]
MaskBlurX = Annotated[
    int | None,
    Field(ge=0, le=512, description="Mask blur from left to right, where it differs; none is mask_blur."),
    Control("Mask blur x", kind="hidden", infotext="Mask blur x", absent=None, ours=True),
]
MaskBlurY = Annotated[
    int | None,
    Field(ge=0, le=512, description="Mask blur from top to bottom, where it differs; none is mask_blur."),
    Control("Mask blur y", kind="hidden", infotext="Mask blur y", absent=None, ours=True),
]
MaskRound = Annotated[
    bool,
    Field(description="Each cell of the latent is redrawn or kept; off, greys in the mask redraw in part."),
    Control("Round the mask", kind="hidden", infotext="Mask round", absent=True, ours=True),
]
MaskInvert = Annotated[
    int,
    Field(ge=0, le=1, description="What is redrawn: " + ", ".join(MASK_MODES) + "."),
    Control(
        "Mask mode", kind="radio", choices=MASK_MODES, elem="mask_mode", infotext="Mask mode", absent=0,
    ),
]  # fmt: skip
InpaintingFill = Annotated[
    int,
    Field(ge=0, le=3, description="What stands under the mask to begin with: " + ", ".join(MASKED_CONTENTS) + "."),
    Control(
        "Masked content", kind="radio", choices=MASKED_CONTENTS, elem="inpainting_fill", infotext="Masked content",
        absent=1,
    ),
]  # fmt: skip
InpaintFullRes = Annotated[
    int,
    Field(ge=0, le=1, description="Only masked works on the masked region alone, enlarged to width and height."),
    Control(
        "Inpaint area", kind="radio", choices=INPAINT_AREAS, elem="inpaint_full_res", infotext="Inpaint area",
        absent=0,
    ),
]  # fmt: skip
InpaintPadding = Annotated[
    int,
    Field(ge=0, le=4096, description="Pixels around the mask that are worked on with it; they give it context."),
    Control(
        "Only masked padding, pixels", kind="slider", step=4, maximum=256, elem="inpaint_full_res_padding",
        infotext="Masked area padding", absent=32,
    ),
]  # fmt: skip
SoftInpainting = Annotated[
    bool,
    Field(description="Blend by degrees: greys of the mask redraw in part, and the edge follows what has changed."),
    Control(
        "Soft inpainting", kind="checkbox", elem="soft_inpainting_enabled", infotext="Soft inpainting enabled",
        absent=False,
    ),
]  # fmt: skip
# Whole numbers stay whole: A1111 writes "1" for a slider at 1 and "1.0" for a client's 1.0.
MaskBlendPower = Annotated[
    int | float,
    Field(ge=0, le=8, description="When the original is preserved: above 1 more in late steps, below 1 more evenly."),
    Control(
        "Schedule bias", kind="slider", step=0.1, elem="mask_blend_power", infotext="Soft inpainting schedule bias",
    ),
]  # fmt: skip
MaskBlendScale = Annotated[
    int | float,
    Field(ge=0, le=8, description="How strongly half-masked content is preserved."),
    Control(
        "Preservation strength", kind="slider", step=0.05, elem="mask_blend_scale",
        infotext="Soft inpainting preservation strength",
    ),
]  # fmt: skip
DetailPreservation = Annotated[
    int | float,
    Field(ge=1, le=32, description="Amplifies the contrast that blending takes away; 1 is none."),
    Control(
        "Transition contrast boost", kind="slider", step=0.5, elem="inpaint_detail_preservation",
        infotext="Soft inpainting transition contrast boost",
    ),
]  # fmt: skip
CompositeMaskInfluence = Annotated[
    int | float,
    Field(ge=0, le=1, description="How much the mask says in the final blend of pixels: 0 leaves it to the change."),
    Control(
        "Mask influence", kind="slider", step=0.05, elem="composite_mask_influence",
        infotext="Soft inpainting mask influence",
    ),
]  # fmt: skip
CompositeThreshold = Annotated[
    int | float,
    Field(ge=0, le=8, description="How far a place must change before its original shows through by half."),
    Control(
        "Difference threshold", kind="slider", step=0.25, elem="composite_difference_threshold",
        infotext="Soft inpainting difference threshold",
    ),
]  # fmt: skip
CompositeContrast = Annotated[
    int | float,
    Field(ge=0, le=8, description="How sharp the passage from original to redrawn is."),
    Control(
        "Difference contrast", kind="slider", step=0.25, elem="composite_difference_contrast",
        infotext="Soft inpainting difference contrast",
    ),
]  # fmt: skip

MaskStrengthByGrey = Annotated[
    bool,
    Field(description="A grey of the mask is a strength: half grey is redrawn as at half the denoising strength."),
    Control(
        "Greys are strengths", kind="checkbox", elem="mask_strength_by_grey", infotext="Mask strength by grey",
        absent=False,
    ),
]  # fmt: skip
InpaintColorMatch = Annotated[
    float,
    Field(ge=0, le=1, description="How far what is redrawn takes up the tone of what lies around it; 0 is off."),
    Control(
        "Color match", kind="slider", step=0.05, elem="inpaint_color_match", infotext="Inpaint color match",
        absent=0.0,
    ),
]  # fmt: skip


def _outpaint(side: str) -> tuple[Any, Control]:
    """Bounds and control of the pixels that are added on one side."""
    return (
        Field(ge=0, le=4096, description=f"Pixels of the source's size that are painted on at its {side}."),
        Control(
            f"Outpaint {side}", kind="slider", step=8, maximum=512, elem=f"outpaint_{side}",
            infotext=f"Outpaint {side}", absent=0,
        ),
    )  # fmt: skip


OutpaintLeft = Annotated[int, *_outpaint("left")]
OutpaintRight = Annotated[int, *_outpaint("right")]
OutpaintTop = Annotated[int, *_outpaint("top")]
OutpaintBottom = Annotated[int, *_outpaint("bottom")]
OutpaintFill = Annotated[
    int,
    Field(ge=0, le=2, description="What stands in the new part to begin with: " + ", ".join(OUTPAINT_FILLS) + "."),
    Control(
        "Outpaint fill", kind="radio", choices=OUTPAINT_FILLS, elem="outpaint_fill", infotext="Outpaint fill",
    ),
]  # fmt: skip
OutpaintFeather = Annotated[
    int,
    Field(ge=0, le=512, description="Pixels of the new part over which it leaves the old edge's tone; 0 is none."),
    Control("Outpaint feather", kind="slider", step=1, maximum=128, elem="outpaint_feather",
            infotext="Outpaint feather"),
]  # fmt: skip


def bounded(value: str) -> str:
    """A prompt as it can be kept: JSON can hold NUL and halves of surrogate pairs; no file or tokenizer could."""
    if len(value) > MAX_PROMPT:
        raise ValueError(f"has {len(value)} characters; at most {MAX_PROMPT} are read, shorten it")
    return value.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def whole(value: Any) -> Any:
    """20.0 as 20, which is what sliders and JavaScript mean by it; 20.5 stays wrong."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class GenerationRequest(Strict):
    """What txt2img and img2img have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Prompt = ""
    negative_prompt: NegativePrompt = ""
    sampler_name: SamplerName = "DPM++ 2M"
    scheduler: Scheduler = "Automatic"
    steps: Steps = 20
    cfg_scale: CfgScale = 7.0
    width: Width = 512
    height: Height = 512
    n_iter: BatchCount = 1
    batch_size: BatchSize = 1
    seed: Seed = -1
    subseed: Subseed = -1
    subseed_strength: SubseedStrength = 0.0
    seed_resize_from_w: SeedResizeFromW = 0
    seed_resize_from_h: SeedResizeFromH = 0
    eta: Eta = None
    s_churn: SChurn = None
    s_tmin: STmin = None
    s_tmax: STmax = None
    s_noise: SNoise = None
    s_min_uncond: SMinUncond = None
    tiling: Tiling = None
    refiner_checkpoint: RefinerCheckpoint = ""
    refiner_switch_at: RefinerSwitchAt = None
    override_settings: dict[str, Any] = Field(default_factory=dict, description="Settings for this job alone.")
    script_name: str = Field(
        default="", max_length=200, description="A script that makes many jobs of this one; /v1/scripts lists them."
    )
    script_args: tuple[Any, ...] = Field(default=(), description="The script's arguments, by position.")

    @field_validator("*", mode="before")
    @classmethod
    def _number_not_bool(cls, value: Any, info: ValidationInfo) -> Any:
        return number_not_bool(cls, info.field_name or "", value)

    @field_validator("prompt", "negative_prompt")
    @classmethod
    def _bounded(cls, value: str) -> str:
        return bounded(value)

    @field_validator("steps", "n_iter", "batch_size", "width", "height", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        return whole(value)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """A request from loose values; raises WebuiError with one sentence about the first field that is wrong."""
        try:
            request = cls(**values)
        except ValidationError as error:
            raise explained(cls, error) from error
        sampler, scheduler = resolve_names(request.sampler_name, request.scheduler)
        return request.model_copy(update={"sampler_name": sampler.name, "scheduler": scheduler.name})

    def resolved(self, draw: random.Random) -> Self:
        """The same request with seeds of −1 drawn, so that it can be run again to the byte.

        A script is told that the seed was −1, as it may want another for each picture; it draws them from the subseed.
        """
        return self.model_copy(
            update={
                name: draw.randrange(SEED_RANGE)
                for name in ("seed", "subseed")
                if getattr(self, name) == -1 and not (name == "seed" and self.script_name)
            }
        )  # fmt: skip

    @property
    def images(self) -> int:
        """Pictures the job makes."""
        return self.n_iter * self.batch_size


class Txt2ImgRequest(GenerationRequest):
    """A picture from words alone; with `enable_hr` a small one first, then the same larger (hires fix)."""

    enable_hr: EnableHr = False
    denoising_strength: DenoisingStrength = 0.7
    hr_checkpoint_name: HrCheckpointName = ""
    hr_sampler_name: HrSamplerName = ""
    hr_prompt: HrPrompt = ""
    hr_negative_prompt: HrNegativePrompt = ""
    hr_scheduler: HrScheduler = ""
    hr_scale: HrScale = 2.0
    hr_resize_x: HrResizeX = 0
    hr_resize_y: HrResizeY = 0
    hr_second_pass_steps: HrSecondPassSteps = 0
    hr_upscaler: HrUpscaler = "Latent"

    @field_validator("hr_upscaler")
    @classmethod
    def _known_upscaler(cls, value: str, info: ValidationInfo) -> str:
        folded = {name.casefold(): name for name in HR_UPSCALERS}
        if value.strip().casefold() not in folded:
            if not info.data.get("enable_hr"):
                return "Latent"  # as in A1111: what is not used is not looked up
            near = difflib.get_close_matches(value, HR_UPSCALERS, 1, 0.0)[0]
            raise ValueError(f"no upscaler of that name; did you mean {near!r}")
        return folded[value.strip().casefold()]

    @field_validator("hr_prompt", "hr_negative_prompt")
    @classmethod
    def _bounded_too(cls, value: str) -> str:
        return bounded(value)

    @field_validator("hr_second_pass_steps", "hr_resize_x", "hr_resize_y", mode="before")
    @classmethod
    def _whole_too(cls, value: Any) -> Any:
        return whole(value)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        request = super().parse(values)
        try:
            sampler, scheduler = resolve_names(
                request.hr_sampler_name or request.sampler_name, request.hr_scheduler or "Automatic", "hr_"
            )
        except WebuiError:
            if request.enable_hr:
                raise
            return request.model_copy(update={"hr_sampler_name": "", "hr_scheduler": ""})
        return request.model_copy(
            update={
                "hr_sampler_name": sampler.name if request.hr_sampler_name else "",
                "hr_scheduler": scheduler.name if request.hr_scheduler else "",
            }
        )


class Img2ImgRequest(GenerationRequest):
    """A picture from a picture and words."""

    init_images: tuple[Picture, ...] = Field(default=(), description="The source picture.")
    resize_mode: ResizeMode = 0
    resize_by: ResizeBy = None
    denoising_strength: DenoisingStrength = 0.75
    initial_noise_multiplier: InitialNoiseMultiplier = None
    mask: Picture | None = Field(
        default=None, description="What is redrawn: its alpha if it has transparency, else its white; none is all."
    )
    latent_mask: Picture | None = Field(
        default=None, description="Another mask for the latent; the blend of pixels stays with `mask`."
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
    mask_strength_by_grey: MaskStrengthByGrey = False
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
        "outpaint_right", "outpaint_top", "outpaint_bottom", "outpaint_fill", "outpaint_feather", mode="before",
    )  # fmt: skip
    @classmethod
    def _whole_pixels(cls, value: Any) -> Any:
        return whole(value)

    @property
    def blur(self) -> tuple[int, int]:
        """Mask blur from left to right and from top to bottom."""
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
                f"init_images: {len(given)} pictures were sent, one was expected.",
                "Send a job for each.",
                "init_images",
            )
        request = super().parse(values)
        if not request.init_images:
            has_mask = request.mask is not None or request.latent_mask is not None
            raise WebuiError(
                "There is a mask, but no source picture that it could lie on."
                if has_mask
                else "There is no source picture.",
                "Drop, paste or choose one in the img2img tab.",
                "init_images",
            )
        for source in request.init_images:
            if request.resize_mode == LATENT_UPSCALE and min(source.width, source.height) < LATENT_CELL:
                raise WebuiError(
                    f"init_images: the picture is {source.width}x{source.height} pixels; the resize mode "
                    f"{RESIZE_MODES[LATENT_UPSCALE]!r} encodes it as it is and needs {LATENT_CELL}x{LATENT_CELL}.",
                    "Choose another resize mode, or a larger picture.",
                    "init_images",
                )
        return request
