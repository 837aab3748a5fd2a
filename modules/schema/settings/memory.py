"""Settings for how much memory checkpoints may use."""

from typing import Annotated, Literal

from pydantic import Field

from modules.base.fields import Control
from modules.schema.settings.section import Section

CHECKPOINTS = 3  # a job may use one, another for its second pass, and a refiner


class MemorySettings(Section):
    """The section Memory."""

    sd_checkpoints_limit: Annotated[
        int,
        Field(ge=1, le=10, description="Most checkpoints that stay loaded; those used longest ago are let go first."),
        Control("Checkpoints to keep loaded", kind="slider", step=1, section="Memory"),
    ] = CHECKPOINTS
    sd_checkpoints_ram: Annotated[
        float,
        Field(ge=0, le=1024, description="Gigabytes of RAM that loaded checkpoints may take; 0 is what is free."),
        Control("Memory for checkpoints, RAM (GB)", kind="number", section="Memory"),
    ] = 0.0
    sd_checkpoints_vram: Annotated[
        float,
        Field(ge=0, le=1024, description="The same for the graphics card's memory."),
        Control("Memory for checkpoints, VRAM (GB)", kind="number", section="Memory"),
    ] = 0.0
    fp8_storage: Annotated[
        Literal["Disable", "Enable for SDXL", "Enable"],
        Field(description="Keep the UNet's weights as 8 bit numbers: half the memory, and a slightly other picture."),
        Control(
            "FP8 weight", kind="radio", choices=("Disable", "Enable for SDXL", "Enable"), infotext="FP8 weight",
            absent="Disable", section="Memory",
        ),
    ] = "Disable"  # fmt: skip
