"""Writes a request and its settings as an infotext.

The declarations give each field's key (`Control.infotext`), so this module has no list of keys.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from modules.base.fields import Param
from modules.infotext.keys import NAMED_HIRES_SCHEDULE, NAMED_SCHEDULE, absent_setting, with_keys
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.sampler_names import resolve_names
from modules.schema.settings import EXACT, Settings


def declared_pairs(
    request: GenerationRequest, settings: Settings, names: Collection[str] | None = None
) -> dict[str, str]:
    """The pairs of a request and its settings: those that A1111 writes, and Palimpsest's own.

    `names` are the settings to write; by default those whose value a text without the key would not imply.
    The setting "A1111 exact" leaves out Palimpsest's own keys. The caller adds what only the job knows:
    the picture's own seeds and size, the checkpoint, the version.
    """
    is_exact = settings.compatibility == EXACT
    pairs: dict[str, str] = {}
    for name, param in with_keys(type(request)).items():
        value = _worth(request, name)
        is_left_out = is_exact and param.control.ours
        if value is not None and not is_left_out and WRITTEN_IF.get(name, _always)(request):
            pairs[param.control.infotext] = _shown(param, value)
    if not is_exact:
        pairs |= _named_schedules(request)
    for name, param in with_keys(Settings).items():
        value = getattr(settings, name)
        is_written = value != absent_setting(param) if names is None else name in names
        if is_written and not (is_exact and param.control.ours):
            pairs[param.control.infotext] = _shown(param, value)
    return pairs


def differing(settings: Settings) -> set[str]:
    """The settings whose value a text without their key would not imply."""
    return {name for name, param in with_keys(Settings).items() if getattr(settings, name) != absent_setting(param)}


def _always(request: GenerationRequest) -> bool:
    return True


def _worth(request: GenerationRequest, name: str) -> Any:
    """The value to write for a field."""
    if name == "scheduler":
        return _schedule(request)
    if name == "hr_scheduler":
        return _hires_schedule(request)
    if isinstance(request, Img2ImgRequest) and name in ("mask_blur", "mask_blur_x", "mask_blur_y"):
        return request.blur[name == "mask_blur_y"]
    return getattr(request, name)


def _schedule(request: GenerationRequest) -> str:
    """The name to write: Automatic becomes the sampler's default schedule if it has one, as in A1111."""
    sampler, schedule = resolve_names(request.sampler_name, request.scheduler)
    return sampler.default_schedule or schedule.name if schedule.name == "Automatic" else schedule.name


def _hires_schedule(request: GenerationRequest) -> str | None:
    """The second pass's schedule; None if it is the first pass's, because A1111 then writes none."""
    assert isinstance(request, Txt2ImgRequest)
    first = _looked_up(request.sampler_name, request.scheduler)
    second = _looked_up(request.hr_sampler_name or request.sampler_name, request.hr_scheduler or request.scheduler)
    return None if second == first else second


def _named_schedules(request: GenerationRequest) -> dict[str, str]:
    """The schedules chosen by name for which A1111's keys would be the same as for "Automatic" or the first pass's."""
    pairs: dict[str, str] = {}
    sampler, schedule = resolve_names(request.sampler_name, request.scheduler)
    if schedule.name == sampler.default_schedule:
        pairs[NAMED_SCHEDULE] = schedule.name
    if isinstance(request, Txt2ImgRequest) and request.enable_hr and request.hr_scheduler:
        named = resolve_names(request.sampler_name, request.hr_scheduler)[1].name
        if named != _hires_schedule(request):
            pairs[NAMED_HIRES_SCHEDULE] = named
    return pairs


def _looked_up(sampler_name: str, scheduler: str) -> str | None:
    sampler, schedule = resolve_names(sampler_name, scheduler)
    name = sampler.default_schedule if schedule.name == "Automatic" else schedule.name
    return None if sampler.timesteps else name


def _shown(param: Param, value: Any) -> str:
    choices = param.control.choices
    labeled = isinstance(choices, tuple) and choices and isinstance(value, int) and not isinstance(value, bool)
    return choices[value] if labeled else str(value)


def _hires(request: GenerationRequest) -> bool:
    return isinstance(request, Txt2ImgRequest) and request.enable_hr


def _hires_resized(request: GenerationRequest) -> bool:
    return _hires(request) and any(_value(request, name) > 0 for name in ("hr_resize_x", "hr_resize_y"))


def _hires_differs(name: str, first: str) -> Callable[[GenerationRequest], bool]:
    return lambda request: _hires(request) and _value(request, name) not in ("", _value(request, first))


def _varied(request: GenerationRequest) -> bool:
    return request.subseed_strength != 0


def _seed_resized(request: GenerationRequest) -> bool:
    return request.seed_resize_from_w > 0 and request.seed_resize_from_h > 0


def _masked(request: GenerationRequest) -> bool:
    return isinstance(request, Img2ImgRequest) and request.mask is not None


def _value(request: GenerationRequest, name: str) -> Any:
    return getattr(request, name)


def _outpainted(request: GenerationRequest) -> bool:
    return isinstance(request, Img2ImgRequest) and request.is_outpainted


def _redrawn_in_part(request: GenerationRequest) -> bool:
    return _masked(request) or _outpainted(request)


def _outpainted_at(name: str) -> Callable[[GenerationRequest], bool]:
    return lambda request: _value(request, name) > 0


def _kept(request: GenerationRequest) -> bool:
    return _value(request, "keep_unchanged")


def _only_masked(request: GenerationRequest) -> bool:
    return _redrawn_in_part(request) and _value(request, "inpaint_full_res") == 1


def _evenly_blurred(request: GenerationRequest) -> bool:
    # A1111 does not write a blur of 0 or of two values, so these get keys of our own.
    return isinstance(request, Img2ImgRequest) and _masked(request) and request.blur[0] == request.blur[1] > 0


def _unevenly_blurred(request: GenerationRequest) -> bool:
    return _masked(request) and not _evenly_blurred(request)


def _soft(request: GenerationRequest) -> bool:
    # If gray means a strength, soft inpainting is off.
    by_gray = _masked(request) and _value(request, "mask_strength_by_grey")
    return _redrawn_in_part(request) and _value(request, "soft_inpainting") and not by_gray


WRITTEN_IF: Mapping[str, Callable[[GenerationRequest], bool]] = {
    "negative_prompt": lambda request: False,  # written on its own line
    "denoising_strength": lambda request: isinstance(request, Img2ImgRequest) or _hires(request),
    "refiner_checkpoint": lambda request: False,  # written by the job if the refiner took over
    "refiner_switch_at": lambda request: False,
    "hr_checkpoint_name": lambda request: False,  # written by the job, as name and hash
    "hr_sampler_name": _hires_differs("hr_sampler_name", "sampler_name"),
    "hr_prompt": _hires_differs("hr_prompt", "prompt"),
    "hr_negative_prompt": _hires_differs("hr_negative_prompt", "negative_prompt"),
    "hr_scheduler": _hires,
    "hr_scale": lambda request: _hires(request) and not _hires_resized(request),
    "hr_resize_x": _hires_resized,
    "hr_resize_y": _hires_resized,
    "hr_second_pass_steps": lambda request: _hires(request) and _value(request, "hr_second_pass_steps") > 0,
    "hr_upscaler": _hires,
    "subseed": _varied,
    "subseed_strength": _varied,
    "seed_resize_from_w": _seed_resized,
    "seed_resize_from_h": _seed_resized,
    "mask_blur": _evenly_blurred,
    "mask_blur_x": _unevenly_blurred,
    "mask_blur_y": _unevenly_blurred,
    "mask_round": lambda request: _masked(request) and not _soft(request) and not _value(request, "mask_round"),
    "inpainting_mask_invert": lambda request: _masked(request) and _value(request, "inpainting_mask_invert") == 1,
    "inpainting_fill": lambda request: _masked(request) and _value(request, "inpainting_fill") != 1,
    "inpaint_full_res": _only_masked,
    "inpaint_full_res_padding": _only_masked,
    "soft_inpainting": _soft,
    "mask_blend_power": _soft,
    "mask_blend_scale": _soft,
    "inpaint_detail_preservation": _soft,
    "composite_mask_influence": _soft,
    "composite_difference_threshold": _soft,
    "composite_difference_contrast": _soft,
    "mask_strength_by_grey": lambda request: _masked(request) and _value(request, "mask_strength_by_grey"),
    "inpaint_color_match": lambda request: _redrawn_in_part(request) and _value(request, "inpaint_color_match") > 0,
    "keep_unchanged": _kept,
    "change_sensitivity": _kept,
    "change_grow": _kept,
    "change_feather": _kept,
    "outpaint_left": _outpainted_at("outpaint_left"),
    "outpaint_right": _outpainted_at("outpaint_right"),
    "outpaint_top": _outpainted_at("outpaint_top"),
    "outpaint_bottom": _outpainted_at("outpaint_bottom"),
    "outpaint_fill": _outpainted,
    "outpaint_feather": _outpainted,
}
