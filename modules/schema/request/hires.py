"""The fields of hires. fix: the second pass of txt2img, at a larger size."""

from typing import Annotated

from pydantic import Field

from modules.base.fields import Control
from modules.schema.upscalers import UPSCALERS, names_of

HrCheckpointName = Annotated[
    str,
    Field(max_length=500, description="Checkpoint for the second pass; empty uses the first pass's."),
    Control("Hires checkpoint", kind="dropdown", choices="checkpoints", empty="Use same checkpoint",
            elem="hr_checkpoint", infotext="Hires checkpoint", absent=""),
]  # fmt: skip
EnableHr = Annotated[
    bool,
    Field(description="Make a small picture first, upscale it, then redraw it at the larger size."),
    Control("Hires. fix", kind="checkbox", elem="enable_hr"),
]
HrUpscaler = Annotated[
    str,
    Field(
        max_length=100,
        description="How the first picture is upscaled: " + ", ".join(names_of(UPSCALERS)) + ", or an extension's.",
    ),
    Control("Upscaler", kind="dropdown", choices="hr_upscalers", elem="hr_upscaler", infotext="Hires upscaler"),
]
HrSecondPassSteps = Annotated[
    int,
    Field(ge=0, le=150, description="Steps of the second pass; 0 uses as many as the first."),
    Control("Hires steps", kind="slider", step=1, elem="hires_steps", infotext="Hires steps", absent=0),
]
HrScale = Annotated[
    float,
    Field(ge=1, le=4, description="Upscaling factor. Ignored if a width or height to resize to is set."),
    Control("Upscale by", kind="slider", step=0.05, elem="hr_scale", infotext="Hires upscale"),
]
HrResizeX = Annotated[
    int,
    Field(ge=0, le=4096, description="Width of the result; 0 keeps the proportions, or uses Upscale by."),
    Control("Resize width to", kind="slider", step=8, maximum=2048, elem="hr_resize_x", infotext="Hires resize-1",
            absent=0),
]  # fmt: skip
HrResizeY = Annotated[
    int,
    Field(ge=0, le=4096, description="Height of the result; 0 keeps the proportions, or uses Upscale by."),
    Control("Resize height to", kind="slider", step=8, maximum=2048, elem="hr_resize_y", infotext="Hires resize-2",
            absent=0),
]  # fmt: skip
HrSamplerName = Annotated[
    str,
    Field(max_length=100, description="Sampler for the second pass; empty uses the first pass's."),
    Control("Hires sampling method", kind="dropdown", choices="samplers", empty="Use same sampler",
            elem="hr_sampler", infotext="Hires sampler", absent=""),
]  # fmt: skip
HrScheduler = Annotated[
    str,
    Field(max_length=100, description="Schedule type for the second pass; empty uses the first pass's."),
    Control("Hires schedule type", kind="dropdown", choices="schedulers", empty="Use same scheduler",
            elem="hr_scheduler", infotext="Hires schedule type", absent=""),
]  # fmt: skip
HrPrompt = Annotated[
    str,
    Field(description="Prompt for the second pass; empty uses the first pass's."),
    Control("Hires prompt", kind="textbox", elem="hires_prompt", lines=2, placeholder="Same as above",
            infotext="Hires prompt", absent=""),
]  # fmt: skip
HrNegativePrompt = Annotated[
    str,
    Field(description="Negative prompt for the second pass; empty uses the first pass's."),
    Control("Hires negative prompt", kind="textbox", elem="hires_neg_prompt", lines=2, placeholder="Same as above",
            infotext="Hires negative prompt", absent=""),
]  # fmt: skip
