"""Settings that restore the behavior of older versions of A1111."""

from typing import Annotated, Literal

from pydantic import Field

from modules.base.fields import Control
from modules.schema.settings.section import Section


class CompatibilitySettings(Section):
    """The section Compatibility."""

    use_old_emphasis_implementation: Annotated[
        bool,
        Field(description="Only brackets set weights and prompts end after 75 tokens, as in the first versions."),
        Control("Use old emphasis implementation", kind="checkbox", infotext="Old emphasis", ours=True,
                section="Compatibility"),
    ] = False  # fmt: skip
    use_old_karras_scheduler_sigmas: Annotated[
        bool,
        Field(description="Schedules run over noise levels from 0.1 to 10."),
        Control("Use old karras scheduler sigmas", kind="checkbox", infotext="Old Karras sigmas", ours=True,
                section="Compatibility"),
    ] = False  # fmt: skip
    no_dpmpp_sde_batch_determinism: Annotated[
        bool,
        Field(description="SDE samplers share noise within a batch, so its pictures differ from single ones."),
        Control("Do not make DPM++ SDE deterministic across batches", kind="checkbox", infotext="Shared SDE noise",
                ours=True, section="Compatibility"),
    ] = False  # fmt: skip
    use_old_scheduling: Annotated[
        bool,
        Field(description="Time prompt edits as A1111 did before 1.6."),
        Control("Use old prompt editing timelines", kind="checkbox", infotext="Old prompt editing timelines",
                section="Compatibility"),
    ] = False  # fmt: skip
    use_downcasted_alpha_bar: Annotated[
        bool,
        Field(description="Round the checkpoint's noise levels to half precision, as A1111 did before 1.7."),
        Control("Downcast model alphas_cumprod to fp16 before sampling", kind="checkbox",
                infotext="Downcast alphas_cumprod", section="Compatibility"),
    ] = False  # fmt: skip
    use_old_hires_fix_width_height: Annotated[
        bool,
        Field(description="In hires. fix, width and height are the size of the result instead of the first pass."),
        Control("For hires fix, use width/height sliders to set final resolution", kind="checkbox",
                infotext="Old hires size", ours=True, section="Compatibility"),
    ] = False  # fmt: skip
    refiner_switch_by_sample_steps: Annotated[
        bool,
        Field(description="Switch to the refiner at a fraction of the steps instead of the noise."),
        Control("Switch to refiner by sampling steps instead of model timesteps", kind="checkbox",
                infotext="Refiner switch by sampling steps", section="Compatibility"),
    ] = False  # fmt: skip
    hires_fix_refiner_pass: Annotated[
        Literal["first pass", "second pass", "both passes"],
        Field(description="Passes of hires. fix in which the refiner is used."),
        Control("Hires fix: which pass to enable refiner for", kind="radio",
                choices=("first pass", "second pass", "both passes"), infotext="Hires refiner",
                section="Compatibility"),
    ] = "second pass"  # fmt: skip
