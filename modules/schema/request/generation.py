"""What txt2img and img2img have in common: the base class of a request."""

import random
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from modules.base.errors import WebuiError
from modules.base.fields import Strict, explained, number_not_bool
from modules.base.picture import Picture
from modules.schema.control import MOST_UNITS, ControlUnit
from modules.schema.request.fields import (
    MAX_SEED,
    BatchCount,
    BatchSize,
    CfgScale,
    Eta,
    Height,
    NegativePrompt,
    Prompt,
    RefinerCheckpoint,
    RefinerSwitchAt,
    SamplerName,
    Scheduler,
    SChurn,
    Seed,
    SeedResizeFromH,
    SeedResizeFromW,
    SMinUncond,
    SNoise,
    Steps,
    STmax,
    STmin,
    Subseed,
    SubseedStrength,
    Tiling,
    Width,
)
from modules.schema.sampler_names import resolve_names

MAX_PROMPT = 20_000  # characters; a prompt of 300 tokens has about 1500
SEED_RANGE = 4_294_967_294  # a random seed is 0 to 4294967293, as in A1111


def counted_up(seed: int, by: int) -> int:
    """The seed `by` pictures after `seed`; wraps to 0 after the largest."""
    counted = seed + by
    return counted if counted <= MAX_SEED else counted - MAX_SEED - 1


def bounded(value: str) -> str:
    """A prompt without NUL and lone surrogates, which JSON may contain but files and tokenizers cannot."""
    if len(value) > MAX_PROMPT:
        raise ValueError(f"has {len(value)} characters, at most {MAX_PROMPT} are allowed; shorten it")
    return value.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def whole(value: Any) -> Any:
    """20.0 as 20, because sliders and JavaScript send whole numbers that way; 20.5 stays an error."""
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
    override_settings: dict[str, Any] = Field(default_factory=dict, description="Settings for this job only.")
    script_name: str = Field(
        default="", max_length=200, description="Script that turns this job into several; /v1/scripts lists them."
    )
    script_args: tuple[Any, ...] = Field(default=(), description="The script's arguments, in order.")
    controlnet: tuple[ControlUnit, ...] = Field(
        default=(), max_length=MOST_UNITS, description="Pictures that hold the composition, each through a ControlNet."
    )
    control_images: tuple[Picture, ...] = Field(
        default=(), max_length=MOST_UNITS, description="The pictures of `controlnet`, which names them by number."
    )
    extensions: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Arguments of extensions by their names. One that is not named does nothing."
    )

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
        """A request from untyped values; raises WebuiError with one sentence about the first wrong field."""
        try:
            request = cls(**values)
        except ValidationError as error:
            raise explained(cls, error) from error
        for number, unit in enumerate(request.controlnet):
            if unit.image is not None and unit.image >= len(request.control_images):
                raise WebuiError(
                    f"controlnet: unit {number} has the picture {unit.image}, but control_images has "
                    f"{len(request.control_images)}.",
                    "Count them from 0.",
                    "controlnet",
                )
        sampler, scheduler = resolve_names(request.sampler_name, request.scheduler)
        return request.model_copy(update={"sampler_name": sampler.name, "scheduler": scheduler.name})

    def resolved(self, draw: random.Random) -> Self:
        """The same request with random seeds in place of −1, so that it can be repeated exactly.

        A script still sees the seed −1, because it may want a new one for each picture; it draws them from the subseed.
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
        """Number of pictures the job makes."""
        return self.n_iter * self.batch_size
