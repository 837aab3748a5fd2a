"""Settings: what stays the same from job to job. Declared like requests; option names are A1111's.

A frozen snapshot travels with each job. `overridden()` gives another object, so that there is nothing to restore.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from modules.errors import WebuiError
from modules.fields import Control, explained, number_not_bool

CSS_HEX = re.compile(r"#[0-9a-fA-F]{6}")


class Settings(BaseModel):
    """All settings of Palimpsest, with A1111's names where they mean the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sd_model_checkpoint: Annotated[
        str,
        Field(description="Checkpoint to load, by name; empty takes the first that is found."),
        Control("Stable Diffusion checkpoint", kind="dropdown", choices="checkpoints", section="Stable Diffusion"),
    ] = ""
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
        Control("Prompt word wrap length limit", kind="slider", step=1, section="Stable Diffusion"),
    ] = 20
    randn_source: Annotated[
        Literal["GPU", "CPU", "NV"],
        Field(description="Random numbers: GPU (the device's), CPU, or NV (an NVIDIA GPU's, on any device)."),
        Control(
            "Random number generator source", kind="radio", choices=("GPU", "CPU", "NV"), infotext="RNG",
            absent="GPU", section="Stable Diffusion",
        ),
    ] = "CPU"  # fmt: skip

    initial_noise_multiplier: Annotated[
        float,
        Field(ge=0, le=1.5, description="Multiplies the noise that is laid over the source."),
        Control("Noise multiplier for img2img", kind="slider", step=0.001, infotext="Noise multiplier",
                section="img2img"),
    ] = 1.0  # fmt: skip
    img2img_fix_steps: Annotated[
        bool,
        Field(description="Walk exactly as many steps as the slider says, whatever the denoising strength."),
        Control("With img2img, do exactly the amount of steps the slider specifies", kind="checkbox",
                infotext="Fix steps", section="img2img"),
    ] = False  # fmt: skip
    img2img_background_color: Annotated[
        str,
        Field(description="Shows through where the source is transparent."),
        Control("Background color for transparent pictures", kind="textbox", section="img2img"),
    ] = "#ffffff"
    inpainting_mask_weight: Annotated[
        float,
        Field(ge=0, le=1, description="How much of what lies under the mask is hidden from inpainting checkpoints."),
        Control("Inpainting conditioning mask strength", kind="slider", step=0.01, infotext="Conditional mask weight",
                absent=1.0, section="img2img"),
    ] = 1.0  # fmt: skip
    img2img_color_correction: Annotated[
        bool,
        Field(description="Give each result the colours of its source; flat areas may show steps."),
        Control("Apply color correction to img2img results to match original colors", kind="checkbox",
                infotext="Color correction", absent=False, section="img2img"),
    ] = False  # fmt: skip
    overlay_inpaint: Annotated[
        bool,
        Field(description="Lay the original over the result where it was not masked, so that it keeps every byte."),
        Control("Overlay original for inpaint", kind="checkbox", infotext="Overlay original", absent=True,
                section="img2img"),
    ] = True  # fmt: skip

    eta_ancestral: Annotated[
        float,
        Field(ge=0, le=1, description="Share of fresh noise in ancestral and SDE samplers."),
        Control("Eta for k-diffusion samplers", kind="slider", step=0.01, infotext="Eta",
                section="Sampler parameters"),
    ] = 1.0  # fmt: skip
    eta_ddim: Annotated[
        float,
        Field(ge=0, le=1, description="Share of fresh noise in DDIM; 0 is deterministic."),
        Control("Eta for DDIM", kind="slider", step=0.01, infotext="Eta DDIM", section="Sampler parameters"),
    ] = 0.0

    samples_format: Annotated[
        Literal["png", "jpg", "webp"],
        Field(description="File format of saved pictures; png keeps every byte."),
        Control("File format for images", kind="radio", choices=("png", "jpg", "webp"), section="Saving images"),
    ] = "png"
    jpeg_quality: Annotated[
        int,
        Field(ge=1, le=100, description="Quality of JPEG and lossy WebP files."),
        Control("Quality for saved jpeg and webp images", kind="slider", step=1, section="Saving images"),
    ] = 90
    webp_lossless: Annotated[
        bool,
        Field(description="Keep every byte in WebP files."),
        Control("Use lossless compression for webp images", kind="checkbox", section="Saving images"),
    ] = False

    live_previews_enable: Annotated[
        bool,
        Field(description="Show the picture while it is made."),
        Control("Show live previews of the created image", kind="checkbox", section="Live previews"),
    ] = True
    show_progress_every_n_steps: Annotated[
        int,
        Field(ge=1, le=32, description="Steps between two previews."),
        Control("Live preview display period, in steps", kind="slider", step=1, section="Live previews"),
    ] = 2

    @field_validator("*", mode="before")
    @classmethod
    def _number_not_bool(cls, value: Any, info: ValidationInfo) -> Any:
        return number_not_bool(cls, info.field_name or "", value)

    @field_validator("img2img_background_color")
    @classmethod
    def _a_colour(cls, value: str) -> str:
        if not CSS_HEX.fullmatch(value):
            raise ValueError("expected a colour as #rrggbb, such as #ffffff")
        return value

    @field_validator("sd_model_checkpoint")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if len(value) > 500:
            raise ValueError("a checkpoint's name has at most 500 characters")
        return value

    def overridden(self, values: dict[str, Any]) -> Self:
        """Another Settings with `values` in place. Raises WebuiError naming the first that does not fit."""
        if not values:
            return self
        try:
            return type(self)(**{**self.model_dump(), **values})
        except ValidationError as error:
            raise explained(type(self), error) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a JSON file; a missing file is all defaults. Raises WebuiError if it cannot be read or understood."""
        if not path.exists():
            return cls()
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WebuiError(
                f"the settings file {path.name} cannot be read ({error}).", "Mend it, or move it away to start afresh."
            ) from error
        if not isinstance(values, dict):
            raise WebuiError(f"the settings file {path.name} holds no JSON object.", "Move it away to start afresh.")
        try:
            return cls().overridden(values)
        except WebuiError as error:
            raise WebuiError(
                f"the settings file {path.name}: {error}", "Mend it, or move it away to start afresh.", error.field
            ) from error

    def save(self, path: Path) -> None:
        """What differs from the defaults, written beside and then moved into place."""
        text = json.dumps(self.model_dump(exclude_defaults=True), indent=2, ensure_ascii=False)
        draft = path.with_name(path.name + ".tmp")
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(path)
