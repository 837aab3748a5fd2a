"""Which settings apply to a job, and which of them are written to its infotext. Pure."""

from collections.abc import Collection

from modules.infotext.write import differing
from modules.schema.request import GenerationRequest, Img2ImgRequest
from modules.schema.sampler_names import CHURN, resolve_names
from modules.schema.settings import EXACT, Settings

# They are written where they had an effect, which the engine notes while it runs.
NOTED = frozenset(
    {
        "s_min_uncond", "s_min_uncond_all", "skip_early_cond", "pad_cond_uncond", "pad_cond_uncond_v0", "emphasis",
        "use_old_scheduling", "hires_fix_refiner_pass", "sdxl_crop_top", "sdxl_crop_left", "sdxl_clip_l_skip",
        "sdxl_refiner_low_aesthetic_score", "sdxl_refiner_high_aesthetic_score",
    }
)  # fmt: skip
UNIPC = ("uni_pc_variant", "uni_pc_skip_type", "uni_pc_order", "uni_pc_lower_order_final")
IMG2IMG_ALONE = ("initial_noise_multiplier", "img2img_fix_steps", "img2img_background_color",
                 "upscaler_for_img2img", "img2img_color_correction", "overlay_inpaint")  # fmt: skip
DEFAULT_RHO = {"Karras": 7.0, "Polyexponential": 1.0}


def effective(request: GenerationRequest, settings: Settings) -> Settings:
    """`settings` with the request's overrides and with its fields of the same names."""
    settings = settings.overridden(request.override_settings)
    overrides: dict[str, object] = {}
    for name in ("s_min_uncond", "tiling"):
        overrides[name] = getattr(request, name)
    overrides["eta_ancestral"] = overrides["eta_ddim"] = request.eta
    if isinstance(request, Img2ImgRequest):
        overrides["initial_noise_multiplier"] = request.initial_noise_multiplier
    overrides |= _merging(request, settings)
    for name in CHURN:
        # In A1111 a changed setting takes precedence over the request.
        if settings.compatibility != EXACT or getattr(settings, name) == getattr(Settings(), name):
            overrides[name] = getattr(request, name)
    return settings.overridden({name: value for name, value in overrides.items() if value is not None})


def _merging(request: GenerationRequest, settings: Settings) -> dict[str, object]:
    """The token merging ratios of the first and the second pass, in A1111's order of precedence."""
    first = settings.token_merging_ratio
    if isinstance(request, Img2ImgRequest):
        is_overridden = "token_merging_ratio" in request.override_settings and first > 0
        return {"token_merging_ratio": first if is_overridden else settings.token_merging_ratio_img2img or first}
    return {"token_merging_ratio_hr": settings.token_merging_ratio_hr or first}


def named_settings(request: GenerationRequest, given: Settings, settings: Settings, noted: Collection[str]) -> set[str]:
    """The settings written to the infotext.

    `given` are the settings without the request's overrides, `settings` the effective ones, `noted` those that had an
    effect.
    """
    passes = [resolve_names(request.sampler_name, request.scheduler)]
    if getattr(request, "enable_hr", False):
        passes.append(
            resolve_names(
                getattr(request, "hr_sampler_name", "") or request.sampler_name,
                getattr(request, "hr_scheduler", "") or request.scheduler,
            )
        )
    read = {option for sampler, _ in passes for option in sampler.options}
    schedules = {
        sampler.default_schedule or "" if schedule.name == "Automatic" else schedule.name
        for sampler, schedule in passes
        if not sampler.timesteps
    }
    named = schedules - {""}
    silent: set[str] = set(NOTED) - set(noted)
    silent |= {name for name in CHURN if name not in read}
    if settings.compatibility == EXACT:  # A1111 writes the setting only, not the request's field
        before = given.overridden(request.override_settings)
        silent |= {name for name in CHURN if getattr(before, name) == getattr(Settings(), name)}
    silent |= {"eta_ancestral"} if "eta" not in read else set()
    silent |= {"eta_ddim"} if "eta_ddim" not in read else set()
    eta = settings.eta_ddim if passes[0][0].timesteps else settings.eta_ancestral
    if not passes[0][0].uses_ensd or eta == 0:
        silent.add("eta_noise_seed_delta")
    if not named:
        silent |= {"sigma_min", "sigma_max", "rho", "use_old_karras_scheduler_sigmas"}
    if not any(settings.rho != DEFAULT_RHO.get(name, settings.rho) for name in named):
        silent.add("rho")
    if all(sampler.discard_next_to_last_sigma for sampler, _ in passes):
        silent.add("always_discard_next_to_last_sigma")
    silent |= {name for name in UNIPC if name not in read}
    if not any(sampler.brownian for sampler, _ in passes):
        silent.add("no_dpmpp_sde_batch_determinism")
    is_img2img = isinstance(request, Img2ImgRequest)
    if is_img2img or passes[0][0].timesteps:
        silent.add("sgm_noise_multiplier")
    if not is_img2img:
        silent |= set(IMG2IMG_ALONE)
    if len(passes) == 1:
        silent |= {"token_merging_ratio_hr"} if is_img2img else {"token_merging_ratio_hr", "img2img_extra_noise"}
    silent.add("use_old_hires_fix_width_height")  # the written sizes are those after it
    beta = {"beta_dist_alpha", "beta_dist_beta"}
    return ((differing(settings) - beta) | (beta if "Beta" in named else set())) - silent
