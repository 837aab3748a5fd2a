"""Settings of models, prompts and guidance."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from modules.base.fields import Control
from modules.schema.settings.section import Section

EXACT = "A1111 exact"
OURS = "Palimpsest"


class StableDiffusionSettings(Section):
    """The sections Stable Diffusion and Optimizations."""

    compatibility: Annotated[
        Literal["A1111 exact", "Palimpsest"],
        Field(
            description="Where A1111 drops words or edits of a prompt: do the same, or do what was meant. "
            "Infotexts from A1111 and requests to its API are always exact, whatever is set here."
        ),
        Control(
            "Compatibility", kind="radio", choices=(EXACT, OURS), infotext="Compatibility", absent=EXACT,
            section="Stable Diffusion",
        ),
    ] = OURS  # fmt: skip
    sd_model_checkpoint: Annotated[
        str,
        Field(description="Name of the checkpoint to load; empty loads the first one found."),
        Control("Stable Diffusion checkpoint", kind="dropdown", choices="checkpoints", section="Stable Diffusion"),
    ] = ""
    sd_vae: Annotated[
        str,
        Field(
            description="VAE for encoding and decoding. Automatic uses NAME.vae.safetensors for the checkpoint NAME if "
            "it is next to it or in models/VAE, else the checkpoint's own. None always uses the checkpoint's own."
        ),
        Control("SD VAE", kind="dropdown", choices="vaes", section="Stable Diffusion"),
    ] = "Automatic"
    CLIP_stop_at_last_layers: Annotated[
        int,
        Field(ge=1, le=12, description="Layer of the text encoder to use, counted from the last; 1 is the last."),
        Control("Clip skip", kind="slider", step=1, infotext="Clip skip", section="Stable Diffusion"),
    ] = 1
    emphasis: Annotated[
        Literal["None", "Ignore", "Original", "No norm"],
        Field(description="How weights such as (word:1.2) are applied."),
        Control(
            "Emphasis mode", kind="radio", choices=("None", "Ignore", "Original", "No norm"), infotext="Emphasis",
            section="Stable Diffusion",
        ),
    ] = "Original"  # fmt: skip
    comma_padding_backtrack: Annotated[
        int,
        Field(ge=0, le=74, description="Longest run of tokens after a comma that moves to the next chunk of 75."),
        Control("Prompt word wrap length limit", kind="slider", step=1, infotext="Word wrap limit", ours=True,
                section="Stable Diffusion"),
    ] = 20  # fmt: skip
    enable_prompt_comments: Annotated[
        bool,
        Field(description="Ignore the rest of a prompt's line after #."),
        Control("Enable comments", kind="checkbox", infotext="Prompt comments", absent=True, ours=True,
                section="Stable Diffusion"),
    ] = True  # fmt: skip
    randn_source: Annotated[
        Literal["GPU", "CPU", "NV"],
        Field(description="Source of noise: GPU (the device used), CPU, or NV (an NVIDIA GPU, emulated)."),
        Control(
            "Random number generator source", kind="radio", choices=("GPU", "CPU", "NV"), infotext="RNG",
            absent="GPU", section="Stable Diffusion",
        ),
    ] = "CPU"  # fmt: skip
    tiling: Annotated[
        bool,
        Field(description="Make pictures that tile seamlessly."),
        Control("Tiling", kind="checkbox", infotext="Tiling", absent=False, section="Stable Diffusion"),
    ] = False
    pad_cond_uncond: Annotated[
        bool,
        Field(description="Pad the shorter of prompt and negative prompt so that both fit in one pass."),
        Control("Pad prompt/negative prompt", kind="checkbox", infotext="Pad conds", section="Stable Diffusion"),
    ] = False
    pad_cond_uncond_v0: Annotated[
        bool,
        Field(description="Pad as A1111 did before 1.6: repeat the last token, and truncate a longer negative prompt."),
        Control("Pad prompt/negative prompt (v0)", kind="checkbox", infotext="Pad conds v0",
                section="Stable Diffusion"),
    ] = False  # fmt: skip
    batch_cond_uncond: Annotated[
        bool,
        Field(description="Run prompt and negative prompt through the model together. Turn off to save memory."),
        Control("Batch cond/uncond", kind="checkbox", section="Stable Diffusion"),
    ] = True
    s_min_uncond: Annotated[
        float,
        Field(ge=0, le=15, description="Below this noise level, skip the negative prompt in every other step."),
        Control("Negative Guidance minimum sigma", kind="slider", step=0.01, infotext="NGMS",
                section="Stable Diffusion"),
    ] = 0.0  # fmt: skip
    s_min_uncond_all: Annotated[
        bool,
        Field(description="Skip the negative prompt in all steps below that level, not just every other one."),
        Control("Negative Guidance minimum sigma all steps", kind="checkbox", infotext="NGMS all steps",
                section="Stable Diffusion"),
    ] = False  # fmt: skip
    skip_early_cond: Annotated[
        float,
        Field(ge=0, le=1, description="Fraction of steps at the start that ignore the negative prompt."),
        Control("Ignore negative prompt during early sampling", kind="slider", step=0.01, infotext="Skip Early CFG",
                section="Stable Diffusion"),
    ] = 0.0  # fmt: skip
    token_merging_ratio: Annotated[
        float,
        Field(ge=0, le=0.9, description="Fraction of similar tokens that self-attention merges: faster, but details "
              "change. 0 turns it off."),
        Control("Token merging ratio", kind="slider", step=0.1, infotext="Token merging ratio",
                section="Optimizations"),
    ] = 0.0  # fmt: skip
    token_merging_ratio_img2img: Annotated[
        float,
        Field(ge=0, le=0.9, description="The same for img2img; 0 uses the ratio above."),
        Control("Token merging ratio for img2img", kind="slider", step=0.1, section="Optimizations"),
    ] = 0.0
    token_merging_ratio_hr: Annotated[
        float,
        Field(ge=0, le=0.9, description="The same for the second pass of hires. fix; 0 uses the ratio above."),
        Control("Token merging ratio for high-res pass", kind="slider", step=0.1, infotext="Token merging ratio hr",
                section="Optimizations"),
    ] = 0.0  # fmt: skip

    @field_validator("sd_model_checkpoint")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if len(value) > 500:
            raise ValueError("a checkpoint name has at most 500 characters")
        return value

    @field_validator("sd_vae")
    @classmethod
    def _a_vae(cls, value: str) -> str:
        if len(value) > 500:
            raise ValueError("a VAE name has at most 500 characters")
        return value.strip() or "Automatic"
