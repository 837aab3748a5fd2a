"""Control units: pictures that guide the composition of a result, each through a ControlNet."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from modules.base.fields import Control, Strict, number_not_bool

MOST_UNITS: Final = 10  # in one request; sd-webui-controlnet's largest setting
NOTHING: Final = "None"  # instead of a model's name
BY_ITSELF: Final = -1  # uses the preprocessor's default

BALANCED, PROMPT, CONTROL = "Balanced", "My prompt is more important", "ControlNet is more important"
STRETCH, CROP, FILL = "Just Resize", "Crop and Resize", "Resize and Fill"
BOTH, FIRST, SECOND = "Both", "Low res only", "High res only"

ControlMode = Literal["Balanced", "My prompt is more important", "ControlNet is more important"]
FitMode = Literal["Just Resize", "Crop and Resize", "Resize and Fill"]
PassChoice = Literal["Both", "Low res only", "High res only"]

Weight = Annotated[
    float,
    Field(ge=0, le=2, description="How strongly the unit acts; 0 turns it off."),
    Control("Control Weight", kind="slider", step=0.05),
]
Resolution = Annotated[
    int,
    Field(ge=-1, le=2048, description="Short side of the picture in the preprocessor, in pixels; -1 uses its default."),
    Control("Preprocessor resolution", kind="slider", step=8, minimum=64),
]
Share = Annotated[float, Field(ge=0, le=1), Control("Share of the steps", kind="slider", step=0.01)]


class ControlUnit(Strict):
    """One control picture and its options. Names and meanings are sd-webui-controlnet's.

    image: the index of its picture in the request's `control_images`, from 0; null uses the source of img2img.
    module: the preprocessor.  model: the ControlNet.  threshold_a, threshold_b: the preprocessor's parameters; -1 uses
    its default.  guidance_start, guidance_end: fractions of the steps (0 to 1) between which the unit acts.
    pixel_perfect: the preprocessor works at the result's resolution.  hr_option: the hires. fix passes it acts in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: int | None = Field(default=None, ge=0)
    module: str = Field(default="none", max_length=100)
    model: str = Field(default=NOTHING, max_length=500)
    weight: Weight = 1.0
    resize_mode: FitMode = CROP
    processor_res: Resolution = BY_ITSELF
    threshold_a: float = BY_ITSELF
    threshold_b: float = BY_ITSELF
    guidance_start: Share = 0.0
    guidance_end: Share = 1.0
    pixel_perfect: bool = False
    control_mode: ControlMode = BALANCED
    hr_option: PassChoice = BOTH

    @field_validator("*", mode="before")
    @classmethod
    def _number_not_bool(cls, value: Any, info: ValidationInfo) -> Any:
        return number_not_bool(cls, info.field_name or "", value)

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> Self:
        if self.guidance_start > self.guidance_end:
            raise ValueError(
                f"guidance_start = {self.guidance_start} is after guidance_end = {self.guidance_end}; swap them"
            )
        return self

    @property
    def is_used(self) -> bool:
        """Whether it can change a picture."""
        return self.weight > 0

    @property
    def has_model(self) -> bool:
        return self.model.strip().casefold() not in ("", "none")
