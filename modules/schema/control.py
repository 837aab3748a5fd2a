"""Control units: pictures that guide the composition of a result, each through a ControlNet."""

from typing import Annotated, Any, Final, Literal, Self, get_args

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
Start = Annotated[
    float,
    Field(ge=0, le=1, description="Share of the steps at which the unit begins to act."),
    Control("Starting Control Step", kind="slider", step=0.01),
]
End = Annotated[
    float,
    Field(ge=0, le=1, description="Share of the steps at which the unit stops."),
    Control("Ending Control Step", kind="slider", step=0.01),
]


class ControlUnit(Strict):
    """One control picture and its options. Names and meanings are sd-webui-controlnet's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: int | None = Field(
        default=None, ge=0, description="Number of its picture in control_images, from 0; null is the img2img source."
    )
    module: Annotated[str, Control("Preprocessor", kind="dropdown")] = Field(
        default="none", max_length=100, description="Name of the preprocessor; none uses the picture."
    )
    model: Annotated[str, Control("Model", kind="dropdown")] = Field(
        default=NOTHING, max_length=500, description="Name of the ControlNet, with or without its hash."
    )
    weight: Weight = 1.0
    resize_mode: Annotated[FitMode, Control("Resize Mode", choices=get_args(FitMode))] = Field(
        default=CROP, description="How a map of another shape is fitted to the result."
    )
    processor_res: Resolution = BY_ITSELF
    threshold_a: float = Field(default=BY_ITSELF, description="First number of the preprocessor; -1 is its default.")
    threshold_b: float = Field(default=BY_ITSELF, description="Second number of the preprocessor; -1 is its default.")
    guidance_start: Start = 0.0
    guidance_end: End = 1.0
    pixel_perfect: Annotated[bool, Control("Pixel Perfect")] = Field(
        default=False, description="Use the result's resolution for the preprocessor."
    )
    control_mode: Annotated[ControlMode, Control("Control Mode", choices=get_args(ControlMode))] = Field(
        default=BALANCED, description="Whether prompt or ControlNet has more influence."
    )
    hr_option: Annotated[PassChoice, Control("Hires-Fix Option", choices=get_args(PassChoice))] = Field(
        default=BOTH, description="The passes of hires. fix in which the unit acts."
    )

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
