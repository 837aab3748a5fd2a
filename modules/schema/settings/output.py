"""Settings for saved pictures, pasted parameters and live previews."""

from typing import Annotated, Literal

from pydantic import Field

from modules.base.fields import Control
from modules.schema.settings.section import Section


class OutputSettings(Section):
    """The sections Infotext, Saving images and Live previews."""

    infotext_styles: Annotated[
        Literal["Ignore", "Apply", "Discard", "Apply if any"],
        Field(
            description="What to do with styles found in the prompts of pasted parameters. Ignore leaves them in the "
            "prompt; Discard removes them; Apply removes and selects them; Apply if any does so only if there are any."
        ),
        Control("Infer styles from prompts of pasted infotext", kind="radio",
                choices=("Ignore", "Apply", "Discard", "Apply if any"), section="Infotext"),
    ] = "Apply if any"  # fmt: skip
    samples_format: Annotated[
        Literal["png", "jpg", "webp"],
        Field(description="File format of saved pictures; png is lossless."),
        Control("File format for images", kind="radio", choices=("png", "jpg", "webp"), section="Saving images"),
    ] = "png"
    jpeg_quality: Annotated[
        int,
        Field(ge=1, le=100, description="Quality of JPEG and lossy WebP files."),
        Control("Quality for saved jpeg and webp images", kind="slider", step=1, section="Saving images"),
    ] = 90
    webp_lossless: Annotated[
        bool,
        Field(description="Save WebP files losslessly."),
        Control("Use lossless compression for webp images", kind="checkbox", section="Saving images"),
    ] = False
    save_mask: Annotated[
        bool,
        Field(description="Save the mask next to each inpainted picture, as NUMBER-SEED-mask."),
        Control("For inpainting, save a copy of the greyscale mask", kind="checkbox", section="Saving images"),
    ] = False
    save_mask_composite: Annotated[
        bool,
        Field(description="Save only the masked part of each inpainted picture, as NUMBER-SEED-mask-composite."),
        Control("For inpainting, save a masked composite", kind="checkbox", section="Saving images"),
    ] = False
    save_init_img: Annotated[
        bool,
        Field(description="Save each source picture in outputs/init-images, named by the MD5 of its pixels."),
        Control("Save init images when using img2img", kind="checkbox", section="Saving images"),
    ] = False
    live_previews_enable: Annotated[
        bool,
        Field(description="Show the picture while it is being made."),
        Control("Show live previews of the created image", kind="checkbox", section="Live previews"),
    ] = True
    show_progress_every_n_steps: Annotated[
        int,
        Field(ge=1, le=32, description="Number of steps between previews."),
        Control("Live preview display period, in steps", kind="slider", step=1, section="Live previews"),
    ] = 2
