"""Settings: what stays the same from job to job. Declared like requests; option names are A1111's.

A frozen snapshot travels with each job. `overridden()` gives another object, so that there is nothing to restore.
"""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from modules.base.disk import write_over
from modules.base.errors import WebuiError
from modules.base.fields import Control, explained, few, number_not_bool
from modules.base.kept import Unreadable, copy_aside, read_json

log = logging.getLogger(__name__)

EXACT = "A1111 exact"
OURS = "Palimpsest"

MASK, COMPOSITE = "-mask", "-mask-composite"  # ends of file names
MOST_TOLD = 20  # entries of a settings file that are passed over, each in a line of its own
CSS_HEX = re.compile(r"#[0-9a-fA-F]{6}")


class Settings(BaseModel):
    """All settings of Palimpsest, with A1111's names where they mean the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compatibility: Annotated[
        Literal["A1111 exact", "Palimpsest"],
        Field(
            description="Where A1111 loses words or edits of a prompt: do as it does, or as was meant. "
            "Pictures of A1111 and requests of its clients are made exactly, whatever stands here."
        ),
        Control(
            "Compatibility", kind="radio", choices=(EXACT, OURS), infotext="Compatibility", absent=EXACT,
            section="Stable Diffusion",
        ),
    ] = OURS  # fmt: skip
    sd_model_checkpoint: Annotated[
        str,
        Field(description="Checkpoint to load, by name; empty takes the first that is found."),
        Control("Stable Diffusion checkpoint", kind="dropdown", choices="checkpoints", section="Stable Diffusion"),
    ] = ""
    sd_vae: Annotated[
        str,
        Field(
            description="VAE to encode and decode with. Automatic takes NAME.vae.safetensors for the checkpoint NAME, "
            "beside it or in models/VAE, else the checkpoint's own; None always takes that."
        ),
        Control("SD VAE", kind="dropdown", choices="vaes", section="Stable Diffusion"),
    ] = "Automatic"
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
        Control("Prompt word wrap length limit", kind="slider", step=1, infotext="Word wrap limit", ours=True,
                section="Stable Diffusion"),
    ] = 20  # fmt: skip
    enable_prompt_comments: Annotated[
        bool,
        Field(description="In prompts, leave out what follows a # to the end of its line."),
        Control("Enable comments", kind="checkbox", infotext="Prompt comments", absent=True, ours=True,
                section="Stable Diffusion"),
    ] = True  # fmt: skip
    randn_source: Annotated[
        Literal["GPU", "CPU", "NV"],
        Field(description="Random numbers: GPU (the device's), CPU, or NV (an NVIDIA GPU's, on any device)."),
        Control(
            "Random number generator source", kind="radio", choices=("GPU", "CPU", "NV"), infotext="RNG",
            absent="GPU", section="Stable Diffusion",
        ),
    ] = "CPU"  # fmt: skip
    tiling: Annotated[
        bool,
        Field(description="Make pictures whose left edge fits the right one, and the top the bottom."),
        Control("Tiling", kind="checkbox", infotext="Tiling", absent=False, section="Stable Diffusion"),
    ] = False
    pad_cond_uncond: Annotated[
        bool,
        Field(description="Fill the shorter of prompt and negative prompt with empty chunks, so that one pass does."),
        Control("Pad prompt/negative prompt", kind="checkbox", infotext="Pad conds", section="Stable Diffusion"),
    ] = False
    pad_cond_uncond_v0: Annotated[
        bool,
        Field(description="As A1111 padded before 1.6: with the last token, cutting a longer negative prompt off."),
        Control("Pad prompt/negative prompt (v0)", kind="checkbox", infotext="Pad conds v0",
                section="Stable Diffusion"),
    ] = False  # fmt: skip
    batch_cond_uncond: Annotated[
        bool,
        Field(description="Send prompt and negative prompt through the network together; off saves memory."),
        Control("Batch cond/uncond", kind="checkbox", section="Stable Diffusion"),
    ] = True
    s_min_uncond: Annotated[
        float,
        Field(ge=0, le=15, description="Below this noise level leave the negative prompt out of every other step."),
        Control("Negative Guidance minimum sigma", kind="slider", step=0.01, infotext="NGMS",
                section="Stable Diffusion"),
    ] = 0.0  # fmt: skip
    s_min_uncond_all: Annotated[
        bool,
        Field(description="Leave it out of all steps below that level, not only of every other."),
        Control("Negative Guidance minimum sigma all steps", kind="checkbox", infotext="NGMS all steps",
                section="Stable Diffusion"),
    ] = False  # fmt: skip
    skip_early_cond: Annotated[
        float,
        Field(ge=0, le=1, description="Share of the steps, from the first on, that leave the negative prompt out."),
        Control("Ignore negative prompt during early sampling", kind="slider", step=0.01, infotext="Skip Early CFG",
                section="Stable Diffusion"),
    ] = 0.0  # fmt: skip
    token_merging_ratio: Annotated[
        float,
        Field(ge=0, le=0.9, description="Share of the picture's places that self-attention sees as one with others "
              "like them: quicker, with other details. 0 is off."),
        Control("Token merging ratio", kind="slider", step=0.1, infotext="Token merging ratio",
                section="Optimizations"),
    ] = 0.0  # fmt: skip
    token_merging_ratio_img2img: Annotated[
        float,
        Field(ge=0, le=0.9, description="The same for img2img alone; 0 takes the ratio above."),
        Control("Token merging ratio for img2img", kind="slider", step=0.1, section="Optimizations"),
    ] = 0.0
    token_merging_ratio_hr: Annotated[
        float,
        Field(ge=0, le=0.9, description="The same for the second pass of hires fix alone; 0 takes the ratio above."),
        Control("Token merging ratio for high-res pass", kind="slider", step=0.1, infotext="Token merging ratio hr",
                section="Optimizations"),
    ] = 0.0  # fmt: skip

    initial_noise_multiplier: Annotated[
        float,
        Field(ge=0, le=1.5, description="Multiplies the noise that is laid over the source."),
        Control("Noise multiplier for img2img", kind="slider", step=0.001, infotext="Noise multiplier",
                section="img2img"),
    ] = 1.0  # fmt: skip
    img2img_extra_noise: Annotated[
        float,
        Field(ge=0, le=1, description="Noise laid over the source beyond what the sampler takes away again."),
        Control("Extra noise multiplier for img2img and hires fix", kind="slider", step=0.01, infotext="Extra noise",
                absent=0.0, section="img2img"),
    ] = 0.0  # fmt: skip
    img2img_fix_steps: Annotated[
        bool,
        Field(description="Walk exactly as many steps as the slider says, whatever the denoising strength."),
        Control("With img2img, do exactly the amount of steps the slider specifies", kind="checkbox",
                infotext="Fix steps", ours=True, section="img2img"),
    ] = False  # fmt: skip
    img2img_background_color: Annotated[
        str,
        Field(description="Shows through where the source is transparent."),
        Control("Background color for transparent pictures", kind="textbox", infotext="Background color", ours=True,
                section="img2img"),
    ] = "#ffffff"  # fmt: skip
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
                infotext="Color correction", absent=False, ours=True, section="img2img"),
    ] = False  # fmt: skip
    overlay_inpaint: Annotated[
        bool,
        Field(description="Lay the original over the result where it was not masked, so that it keeps every byte."),
        Control("Overlay original for inpaint", kind="checkbox", infotext="Overlay original", absent=True, ours=True,
                section="img2img"),
    ] = True  # fmt: skip

    return_mask: Annotated[
        bool,
        Field(description="Show the mask after each inpainted picture; A1111's clients get it with the pictures."),
        Control("For inpainting, include the greyscale mask in results", kind="checkbox", section="img2img"),
    ] = False
    return_mask_composite: Annotated[
        bool,
        Field(description="Show what was painted under the mask alone, all else transparent, after each picture."),
        Control("For inpainting, include masked composite in results", kind="checkbox", section="img2img"),
    ] = False

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
    s_churn: Annotated[
        float,
        Field(ge=0, le=100, description="Noise added before each step of Euler, Heun and DPM2."),
        Control("sigma churn", kind="slider", step=0.01, infotext="Sigma churn", section="Sampler parameters"),
    ] = 0.0
    s_tmin: Annotated[
        float,
        Field(ge=0, le=10, description="Churn acts from this noise level up."),
        Control("sigma tmin", kind="slider", step=0.01, infotext="Sigma tmin", section="Sampler parameters"),
    ] = 0.0
    s_tmax: Annotated[
        float,
        Field(ge=0, le=999, description="Churn acts up to this noise level; 0 is no end."),
        Control("sigma tmax", kind="slider", step=0.01, infotext="Sigma tmax", section="Sampler parameters"),
    ] = 0.0
    s_noise: Annotated[
        float,
        Field(ge=0, le=1.1, description="Multiplies the noise that a sampler adds on its way."),
        Control("sigma noise", kind="slider", step=0.001, infotext="Sigma noise", section="Sampler parameters"),
    ] = 1.0
    sigma_min: Annotated[
        float,
        Field(ge=0, le=10, description="Lowest noise level of a schedule type; 0 is the checkpoint's."),
        Control("sigma min", kind="number", infotext="Schedule min sigma", section="Sampler parameters"),
    ] = 0.0
    sigma_max: Annotated[
        float,
        Field(ge=0, le=100, description="Highest noise level of a schedule type; 0 is the checkpoint's."),
        Control("sigma max", kind="number", infotext="Schedule max sigma", section="Sampler parameters"),
    ] = 0.0
    rho: Annotated[
        float,
        Field(ge=0, le=100, description="Bend of Karras and Polyexponential; 0 is their own, 7 and 1."),
        Control("rho", kind="number", infotext="Schedule rho", section="Sampler parameters"),
    ] = 0.0
    eta_noise_seed_delta: Annotated[
        int,
        Field(ge=0, le=2**63 - 1, description="Added to the seed of the noise that ancestral samplers draw (ENSD)."),
        Control("Eta noise seed delta", kind="number", infotext="ENSD", section="Sampler parameters"),
    ] = 0
    always_discard_next_to_last_sigma: Annotated[
        bool,
        Field(description="Ask for one noise level more and drop the one before the last."),
        Control("Always discard next-to-last sigma", kind="checkbox", infotext="Discard penultimate sigma",
                section="Sampler parameters"),
    ] = False  # fmt: skip
    sgm_noise_multiplier: Annotated[
        bool,
        Field(description="Begin txt2img with noise as Stability's own programs scale it."),
        Control("SGM noise multiplier", kind="checkbox", infotext="SGM noise multiplier",
                section="Sampler parameters"),
    ] = False  # fmt: skip
    uni_pc_variant: Annotated[
        Literal["bh1", "bh2", "vary_coeff"],
        Field(description="Which of UniPC's formulas."),
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
        Field(ge=1, le=50, description="UniPC's order; not more than there are steps."),
        Control("UniPC order", kind="slider", step=1, infotext="UniPC order", ours=True,
                section="Sampler parameters"),
    ] = 3  # fmt: skip
    uni_pc_lower_order_final: Annotated[
        bool,
        Field(description="Lower the order in UniPC's last steps."),
        Control("UniPC lower order final", kind="checkbox", infotext="UniPC lower order final", ours=True,
                section="Sampler parameters"),
    ] = True  # fmt: skip
    sd_noise_schedule: Annotated[
        Literal["Default", "Zero Terminal SNR"],
        Field(description="Noise levels of the checkpoint as trained, or rescaled so that the last is all noise."),
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

    use_old_emphasis_implementation: Annotated[
        bool,
        Field(description="Weights by brackets alone, and 75 tokens at most, as in the first days."),
        Control("Use old emphasis implementation", kind="checkbox", infotext="Old emphasis", ours=True,
                section="Compatibility"),
    ] = False  # fmt: skip
    use_old_karras_scheduler_sigmas: Annotated[
        bool,
        Field(description="Schedules span the noise levels 0.1 to 10."),
        Control("Use old karras scheduler sigmas", kind="checkbox", infotext="Old Karras sigmas", ours=True,
                section="Compatibility"),
    ] = False  # fmt: skip
    no_dpmpp_sde_batch_determinism: Annotated[
        bool,
        Field(description="SDE samplers share their noise in a batch, whose pictures then differ from single ones."),
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
        Field(description="For hires fix, take width and height for the result's size, not the first pass's."),
        Control("For hires fix, use width/height sliders to set final resolution", kind="checkbox",
                infotext="Old hires size", ours=True, section="Compatibility"),
    ] = False  # fmt: skip
    refiner_switch_by_sample_steps: Annotated[
        bool,
        Field(description="Let the refiner take over by the share of steps, not of the noise."),
        Control("Switch to refiner by sampling steps instead of model timesteps", kind="checkbox",
                infotext="Refiner switch by sampling steps", section="Compatibility"),
    ] = False  # fmt: skip
    hires_fix_refiner_pass: Annotated[
        Literal["first pass", "second pass", "both passes"],
        Field(description="In which passes of hires fix the refiner takes over."),
        Control("Hires fix: which pass to enable refiner for", kind="radio",
                choices=("first pass", "second pass", "both passes"), infotext="Hires refiner",
                section="Compatibility"),
    ] = "second pass"  # fmt: skip

    infotext_styles: Annotated[
        Literal["Ignore", "Apply", "Discard", "Apply if any"],
        Field(
            description="What pasted parameters make of styles that their prompts bear. Ignore leaves them there; "
            "Discard takes them out; Apply chooses them instead, Apply if any only where there are some."
        ),
        Control("Infer styles from prompts of pasted infotext", kind="radio",
                choices=("Ignore", "Apply", "Discard", "Apply if any"), section="Infotext"),
    ] = "Apply if any"  # fmt: skip

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

    save_mask: Annotated[
        bool,
        Field(description="Save the mask beside each inpainted picture, as NUMBER-SEED-mask."),
        Control("For inpainting, save a copy of the greyscale mask", kind="checkbox", section="Saving images"),
    ] = False
    save_mask_composite: Annotated[
        bool,
        Field(description="Save what was painted under the mask alone, as NUMBER-SEED-mask-composite."),
        Control("For inpainting, save a masked composite", kind="checkbox", section="Saving images"),
    ] = False
    save_init_img: Annotated[
        bool,
        Field(description="Save each source picture in outputs/init-images, named by the MD5 of its pixels."),
        Control("Save init images when using img2img", kind="checkbox", section="Saving images"),
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

    @field_validator("sd_vae")
    @classmethod
    def _a_vae(cls, value: str) -> str:
        if len(value) > 500:
            raise ValueError("a VAE's name has at most 500 characters")
        return value.strip() or "Automatic"

    def overridden(self, values: dict[str, Any]) -> Self:
        """Another Settings with `values` in place. Raises WebuiError naming the first that does not fit."""
        if not values:
            return self
        try:
            return type(self)(**{**self.model_dump(), **few(type(self), values)})
        except ValidationError as error:
            raise explained(type(self), error) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a JSON file, as far as it can be read; what is missing has its default. What cannot be read is told."""
        settings, unread = cls.read(path)
        for reason in unread[:MOST_TOLD]:
            log.warning("%s is passed over where it says: %s", path, reason)
        if len(unread) > MOST_TOLD:
            log.warning("%s: %d more of its entries are passed over.", path, len(unread) - MOST_TOLD)
        return settings

    @classmethod
    def read(cls, path: Path) -> tuple[Self, tuple[str, ...]]:
        """(the settings in a file, why some of it could not be read). A missing file is all defaults."""
        settings = cls()
        try:
            values = read_json(path)
        except FileNotFoundError:
            return settings, ()
        except Unreadable as reason:
            return settings, (f"{reason}.",)
        if not isinstance(values, dict):
            return settings, ("it is no JSON object.",)
        unread: list[str] = []
        for name, value in cast(dict[str, Any], values).items():
            try:
                settings = settings.overridden({name: value})
            except WebuiError as error:
                unread.append(str(error))
        return settings, tuple(unread)

    @property
    def beside(self) -> Mapping[str, bool]:
        """What belongs to an inpainted picture, by the suffix of its name, and whether it is shown."""
        wanted = {
            MASK: (self.return_mask, self.save_mask),
            COMPOSITE: (self.return_mask_composite, self.save_mask_composite),
        }
        return {suffix: shown for suffix, (shown, saved) in wanted.items() if shown or saved}

    def is_saved(self, suffix: str) -> bool:
        """Whether a picture with this suffix has a file also where its client alone is to have it."""
        return {MASK: self.save_mask, COMPOSITE: self.save_mask_composite}.get(suffix, True)

    def save(self, path: Path) -> None:
        """Write what differs from the defaults, durably; a file that was not understood whole is kept beside it.

        Raises OSError if the disk refuses; then the old file stands.
        """
        if self.read(path)[1]:
            copy_aside(path)
        text = json.dumps(self.model_dump(exclude_defaults=True), indent=2, ensure_ascii=False)
        write_over(path, f"{text}\n".encode())
