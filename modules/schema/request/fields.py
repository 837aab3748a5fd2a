"""The fields that txt2img and img2img share, each with its bounds, label, infotext key and description."""

from typing import Annotated

from pydantic import Field

from modules.base.fields import Control
from modules.base.picture import Picture

MAX_SEED = 2**64 - 1  # the largest a 64-bit generator accepts

Prompt = Annotated[
    str,
    Field(description="What the picture should show. Weights: (word:1.2), [word]. Edits: [from:to:0.5]."),
    Control("Prompt", kind="textbox", elem="prompt", lines=3, placeholder="What the picture should show"),
]
NegativePrompt = Annotated[
    str,
    Field(description="What the picture should not show. Same syntax as the prompt."),
    Control(
        "Negative prompt", kind="textbox", elem="neg_prompt", lines=3, placeholder="What should not be there",
        infotext="Negative prompt",
    ),
]  # fmt: skip
SamplerName = Annotated[
    str,
    Field(max_length=100, description="Name of the sampling method. Aliases are accepted; case does not matter."),
    Control("Sampling method", kind="dropdown", choices="samplers", elem="sampling", infotext="Sampler"),
]
Scheduler = Annotated[
    str,
    Field(max_length=100, description="Name of the noise schedule. Automatic uses the sampler's default."),
    Control(
        "Schedule type", kind="dropdown", choices="schedulers", elem="scheduler", infotext="Schedule type",
        absent="Automatic",
    ),
]  # fmt: skip
Steps = Annotated[
    int,
    Field(ge=1, le=150, description="Number of sampling steps; img2img runs this × denoising strength."),
    Control("Sampling steps", kind="slider", step=1, elem="steps", infotext="Steps"),
]
CfgScale = Annotated[
    float,
    Field(ge=0, le=30, description="How closely the picture follows the prompt (classifier-free guidance)."),
    Control("CFG Scale", kind="slider", step=0.5, minimum=1, elem="cfg_scale", infotext="CFG scale"),
]
Seed = Annotated[
    int,
    Field(
        ge=-1,
        le=MAX_SEED,
        description="Seed of the first picture; −1 picks one at random. Picture i uses seed + i.",
    ),
    Control("Seed", kind="number", elem="seed", infotext="Seed"),
]
Width = Annotated[
    int,
    Field(ge=64, le=4096, description="Width in pixels, rounded down to a multiple of 8, or of what the model needs."),
    Control("Width", kind="slider", step=8, maximum=2048, elem="width", infotext="Size-1"),
]
Height = Annotated[
    int,
    Field(ge=64, le=4096, description="Height in pixels, rounded down to a multiple of 8, or of what the model needs."),
    Control("Height", kind="slider", step=8, maximum=2048, elem="height", infotext="Size-2"),
]
BatchCount = Annotated[
    int,
    Field(ge=1, le=100, description="Number of batches, made one after another."),
    Control("Batch count", kind="slider", step=1, elem="batch_count"),
]
BatchSize = Annotated[
    int,
    Field(ge=1, le=8, description="Pictures made at once; each one needs memory."),
    Control("Batch size", kind="slider", step=1, elem="batch_size"),
]
Subseed = Annotated[
    int,
    Field(ge=-1, le=MAX_SEED, description="Seed of the variation; −1 picks a random one."),
    Control("Variation seed", kind="number", elem="subseed", infotext="Variation seed", absent=-1),
]
SubseedStrength = Annotated[
    float,
    Field(ge=0, le=1, description="0 gives the seed's picture, 1 the variation seed's, values between a mix."),
    Control(
        "Variation strength", kind="slider", step=0.01, elem="subseed_strength", infotext="Variation seed strength",
        absent=0.0,
    ),
]  # fmt: skip
SeedResizeFromW = Annotated[
    int,
    Field(ge=-1, le=4096, description="Generate the noise for this width, then crop or pad it; 0 or −1 turns it off."),
    Control(
        "Resize seed from width", kind="slider", step=8, minimum=0, maximum=2048, elem="seed_resize_from_w",
        infotext="Seed resize from-1", absent=0,
    ),
]  # fmt: skip
SeedResizeFromH = Annotated[
    int,
    Field(ge=-1, le=4096, description="Generate the noise for this height, then crop or pad it; 0 or −1 turns it off."),
    Control(
        "Resize seed from height", kind="slider", step=8, minimum=0, maximum=2048, elem="seed_resize_from_h",
        infotext="Seed resize from-2", absent=0,
    ),
]  # fmt: skip
# A request may override the settings of these names; null uses the setting.
Eta = Annotated[
    float | None,
    Field(ge=0, le=1, description="Share of new noise per step; null uses the setting for this kind of sampler."),
    Control("Eta", kind="hidden"),
]
SChurn = Annotated[
    float | None,
    Field(ge=0, le=100, description="Noise added before each step of Euler, Heun and DPM2; null uses the setting."),
    Control("Sigma churn", kind="hidden"),
]
STmin = Annotated[
    float | None,
    Field(ge=0, le=10, description="Lowest noise level at which churn acts; null uses the setting."),
    Control("Sigma tmin", kind="hidden"),
]
STmax = Annotated[
    float | None,
    Field(ge=0, le=999, description="Highest noise level at which churn acts, 0 for no limit; null uses the setting."),
    Control("Sigma tmax", kind="hidden"),
]
SNoise = Annotated[
    float | None,
    Field(ge=0, le=1.1, description="Multiplies the noise added during sampling; null uses the setting."),
    Control("Sigma noise", kind="hidden"),
]
SMinUncond = Annotated[
    float | None,
    Field(ge=0, le=15, description="Negative Guidance minimum sigma; null uses the setting."),
    Control("Negative Guidance minimum sigma", kind="hidden"),
]
Tiling = Annotated[
    bool | None,
    Field(description="Make a picture that tiles seamlessly; null uses the setting."),
    Control("Tiling", kind="hidden"),
]
InitialNoiseMultiplier = Annotated[
    float | None,
    Field(ge=0, le=1.5, description="Multiplies the noise added to the source; null uses the setting."),
    Control("Noise multiplier", kind="hidden"),
]
ImageCfgScale = Annotated[
    float | None,
    Field(
        ge=0,
        le=30,
        description="How closely the picture follows its source, for InstructPix2Pix checkpoints; null is 1, guidance "
        "by the prompts alone.",
    ),
    Control(
        "Image CFG Scale", kind="slider", step=0.05, maximum=3, elem="image_cfg_scale", infotext="Image CFG scale",
    ),
]  # fmt: skip
DepthMap = Annotated[
    Picture | None,
    Field(
        description="The depth map of the source, for Stable Diffusion 2 depth checkpoints: a picture of the same "
        "proportions, lighter where things are nearer."
    ),
]
RefinerCheckpoint = Annotated[
    str,
    Field(max_length=500, description="Checkpoint that takes over during sampling; empty for none."),
    Control("Refiner checkpoint", kind="dropdown", choices="checkpoints", empty="None", elem="checkpoint",
            infotext="Refiner", absent=""),
]  # fmt: skip
RefinerSwitchAt = Annotated[
    float | None,
    Field(ge=0, le=1, description="Fraction of sampling at which the refiner takes over; null is the start."),
    Control("Switch at", kind="slider", step=0.01, minimum=0.01, elem="switch_at", infotext="Refiner switch at",
            absent=None),
]  # fmt: skip
DenoisingStrength = Annotated[
    float,
    Field(ge=0, le=1, description="How much to change the source: 0.2-0.4 a little, 0.4-0.7 more, above a lot."),
    Control("Denoising strength", kind="slider", step=0.01, elem="denoising_strength", infotext="Denoising strength"),
]
