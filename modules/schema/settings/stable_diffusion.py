"""Settings of the models, the prompt and the guidance."""

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
            description="Where A1111 loses words or edits of a prompt: do as it does, or as was meant. "
            "Pictures of A1111 and requests of its clients are made exactly, whatever stands here."
        ),
        Control(
            "Compatibility", kind="radio", choices=(EXACT, OURS), infotext="Compatibility", absent=EXACT,
            section="Stable Diffusion",
        ),
    ] = OURS  # fmt: skip
    sd_model_checkpoint: Annotated[
        str,
        Field(description="Checkpoint to load, by name; empty takes the first that is found."),
        Control("Stable Diffusion checkpoint", kind="dropdown", choices="checkpoints", section="Stable Diffusion"),
    ] = ""
    sd_vae: Annotated[
        str,
        Field(
            description="VAE to encode and decode with. Automatic takes NAME.vae.safetensors for the checkpoint NAME, "
            "beside it or in models/VAE, else the checkpoint's own; None always takes that."
        ),
        Control("SD VAE", kind="dropdown", choices="vaes", section="Stable Diffusion"),
    ] = "Automatic"
    CLIP_stop_at_last_layers: Annotated[
        int,
        Field(ge=1, le=12, description="Take the text encoder's output this many layers before its end."),
        Control("Clip skip", kind="slider", step=1, infotext="Clip skip", section="Stable Diffusion"),
    ] = 1
    emphasis: Annotated[
        Literal["None", "Ignore", "Original", "No norm"],
        Field(description="How (weighted:1.2) words act."),
        Control(
            "Emphasis mode", kind="radio", choices=("None", "Ignore", "Original", "No norm"), infotext="Emphasis",
            section="Stable Diffusion",
        ),
    ] = "Original"  # fmt: skip
    comma_padding_backtrack: Annotated[
        int,
        Field(ge=0, le=74, description="Move the words after the last comma to the next 75 tokens, within so many."),
        Control("Prompt word wrap length limit", kind="slider", step=1, infotext="Word wrap limit", ours=True,
                section="Stable Diffusion"),
    ] = 20  # fmt: skip
    enable_prompt_comments: Annotated[
        bool,
        Field(description="In prompts, leave out what follows a # to the end of its line."),
        Control("Enable comments", kind="checkbox", infotext="Prompt comments", absent=True, ours=True,
                section="Stable Diffusion"),
    ] = True  # fmt: skip
    randn_source: Annotated[
        Literal["GPU", "CPU", "NV"],
        Field(description="Random numbers: GPU (the device's), CPU, or NV (an NVIDIA GPU's, on any device)."),
        Control(
            "Random number generator source", kind="radio", choices=("GPU", "CPU", "NV"), infotext="RNG",
            absent="GPU", section="Stable Diffusion",
        ),
    ] = "CPU"  # fmt: skip
    tiling: Annotated[
        bool,
        Field(description="Make pictures whose left edge fits the right one, and the top the bottom."),
        Control("Tiling", kind="checkbox", infotext="Tiling", absent=False, section="Stable Diffusion"),
    ] = False
    pad_cond_uncond: Annotated[
        bool,
        Field(description="Fill the shorter of prompt and negative prompt with empty chunks, so that one pass does."),
        Control("Pad prompt/negative prompt", kind="checkbox", infotext="Pad conds", section="Stable Diffusion"),
    ] = False
    pad_cond_uncond_v0: Annotated[
        bool,
        Field(description="As A1111 padded before 1.6: with the last token, cutting a longer negative prompt off."),
        Control("Pad prompt/negative prompt (v0)", kind="checkbox", infotext="Pad conds v0",
                section="Stable Diffusion"),
    ] = False  # fmt: skip
    batch_cond_uncond: Annotated[
        bool,
        Field(description="Send prompt and negative prompt through the network together; off saves memory."),
        Control("Batch cond/uncond", kind="checkbox", section="Stable Diffusion"),
    ] = True
    s_min_uncond: Annotated[
        float,
        Field(ge=0, le=15, description="Below this noise level leave the negative prompt out of every other step."),
        Control("Negative Guidance minimum sigma", kind="slider", step=0.01, infotext="NGMS",
                section="Stable Diffusion"),
    ] = 0.0  # fmt: skip
    s_min_uncond_all: Annotated[
        bool,
        Field(description="Leave it out of all steps below that level, not only of every other."),
        Control("Negative Guidance minimum sigma all steps", kind="checkbox", infotext="NGMS all steps",
                section="Stable Diffusion"),
    ] = False  # fmt: skip
    skip_early_cond: Annotated[
        float,
        Field(ge=0, le=1, description="Share of the steps, from the first on, that leave the negative prompt out."),
        Control("Ignore negative prompt during early sampling", kind="slider", step=0.01, infotext="Skip Early CFG",
                section="Stable Diffusion"),
    ] = 0.0  # fmt: skip
    token_merging_ratio: Annotated[
        float,
        Field(ge=0, le=0.9, description="Share of the picture's places that self-attention sees as one with others "
              "like them: quicker, with other details. 0 is off."),
        Control("Token merging ratio", kind="slider", step=0.1, infotext="Token merging ratio",
                section="Optimizations"),
    ] = 0.0  # fmt: skip
    token_merging_ratio_img2img: Annotated[
        float,
        Field(ge=0, le=0.9, description="The same for img2img alone; 0 takes the ratio above."),
        Control("Token merging ratio for img2img", kind="slider", step=0.1, section="Optimizations"),
    ] = 0.0
    token_merging_ratio_hr: Annotated[
        float,
        Field(ge=0, le=0.9, description="The same for the second pass of hires fix alone; 0 takes the ratio above."),
        Control("Token merging ratio for high-res pass", kind="slider", step=0.1, infotext="Token merging ratio hr",
                section="Optimizations"),
    ] = 0.0  # fmt: skip

    @field_validator("sd_model_checkpoint")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if len(value) > 500:
            raise ValueError("a checkpoint's name has at most 500 characters")
        return value

    @field_validator("sd_vae")
    @classmethod
    def _a_vae(cls, value: str) -> str:
        if len(value) > 500:
            raise ValueError("a VAE's name has at most 500 characters")
        return value.strip() or "Automatic"
