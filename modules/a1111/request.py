"""Translates requests of A1111's HTTP API: its defaults, its aliases, and how its server reads a field.

A client of A1111 expects A1111's behavior, so its jobs run under the setting "A1111 exact" unless
`override_settings` says otherwise. Pure functions: routes and responses are elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modules.base.errors import WebuiError
from modules.base.fields import cut
from modules.infotext.grammar import FormKind
from modules.infotext.parse import parse
from modules.infotext.read import to_fields
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import EXACT, Settings

# The defaults of A1111's API that differ from those of our request.
DEFAULTS: Mapping[FormKind, Mapping[str, Any]] = {
    "txt2img": {"steps": 50, "denoising_strength": 0.75},
    "img2img": {
        "steps": 50,
        "inpainting_fill": 0,
        "inpaint_full_res": 1,
        "inpaint_full_res_padding": 0,
    },
}
DEFAULT_SAMPLER = "Euler"

# A1111's always-on scripts that are request fields here. The arguments of soft inpainting are SOFT_FIELDS in order;
# the refiner's are whether it is on, then REFINER_FIELDS.
SOFT_INPAINTING, REFINER = "soft inpainting", "refiner"
REFINER_FIELDS = ("refiner_checkpoint", "refiner_switch_at")
SOFT_FIELDS = (
    "soft_inpainting", "mask_blend_power", "mask_blend_scale", "inpaint_detail_preservation",
    "composite_mask_influence", "composite_difference_threshold", "composite_difference_contrast",
)  # fmt: skip

# Fields about the response and where files go; none of them changes a picture.
OF_THE_ANSWER = frozenset(
    {"send_images", "save_images", "do_not_save_samples", "do_not_save_grid", "include_init_images", "force_task_id",
     "override_settings_restore_afterwards", "infotext", "script_name", "script_args", "sampler_index",
     "alwayson_scripts", "comments", "firstphase_width", "firstphase_height"}
)  # fmt: skip

# A1111 reads this setting before it applies a request's overrides, so an override has no effect in A1111.
READ_TOO_EARLY = "initial_noise_multiplier"


@dataclass(frozen=True)
class Translated:
    """A translated request. `ignored` are the fields and settings of the body that have no effect here."""

    request: GenerationRequest
    ignored: tuple[str, ...]


def translated(kind: FormKind, body: Mapping[str, Any], settings: Settings | None = None) -> Translated:
    """The request for a `body` sent to `/sdapi/v1/txt2img` or `/img2img`.

    `settings` are the server's; an `infotext` in the body is compared with them. Raises WebuiError for invalid values
    and, unlike A1111, for unknown sampler names.
    """
    settings = settings or Settings()
    given = {name: value for name, value in body.items() if value is not None}
    overrides = dict(given.pop("override_settings", {}))
    if "infotext" in given:
        from_text, from_settings = _from_infotext(kind, str(given["infotext"]), settings, given)
        given = {**from_text, **given}
        overrides = {**from_settings, **overrides}
    values = {**DEFAULTS[kind], **given}
    if "sampler_name" not in given:
        values["sampler_name"] = given.get("sampler_index", DEFAULT_SAMPLER)
    for side in ("width", "height"):
        if given.get(f"firstphase_{side}"):
            values[side] = given[f"firstphase_{side}"]
    if "mask_blur" in given:  # one number overrides the two
        values = {name: value for name, value in values.items() if name not in ("mask_blur_x", "mask_blur_y")}
    scripts = given.get("alwayson_scripts", {})
    if kind == "img2img":
        values |= dict(zip(SOFT_FIELDS, _arguments(scripts, SOFT_INPAINTING), strict=False))
    values = {**_refiner(_arguments(scripts, REFINER)), **values}  # the request's own fields win
    overrides.pop(READ_TOO_EARLY, None)
    known = cut(Settings, {name: value for name, value in overrides.items() if name in Settings.model_fields})
    known.setdefault("compatibility", EXACT)
    model = Img2ImgRequest if kind == "img2img" else Txt2ImgRequest
    fields = cut(model, {name: value for name, value in values.items() if name in model.model_fields})
    ignored = [name for name in values if name not in model.model_fields and name not in OF_THE_ANSWER]
    ignored += [f"override_settings.{name}" for name in overrides if name not in known]
    return Translated(model.parse({**fields, "override_settings": known}), tuple(ignored))


def _from_infotext(
    kind: FormKind, text: str, settings: Settings, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(fields, settings) of an infotext; as in A1111, the body's own fields override them.

    Raises WebuiError for a size out of bounds, unless the body gives a size.
    """
    read = to_fields(parse(text), kind, settings)
    for name, sentence in read.refused.items():
        if name not in given:
            raise WebuiError(f"infotext: {sentence.partition(';')[0]}.", f"Send {name} with the infotext.", "infotext")
    exact = {name: value for name, value in read.settings.items() if name != "compatibility"}
    return dict(read.fields), exact


def _arguments(scripts: Any, script_name: str) -> Sequence[Any]:
    """The arguments of the script `script_name`; empty if it is missing."""
    if not isinstance(scripts, Mapping):
        raise WebuiError("alwayson_scripts: expected an object of scripts by name.", field="alwayson_scripts")
    for name, script in scripts.items():
        if str(name).strip().casefold() == script_name and isinstance(script, Mapping):
            return script.get("args", ())
    return ()


def _refiner(arguments: Sequence[Any]) -> dict[str, Any]:
    """The refiner's arguments [is on, checkpoint, switch at] as request fields."""
    is_on = bool(arguments) and arguments[0] not in (False, None, 0, "", "false", "False")
    if not is_on or len(arguments) < 2 or str(arguments[1]).strip().casefold() in ("", "none"):
        return {}
    return dict(zip(REFINER_FIELDS, arguments[1:], strict=False))
