"""What an axis can vary, in A1111's order, because clients refer to an axis by number; then those of ControlNets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from modules.base.errors import WebuiError
from modules.extension.hooks import Request, changed, overriding
from modules.images.preprocessors import PREPROCESSORS
from modules.infotext.grammar import FormKind
from modules.schema.catalog import Catalog
from modules.schema.control import ControlMode, FitMode
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings

from .units import of_unit
from .values import Grammar, listed

BOOLEANS = ("True", "False")
Apply = Callable[[Any, Any, Sequence[Any]], Any]  # (request, value, all values of the axis) -> request
Choices = Callable[[Catalog], Sequence[str]]


@dataclass(frozen=True)
class Axis:
    """`cost` is high for values that are slow to change: that axis becomes the outermost loop. `missing` is the reason

    why the axis is not offered. `acts` are the forms in which it has an effect; A1111 numbers it in both.
    """

    label: str
    grammar: Grammar
    apply: Apply
    kinds: tuple[FormKind, ...] = ("txt2img", "img2img")
    names_label: bool = True  # in the legend, before the value
    choices: Choices | None = None
    cost: float = 0.0
    missing: str = ""
    acts: tuple[FormKind, ...] = ("txt2img", "img2img")

    def legend(self, value: Any) -> str:
        """The text of `value` in the legend."""
        if self.label == "Nothing":
            return ""
        if self.grammar == "orders":
            return ", ".join(listed(value))
        text = str(round(value, 8)) if isinstance(value, float) else str(value)
        if self.label in ("Checkpoint name", "Refiner checkpoint"):
            return text.replace("\\", "/").rpartition("/")[2]
        return f"{self.label}: {text}" if self.names_label else text


def axes(kind: FormKind) -> tuple[Axis, ...]:
    """The axes of a form; the number of an axis is its index."""
    return tuple(_in_form(axis, kind) for axis in AXES if kind in axis.kinds)


def _in_form(axis: Axis, kind: FormKind) -> Axis:
    return axis if kind in axis.acts or axis.missing else replace(axis, missing=f"it has no effect in {kind}")


def replaced(request: Request, value: str, every: Sequence[str]) -> Request:
    """Prompt S/R: replaces the first of the values by `value` everywhere in the prompts."""
    searched = every[0]
    if searched not in request.prompt and searched not in request.negative_prompt:
        raise WebuiError(
            f"Prompt S/R: {searched!r} is in neither the prompt nor the negative prompt.",
            "The first value is the text to search for.",
        )
    return changed(
        request,
        {
            "prompt": request.prompt.replace(searched, value),
            "negative_prompt": request.negative_prompt.replace(searched, value),
        },
    )


def ordered(request: Request, value: str, every: Sequence[str]) -> Request:
    """Prompt order: puts the words of `value` into its order; the text between them stays."""
    words = listed(value)
    rest, between = request.prompt, ""
    absent = [word for word in words if word not in rest]
    if absent:
        raise WebuiError(f"Prompt order: {absent[0]!r} is not in the prompt.")
    result = ""
    for place, word in enumerate(sorted(words, key=request.prompt.find)):
        between, _, rest = rest.partition(word)
        result += between + words[place]
    return changed(request, {"prompt": result + rest})


def sized(request: Request, value: str, every: Sequence[str]) -> Request:
    """Size: 512x768."""
    width, _, height = value.lower().partition("x")
    if not (width.strip().isdecimal() and height.strip().isdecimal()):
        raise WebuiError(f"Size = {value[:60]!r}: expected a size such as 512x768.")
    return changed(request, {"width": int(width), "height": int(height)})


def styled(request: Request, value: str, every: Sequence[str]) -> Request:
    """Styles: comma-separated names, added to the selected ones."""
    return changed(request, {"styles": (*getattr(request, "styles", ()), *listed(value))})


def unipc_order(request: Request, value: int, every: Sequence[int]) -> Request:
    return overriding(request, {"uni_pc_order": max(1, min(value, request.steps - 1))})


def nothing(request: Request, value: Any, every: Sequence[Any]) -> Request:
    return request


def field(name: str) -> Apply:
    return lambda request, value, every: changed(request, {name: value})


def setting(name: str) -> Apply:
    return lambda request, value, every: overriding(request, {name: value})


def switch(name: str) -> Apply:
    return lambda request, value, every: overriding(request, {name: str(value).strip().lower() == "true"})


def _field(label: str, grammar: Grammar, name: str, *, why: str = "there is no such parameter", **more: Any) -> Axis:
    known = any(
        name in model.model_fields
        for kind, model in (("txt2img", Txt2ImgRequest), ("img2img", Img2ImgRequest))
        if kind in more.get("kinds", ("txt2img", "img2img"))
    )
    return Axis(label, grammar, field(name), missing="" if known else why, **more)


def _setting(label: str, grammar: Grammar, name: str, *, why: str = "there is no such setting", **more: Any) -> Axis:
    return Axis(label, grammar, setting(name), missing="" if name in Settings.model_fields else why, **more)


def _switch(label: str, name: str) -> Axis:
    return Axis(label, "text", switch(name), choices=lambda catalog: BOOLEANS)


def _names(which: str) -> Choices:
    return lambda catalog: catalog.names(which)


FP8 = ("Disable", "Enable for SDXL", "Enable")
TXT: tuple[FormKind, ...] = ("txt2img",)
IMG: tuple[FormKind, ...] = ("img2img",)
AXES: tuple[Axis, ...] = (
    Axis("Nothing", "text", nothing),
    _field("Seed", "whole", "seed"),
    _field("Var. seed", "whole", "subseed"),
    _field("Var. strength", "number", "subseed_strength"),
    _field("Steps", "whole", "steps"),
    _field("Hires steps", "whole", "hr_second_pass_steps", kinds=TXT),
    _field("CFG Scale", "number", "cfg_scale"),
    _field("Image CFG Scale", "number", "image_cfg_scale", kinds=IMG),
    Axis("Prompt S/R", "text", replaced, names_label=False),
    Axis("Prompt order", "orders", ordered, names_label=False),
    _field("Sampler", "text", "sampler_name", names_label=False, choices=_names("samplers"), kinds=TXT),
    _field("Hires sampler", "text", "hr_sampler_name", choices=_names("samplers"), kinds=TXT),
    _field("Sampler", "text", "sampler_name", names_label=False, choices=_names("samplers"), kinds=IMG),
    _setting("Checkpoint name", "text", "sd_model_checkpoint", choices=_names("checkpoints"), cost=1.0),
    _field("Negative Guidance minimum sigma", "number", "s_min_uncond"),
    _field("Sigma Churn", "number", "s_churn"),
    _field("Sigma min", "number", "s_tmin"),
    _field("Sigma max", "number", "s_tmax"),
    _field("Sigma noise", "number", "s_noise"),
    _field("Schedule type", "text", "scheduler", choices=_names("schedulers")),
    _setting("Schedule min sigma", "number", "sigma_min"),
    _setting("Schedule max sigma", "number", "sigma_max"),
    _setting("Schedule rho", "number", "rho"),
    _setting("Beta schedule alpha", "number", "beta_dist_alpha"),
    _setting("Beta schedule beta", "number", "beta_dist_beta"),
    _field("Eta", "number", "eta"),
    _setting("Clip skip", "whole", "CLIP_stop_at_last_layers"),
    _field("Denoising", "number", "denoising_strength"),
    _field("Initial noise multiplier", "number", "initial_noise_multiplier", acts=IMG),
    _setting("Extra noise", "number", "img2img_extra_noise"),
    _field("Hires upscaler", "text", "hr_upscaler", kinds=TXT, choices=_names("hr_upscalers")),
    _setting("Cond. Image Mask Weight", "number", "inpainting_mask_weight", kinds=IMG),
    _setting("VAE", "text", "sd_vae", choices=_names("vaes"), cost=0.7),
    Axis("Styles", "text", styled, missing="" if "styles" in GenerationRequest.model_fields else "the page inserts styles into the prompt; use Prompt S/R to vary the words"),  # noqa: E501
    Axis("UniPC Order", "whole", unipc_order, cost=0.5),
    _field("Face restore", "text", "face_restorer", names_label=False, why="there is no face restoration"),
    _setting("Token merging ratio", "number", "token_merging_ratio"),
    _setting("Token merging ratio high-res", "number", "token_merging_ratio_hr", acts=TXT),
    _switch("Always discard next-to-last sigma", "always_discard_next_to_last_sigma"),
    _switch("SGM noise multiplier", "sgm_noise_multiplier"),
    _field("Refiner checkpoint", "text", "refiner_checkpoint", choices=_names("checkpoints"), cost=1.0, why="there is no refiner"),  # noqa: E501
    _field("Refiner switch at", "number", "refiner_switch_at", why="there is no refiner"),
    _setting("RNG source", "text", "randn_source", choices=lambda catalog: ("GPU", "CPU", "NV")),
    _setting("FP8 mode", "text", "fp8_storage", cost=0.9, choices=lambda catalog: FP8),
    Axis("Size", "text", sized),
    Axis("[ControlNet] Model", "text", of_unit("model"), choices=lambda catalog: [one.label for one in catalog.control_models], cost=0.6),  # noqa: E501
    Axis("[ControlNet] Weight", "number", of_unit("weight")),
    Axis("[ControlNet] Guidance Start", "number", of_unit("guidance_start")),
    Axis("[ControlNet] Guidance End", "number", of_unit("guidance_end")),
    Axis("[ControlNet] Control Mode", "text", of_unit("control_mode"), choices=lambda catalog: get_args(ControlMode)),
    Axis("[ControlNet] Resize Mode", "text", of_unit("resize_mode"), choices=lambda catalog: get_args(FitMode)),
    Axis("[ControlNet] Preprocessor", "text", of_unit("module"), choices=lambda catalog: [row.name for row in PREPROCESSORS]),  # noqa: E501
    Axis("[ControlNet] Pre Resolution", "whole", of_unit("processor_res")),
    Axis("[ControlNet] Pre Threshold A", "number", of_unit("threshold_a")),
    Axis("[ControlNet] Pre Threshold B", "number", of_unit("threshold_b")),
)  # fmt: skip
