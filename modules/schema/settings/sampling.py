"""Settings of the samplers and their schedules."""

from typing import Annotated, Literal

from pydantic import Field

from modules.base.fields import Control
from modules.schema.settings.section import Section


class SamplerSettings(Section):
    """The section Sampler parameters."""

    eta_ancestral: Annotated[
        float,
        Field(ge=0, le=1, description="Share of new noise per step in ancestral and SDE samplers."),
        Control("Eta for k-diffusion samplers", kind="slider", step=0.01, infotext="Eta",
                section="Sampler parameters"),
    ] = 1.0  # fmt: skip
    eta_ddim: Annotated[
        float,
        Field(ge=0, le=1, description="Share of new noise per step in DDIM; 0 is deterministic."),
        Control("Eta for DDIM", kind="slider", step=0.01, infotext="Eta DDIM", section="Sampler parameters"),
    ] = 0.0
    s_churn: Annotated[
        float,
        Field(ge=0, le=100, description="Noise added before each step of Euler, Heun and DPM2."),
        Control("sigma churn", kind="slider", step=0.01, infotext="Sigma churn", section="Sampler parameters"),
    ] = 0.0
    s_tmin: Annotated[
        float,
        Field(ge=0, le=10, description="Lowest noise level at which churn acts."),
        Control("sigma tmin", kind="slider", step=0.01, infotext="Sigma tmin", section="Sampler parameters"),
    ] = 0.0
    s_tmax: Annotated[
        float,
        Field(ge=0, le=999, description="Highest noise level at which churn acts; 0 for no limit."),
        Control("sigma tmax", kind="slider", step=0.01, infotext="Sigma tmax", section="Sampler parameters"),
    ] = 0.0
    s_noise: Annotated[
        float,
        Field(ge=0, le=1.1, description="Multiplies the noise added during sampling."),
        Control("sigma noise", kind="slider", step=0.001, infotext="Sigma noise", section="Sampler parameters"),
    ] = 1.0
    sigma_min: Annotated[
        float,
        Field(ge=0, le=10, description="Lowest noise level of the schedule; 0 uses the checkpoint's."),
        Control("sigma min", kind="number", infotext="Schedule min sigma", section="Sampler parameters"),
    ] = 0.0
    sigma_max: Annotated[
        float,
        Field(ge=0, le=100, description="Highest noise level of the schedule; 0 uses the checkpoint's."),
        Control("sigma max", kind="number", infotext="Schedule max sigma", section="Sampler parameters"),
    ] = 0.0
    rho: Annotated[
        float,
        Field(ge=0, le=100, description="rho of Karras and Polyexponential; 0 uses their defaults, 7 and 1."),
        Control("rho", kind="number", infotext="Schedule rho", section="Sampler parameters"),
    ] = 0.0
    eta_noise_seed_delta: Annotated[
        int,
        Field(ge=0, le=2**63 - 1, description="Added to the seed of the noise in ancestral samplers (ENSD)."),
        Control("Eta noise seed delta", kind="number", infotext="ENSD", section="Sampler parameters"),
    ] = 0
    always_discard_next_to_last_sigma: Annotated[
        bool,
        Field(description="Compute one more noise level and drop the next-to-last."),
        Control("Always discard next-to-last sigma", kind="checkbox", infotext="Discard penultimate sigma",
                section="Sampler parameters"),
    ] = False  # fmt: skip
    sgm_noise_multiplier: Annotated[
        bool,
        Field(description="Scale txt2img's initial noise as Stability AI's code does."),
        Control("SGM noise multiplier", kind="checkbox", infotext="SGM noise multiplier",
                section="Sampler parameters"),
    ] = False  # fmt: skip
    uni_pc_variant: Annotated[
        Literal["bh1", "bh2", "vary_coeff"],
        Field(description="Which formula UniPC uses."),
        Control("UniPC variant", kind="radio", choices=("bh1", "bh2", "vary_coeff"), infotext="UniPC variant",
                ours=True, section="Sampler parameters"),
    ] = "bh1"  # fmt: skip
    uni_pc_skip_type: Annotated[
        Literal["time_uniform", "time_quadratic", "logSNR"],
        Field(description="How UniPC spaces its steps."),
        Control("UniPC skip type", kind="radio", choices=("time_uniform", "time_quadratic", "logSNR"),
                infotext="UniPC skip type", ours=True, section="Sampler parameters"),
    ] = "time_uniform"  # fmt: skip
    uni_pc_order: Annotated[
        int,
        Field(ge=1, le=50, description="Order of UniPC, at most the number of steps."),
        Control("UniPC order", kind="slider", step=1, infotext="UniPC order", ours=True,
                section="Sampler parameters"),
    ] = 3  # fmt: skip
    uni_pc_lower_order_final: Annotated[
        bool,
        Field(description="Lower UniPC's order in the last steps."),
        Control("UniPC lower order final", kind="checkbox", infotext="UniPC lower order final", ours=True,
                section="Sampler parameters"),
    ] = True  # fmt: skip
    sd_noise_schedule: Annotated[
        Literal["Default", "Zero Terminal SNR"],
        Field(description="The checkpoint's own noise levels, or rescaled so that the last is pure noise."),
        Control("Noise schedule for sampling", kind="radio", choices=("Default", "Zero Terminal SNR"),
                infotext="Noise Schedule", section="Sampler parameters"),
    ] = "Default"  # fmt: skip
    beta_dist_alpha: Annotated[
        float,
        Field(ge=0.01, le=1, description="Alpha of the Beta schedule."),
        Control("Beta scheduler - alpha", kind="slider", step=0.01,
                infotext="Beta schedule alpha", section="Sampler parameters"),
    ] = 0.6  # fmt: skip
    beta_dist_beta: Annotated[
        float,
        Field(ge=0.01, le=1, description="Beta of the Beta schedule."),
        Control("Beta scheduler - beta", kind="slider", step=0.01,
                infotext="Beta schedule beta", section="Sampler parameters"),
    ] = 0.6  # fmt: skip
