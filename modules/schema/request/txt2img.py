"""The request for a picture from a prompt alone."""

from typing import Any, Self

from pydantic import ValidationInfo, field_validator

from modules.base.errors import WebuiError
from modules.schema.request.fields import DenoisingStrength
from modules.schema.request.generation import GenerationRequest, bounded, whole
from modules.schema.request.hires import (
    EnableHr,
    HrCheckpointName,
    HrNegativePrompt,
    HrPrompt,
    HrResizeX,
    HrResizeY,
    HrSamplerName,
    HrScale,
    HrScheduler,
    HrSecondPassSteps,
    HrUpscaler,
)
from modules.schema.sampler_names import resolve_names
from modules.schema.upscalers import UPSCALERS, find


class Txt2ImgRequest(GenerationRequest):
    """A picture from a prompt; `enable_hr` first makes a small one, then enlarges and redraws it (hires. fix)."""

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
        """The name unchanged. More upscalers may be installed, so admission checks whether this one exists."""
        row = find(value, UPSCALERS)
        if row is not None:
            return row.name
        return value if info.data.get("enable_hr") else "Latent"  # as in A1111, an unused name is not checked

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
