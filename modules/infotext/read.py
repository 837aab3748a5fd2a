"""Reads an infotext back into request fields and settings."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from modules.base.errors import WebuiError
from modules.base.fields import Param, expectation, params
from modules.infotext.control import KEYS as CONTROL_KEYS
from modules.infotext.control import PICTURES, picture_hashes, read_unit
from modules.infotext.grammar import FormKind, Infotext, shortened, sizes_joined
from modules.infotext.keys import (
    EXTENSIONS,
    INFORMATION,
    NAMED_HIRES_SCHEDULE,
    NAMED_SCHEDULE,
    absent_setting,
    with_keys,
)
from modules.infotext.parse import implied
from modules.schema.catalog import OWN_VAE, Catalog
from modules.schema.control import ControlUnit
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.sampler_names import SCHEDULES, nearest_sampler, resolve_names
from modules.schema.settings import Settings
from modules.schema.upscalers import Upscaler
from modules.schema.upscalers import find as find_upscaler

# Size fields. A value out of bounds is rejected, not clamped.
SIZES = frozenset({"width", "height", "hr_resize_x", "hr_resize_y", "hr_scale", "resize_by"})
UPSCALER = "Hires upscaler"
HIRES_KEYS = (UPSCALER, "Hires upscale", "Hires resize-1", "Hires steps")
WITH_COMMAS = re.compile(r"[-+]?\d+(?:,\d+)+", re.ASCII)
GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+", re.ASCII)


@dataclass(frozen=True)
class ParsedFields:
    """A text as the fields of a request.

    `fields` are valid values of request fields by name, `settings` the settings of the text that differ from the
    current ones. `ignored` are the pairs that set nothing here; `notes` are sentences for the user. `refused` are the
    notes about rejected sizes, by field. `units` are the control units without pictures, which a text cannot contain;
    `unit_pictures` are the hashes of these, as in `picture_hashes`.
    """

    kind: FormKind
    fields: dict[str, Any]
    settings: dict[str, Any]
    ignored: dict[str, str]
    notes: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    units: tuple[ControlUnit, ...] = ()
    unit_pictures: tuple[str, ...] = ()


def to_fields(
    infotext: Infotext, kind: FormKind | None = None, settings: Settings | None = None, catalog: Catalog | None = None
) -> ParsedFields:
    """The request that reproduces the picture; its kind is `kind`, by default the text's own.

    Never raises: unusable values are left out and explained in `notes`. A text without pairs gives only prompts.
    """
    kind = kind or infotext.kind
    current = settings or Settings()
    model = Img2ImgRequest if kind == "img2img" else Txt2ImgRequest
    reading = _Reading(dict(infotext.pairs), list(infotext.notes))
    for name, text in (("prompt", infotext.prompt), ("negative_prompt", infotext.negative_prompt)):
        if text or infotext.pairs:
            reading.take(model, params(model)[name], text)
    if infotext.pairs:
        _read_request(reading, model)
        _read_extensions(reading)
        _read_control(reading)
        _read_settings(reading, current, implied(infotext))
        _read_upscaler(reading, infotext.pairs.get(UPSCALER, ""), (catalog or Catalog()).upscalers)
        _read_checkpoint(reading, current, catalog)
        _read_vae(reading, current, catalog)
    ignored = {key: value for key, value in reading.pairs.items() if key not in INFORMATION}
    elsewhere = {param.control.infotext for param in with_keys(Img2ImgRequest).values()}  # if it is sent to another tab
    unknown = [shortened(key)[1:-1] for key in sizes_joined(ignored) if key not in elsewhere]
    if unknown:
        reading.notes.append("Ignored, because Palimpsest has no such setting: " + ", ".join(unknown) + ".")
    return ParsedFields(
        kind,
        reading.fields,
        reading.settings,
        sizes_joined(ignored),
        tuple(reading.notes),
        reading.refused,
        tuple(reading.units),
        tuple(reading.unit_pictures),
    )


class _Reading:
    """A text being read: the pairs that are not used yet, and the results so far."""

    def __init__(self, pairs: dict[str, str], notes: list[str]) -> None:
        self.pairs = pairs
        self.notes = notes
        self.fields: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.refused: dict[str, str] = {}
        self.units: list[ControlUnit] = []
        self.unit_pictures: list[str] = []

    def take(self, model: type[BaseModel], param: Param, text: str) -> None:
        """Put `text` into `fields` as a valid value of the field, or add a note."""
        text = _with_point(param, text)
        value = _indexed(param, text)
        number = _number(text)
        for bound, beyond in ((param.minimum, "less"), (param.maximum, "more")):
            if number is not None and bound is not None and (number < bound if beyond == "less" else number > bound):
                if param.name in SIZES:
                    self.refuse(param, f"{param.control.label}: {shortened(text)[1:-1]} is {beyond} than {bound:g}")
                    return
                self.notes.append(f"{param.control.label}: {text} is {beyond} than {bound:g}; {bound:g} was used.")
                value = bound
        try:
            self.fields[param.name] = getattr(model.model_validate({param.name: value}), param.name)
        except ValidationError as error:
            what = f"{param.control.label}: {shortened(text)} cannot be used, {expectation(param, error)}"
            if param.name in SIZES:
                self.refuse(param, what)
            else:
                self.notes.append(f"{what}.")

    def refuse(self, param: Param, what: str) -> None:
        """Reject a size without replacing it: the nearest valid one is not what was meant and may take hours."""
        self.refused[param.name] = f"{what}; the size was not changed."
        self.notes.append(self.refused[param.name])


def _read_request(reading: _Reading, model: type[GenerationRequest]) -> None:
    declared = with_keys(model)
    is_hires = any(key in reading.pairs for key in HIRES_KEYS)
    named, named_hires = (reading.pairs.pop(key, "") for key in (NAMED_SCHEDULE, NAMED_HIRES_SCHEDULE))
    sampler = reading.pairs.pop(declared["sampler_name"].control.infotext, None)
    scheduler = reading.pairs.pop(declared["scheduler"].control.infotext, "Automatic")
    if sampler is not None:
        _read_sampler(reading, sampler, scheduler)
        if reading.fields.get("scheduler") == "Automatic" and named == scheduler:
            reading.fields["scheduler"] = _schedule_named(named) or "Automatic"
    for name, param in declared.items():
        if name in ("negative_prompt", "sampler_name", "scheduler"):
            continue
        if name == "denoising_strength" and model is Txt2ImgRequest and not is_hires:
            continue  # the text is from img2img
        text = reading.pairs.pop(param.control.infotext, None)
        if text is not None:
            reading.take(model, param, text)
        elif param.control.absent is not ...:
            reading.fields[name] = param.control.absent
    for pair in (("width", "height"), ("hr_resize_x", "hr_resize_y")):
        if reading.refused.keys() & set(pair):  # one side alone would change the shape
            reading.fields = {name: value for name, value in reading.fields.items() if name not in pair}
    if model is Txt2ImgRequest:
        reading.fields["enable_hr"] = is_hires
        if is_hires and (schedule := _schedule_named(named_hires)):
            reading.fields["hr_scheduler"] = schedule


def _schedule_named(name: str) -> str:
    """The schedule of that name, spelled as in the form; "" if there is none."""
    return next((row.name for row in SCHEDULES if row.name == name), "")


def _read_sampler(reading: _Reading, sampler: str, scheduler: str) -> None:
    """Set sampler and schedule; old texts name both in one ("DPM++ 2M Karras")."""
    try:
        sampler_row, scheduler_row = resolve_names(sampler, scheduler)
    except WebuiError as error:
        if error.field == "scheduler":
            reading.notes.append(f"There is no schedule type {shortened(scheduler)}; Automatic was used.")
            _read_sampler(reading, sampler, "Automatic")
        else:
            near = nearest_sampler(sampler[:100])
            reading.notes.append(
                f"There is no sampler {shortened(sampler)}; the closest match is {near!r}. The sampler was not changed."
            )
        return
    is_default = scheduler_row.name == sampler_row.default_schedule  # the same thing; A1111 shows it as Automatic
    reading.fields["sampler_name"] = sampler_row.name
    reading.fields["scheduler"] = "Automatic" if is_default else scheduler_row.name


def _read_extensions(reading: _Reading) -> None:
    """Set the arguments of extensions; validating the request checks whether they exist and accept these values."""
    text = reading.pairs.pop(EXTENSIONS, None)
    if text is None:
        return
    try:
        values: object = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict) and all(isinstance(each, dict) for each in values.values()):  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        reading.fields["extensions"] = values
    else:
        reading.notes.append(f"{EXTENSIONS}: {shortened(text)} is not a JSON object of objects; it was ignored.")


def _read_control(reading: _Reading) -> None:
    """Collect the control units. A text has no pictures, so a caller that finds them must add them."""
    texts = {key: reading.pairs.pop(key) for key in CONTROL_KEYS if key in reading.pairs}
    hashes = picture_hashes(reading.pairs.get(PICTURES, ""), len(texts))
    for (key, text), digits in zip(texts.items(), hashes, strict=True):
        unit = read_unit(text)
        if unit is not None:
            reading.units.append(unit)
            reading.unit_pictures.append(digits)
            reading.notes.append(
                f"{key} ({shortened(unit.model)[1:-1]}) was left out: a text does not hold its picture."
            )
        else:
            reading.notes.append(f"{key}: {shortened(text)} cannot be read.")


def _read_settings(reading: _Reading, current: Settings, implied_pairs: Mapping[str, str]) -> None:
    """Collect the settings of the text, written or implied, that differ from the current ones."""
    given = {**implied_pairs, **reading.pairs}
    for name, param in with_keys(Settings).items():
        key = param.control.infotext
        value: Any = absent_setting(param)
        if key in given:
            reading.pairs.pop(key, None)
            try:
                value = getattr(Settings.model_validate({name: _with_point(param, given[key])}), name)
            except ValidationError as error:
                reading.notes.append(
                    f"{param.control.label}: {shortened(given[key])} cannot be used, {expectation(param, error)}."
                )
                continue
        if value != getattr(current, name):
            reading.settings[name] = value
    if current.token_merging_ratio_img2img:  # the text has the ratio that was used, whichever setting it came from
        reading.settings["token_merging_ratio_img2img"] = 0.0


def _read_upscaler(reading: _Reading, name: str, upscalers: Sequence[Upscaler]) -> None:
    """Set hires. fix's upscaler from the installed ones; the field alone accepts only built-in ones."""
    if not name or "hr_upscaler" not in reading.fields:
        return
    row = find_upscaler(name, upscalers)
    if row is not None:
        reading.fields["hr_upscaler"] = row.name
    else:
        used = reading.fields["hr_upscaler"]
        reading.notes.append(f"The picture's upscaler {shortened(name)} is not installed; {used} was used.")


def _read_checkpoint(reading: _Reading, current: Settings, catalog: Catalog | None) -> None:
    if catalog is None or not catalog.checkpoints:
        return
    for key in ("refiner_checkpoint", "hr_checkpoint_name"):
        if named := reading.fields.get(key):
            try:
                reading.fields[key] = catalog.checkpoint(named).name
            except WebuiError:
                reading.notes.append(f"The picture's checkpoint {shortened(named)} is not installed.")
                reading.fields[key] = ""
    name, digits = reading.pairs.get("Model", ""), reading.pairs.get("Model hash", "")
    if not name and not digits:
        return
    try:
        installed, note = catalog.checkpoint_of_text(name, digits)
    except WebuiError:
        named = shortened(name or digits)
        reading.notes.append(f"The picture's checkpoint {named} is not installed.")
        return
    if note:
        reading.notes.append(note)
    try:
        selected = catalog.checkpoint(current.sd_model_checkpoint)
    except WebuiError:  # the selected one was removed, so any other differs from it
        selected = None
    if installed != selected:
        reading.settings["sd_model_checkpoint"] = installed.name


def _read_vae(reading: _Reading, current: Settings, catalog: Catalog | None) -> None:
    """Set the VAE by its hash, if known, or its name. A text with a version but no VAE used the checkpoint's own."""
    if catalog is None or not catalog.checkpoints:
        return
    name, digits = reading.pairs.get("VAE", ""), reading.pairs.get("VAE hash", "").lower()
    if not name and not digits and "Version" not in reading.pairs:
        return
    installed = None
    if name or digits:
        try:
            installed = catalog.vae_of_text(name, digits)
        except WebuiError:
            reading.notes.append(f"The picture's VAE {shortened(name or digits)} is not installed.")
            return
    try:
        checkpoint = catalog.checkpoint(reading.settings.get("sd_model_checkpoint", current.sd_model_checkpoint))
        is_set = catalog.vae_for(current.sd_vae, checkpoint) == installed
    except WebuiError:  # the selected file was removed
        is_set = False
    if not is_set:
        reading.settings["sd_vae"] = installed.name if installed is not None else OWN_VAE


def _indexed(param: Param, text: str) -> str | int:
    """The index of the label `text` among the choices of an integer field; other texts are unchanged."""
    counted = isinstance(param.control.choices, tuple) and param.type is int
    labels = [label.lower() for label in param.control.choices] if counted else []
    return labels.index(text.lower()) if text.lower() in labels else text


def _with_point(param: Param, text: str) -> str:
    """A number with its decimal comma changed to a point; in whole-number fields `1,024` becomes 1024.

    Other texts, and texts of fields that are not numbers, are unchanged.
    """
    types: set[Any] = set(get_args(param.type)) or {param.type}
    if not types & {int, float} or WITH_COMMAS.fullmatch(text) is None:
        return text
    is_grouped = GROUPED.fullmatch(text) is not None and (float not in types or text.count(",") > 1)
    return text.replace(",", "" if is_grouped else ".")


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
