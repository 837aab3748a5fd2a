"""Normalizes requests from real clients of A1111's API: one spelling for each value, disabled features removed.

Plug-ins fill in every field they know, mostly with one of several values that mean "off". All of these are accepted; a
feature that would change the picture but is not supported here is an error.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from modules.a1111.control import SCRIPT as CONTROLNET
from modules.a1111.control import sent_units
from modules.a1111.options import NAMES, unknown_option, validated
from modules.a1111.request import REFINER, SOFT_INPAINTING
from modules.base.errors import WebuiError
from modules.infotext.grammar import FormKind
from modules.schema.settings import Settings

PROMPTS = ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt")
NONE_WORDS = ("", "none", "null", "automatic")
SAME_PREFIX = "use same"  # "Use same sampler": A1111's value for no second sampler
INDEXES = ("inpaint_full_res", "inpainting_mask_invert")  # numbers that some clients send as true and false
TRUTHS: Mapping[str, int] = {"true": 1, "false": 0}
# A1111's always-on scripts whose arguments repeat fields of the request or matter only to its page.
STOCK_SCRIPTS = frozenset({"api payload", "comments", "extra options", "hypertile", "sampler", "seed"})
IS_ON: Mapping[str, str] = {"hypertile": "Hypertile"}


def strict(kind: FormKind, body: Mapping[str, Any], scripts: Collection[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Fields for `a1111.translated`, and sentences about what was ignored.

    `scripts` are further names allowed in `alwayson_scripts`. Raises WebuiError (422) for unsupported features.
    """
    notes: list[str] = []
    values = {name: value for name, value in body.items() if not _is_nothing(value)}
    for name in PROMPTS:
        if isinstance(values.get(name), int | float) and not isinstance(values[name], bool):
            values[name] = str(values[name])
    for name in INDEXES:
        if isinstance(values.get(name), str):
            values[name] = TRUTHS.get(values[name].strip().lower(), values[name])
    _hires(kind, values)
    _not_offered(values, notes)
    values["override_settings"] = overrides(values.get("override_settings", {}), notes)
    acting = _scripts(values.pop("alwayson_scripts", {}), scripts, notes)
    for name in [name for name in acting if name.strip().casefold() == CONTROLNET]:
        sent = sent_units(acting.pop(name)["args"])
        values |= {"controlnet": sent.units, "control_images": sent.pictures}
        notes += dict.fromkeys(sent.notes)
    values["alwayson_scripts"] = acting
    args = values.get("script_args", [])
    if not isinstance(args, list | tuple):
        raise WebuiError("script_args: expected a list of values.", field="script_args")
    if "script_name" not in values or str(values["script_name"]).strip().lower() == "none":
        values.pop("script_name", None)
        values.pop("script_args", None)
    return values, notes


def overrides(given: Any, notes: list[str]) -> dict[str, Any]:
    """The `override_settings` that have an effect here. The others are validated and added to `notes`."""
    if not isinstance(given, Mapping):
        raise WebuiError("override_settings: expected an object of options by name.", field="override_settings")
    acting: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in Settings.model_fields:
            acting[name] = value
        elif name in NAMES:
            validated({name: value})
            notes.append(f"The option {name} has no effect here.")
        else:
            raise unknown_option(str(name))
    return acting


def listed_styles(given: Any) -> list[str]:
    """The names in `styles`: a list, or one name."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WebuiError("styles: expected a list of names.", field="styles")
    return [name for name in names if name.strip()]


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _hires(kind: FormKind, values: dict[str, Any]) -> None:
    """Remove the fields of hires. fix if it is off."""
    if kind != "txt2img" or str(values.get("enable_hr", False)).strip().lower() in ("false", "0", "no", "off"):
        for name in [name for name in values if name.startswith("hr_") or name in ("enable_hr", "firstphase_width",
                                                                                   "firstphase_height")]:  # fmt: skip
            del values[name]
        return
    for name in ("hr_sampler_name", "hr_scheduler", "hr_checkpoint_name"):
        if str(values.get(name, "")).strip().lower().startswith(SAME_PREFIX):
            del values[name]
    if str(values.get("hr_checkpoint_name", "")).strip().lower() in NONE_WORDS:
        values.pop("hr_checkpoint_name", None)


def _not_offered(values: dict[str, Any], notes: list[str]) -> None:
    if str(values.get("refiner_checkpoint", "")).strip().lower() in NONE_WORDS:
        values.pop("refiner_checkpoint", None)
        values.pop("refiner_switch_at", None)
    if values.get("restore_faces") in (True, 1, "true", "True"):
        notes.append("restore_faces has no effect here: there is no face restoration.")
    for name in ("restore_faces", "firstpass_image", "comments"):
        values.pop(name, None)


def _scripts(given: Any, known: Iterable[str], notes: list[str]) -> dict[str, Any]:
    """The scripts that have an effect here. Raises WebuiError for a name that is unknown in A1111 too."""
    if given in ([], ()):
        given = {}
    if not isinstance(given, Mapping):
        raise WebuiError("alwayson_scripts: expected an object of scripts by name.", field="alwayson_scripts")
    acting: dict[str, Any] = {}
    names = {SOFT_INPAINTING, REFINER, CONTROLNET, *(name.casefold() for name in known)}
    for name, script in given.items():
        folded = str(name).strip().casefold()
        args = script.get("args", []) if isinstance(script, Mapping) else script
        if isinstance(args, Mapping):  # some send named arguments
            args = [args]
        if not isinstance(args, list | tuple):
            raise WebuiError(f"alwayson_scripts.{str(name)[:80]!r}: expected args as a list.", field="alwayson_scripts")
        if folded in names:
            acting[str(name)] = {"args": list(args)}
        elif folded in STOCK_SCRIPTS and folded not in IS_ON:
            notes.append(f"alwayson_scripts: {str(name)!r} was ignored; the request's own fields are used.")
        elif folded not in IS_ON or _is_on(args):
            near = difflib.get_close_matches(folded, sorted(names), 1, 0.7)
            best_match = f" Did you mean {near[0]!r}?" if near else ""
            raise WebuiError(
                f"alwayson_scripts: the script {IS_ON.get(folded) or str(name)[:80]!r} is not available.{best_match}",
                "Disable it or leave it out." if folded in IS_ON else "Leave it out.",
                "alwayson_scripts",
            )
    return acting


def _is_on(args: Iterable[Any]) -> bool:
    """Whether the arguments of an unknown script enable it: not if the first is false or all units are disabled."""
    listed = list(args)
    if not listed or listed[0] in (False, None, 0, "", "false", "False"):
        return False
    units = [unit for unit in listed if isinstance(unit, Mapping)]
    if len(units) == len(listed):
        return any(map(_enabled, units))
    return True


def _enabled(unit: Mapping[str, Any]) -> bool:
    is_enabled = unit.get("enabled", unit.get("enable", True))
    return str(is_enabled).strip().lower() not in ("false", "0", "no", "none", "")
