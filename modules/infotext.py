"""A picture's parameters as text (`infotext_layout`): taken apart, and the way to and from request fields.

Which key belongs to which field stands in the declarations (`Control.infotext`); nothing here repeats it.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from modules.catalog import OWN_VAE, Catalog
from modules.errors import WebuiError
from modules.fields import Param, expectation, params
from modules.infotext_layout import (
    FEWEST_PAIRS,
    FIXED_ORDER,
    LAST,
    PAIR,
    SIZE,
    Infotext,
    Kind,
    pairs_of,
    prompts_of,
    sizes_joined,
)
from modules.other_programs import from_json
from modules.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.sampler_names import SCHEDULES, nearest_sampler, resolve_names
from modules.settings import EXACT, Settings

# They tell about the picture and set nothing, so nobody has to be told that they were passed over.
INFORMATION = frozenset(
    {
        "Version",
        "User",
        "Model",
        "Model hash",
        "VAE",
        "VAE hash",
        "Init image hash",
        "Source hash",
        "Mask hash",
        "Latent mask hash",
        "Lora hashes",
        "TI hashes",
        "Template",  # of the extension Dynamic Prompts, what a prompt was drawn from; so is the next
        "Negative Template",
    }
)

# Ours: a schedule that was chosen by its name, where A1111's key has the same word for what was not.
NAMED_SCHEDULE, NAMED_HIRES_SCHEDULE = "Schedule type chosen", "Hires schedule type chosen"

# Fields of a size. One that is out of bounds is not brought within them.
SIZES = frozenset({"width", "height", "hr_resize_x", "hr_resize_y", "hr_scale", "resize_by"})

HIRES_KEYS = ("Hires upscaler", "Hires upscale", "Hires resize-1", "Hires steps")

FEWEST_KNOWN = 2  # keys of settings; "(red hair:1.2), (blue eyes:0.8), (green coat:1.1)" has none and is a prompt
STEPS_FIRST = re.compile(r"\s*Steps: *\d+ *,", re.ASCII)
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
WHOLE = re.compile(r"-?\d+", re.ASCII)
WITH_COMMAS = re.compile(r"[-+]?\d+(?:,\d+)+", re.ASCII)
GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+", re.ASCII)
LOOKS_LIKE = {  # values that a key has in every text of settings
    "Steps": WHOLE, "Seed": WHOLE, "Size": SIZE, "CFG scale": NUMBER, "Denoising strength": NUMBER, "Clip skip": WHOLE,
    "Variation seed": WHOLE, "ENSD": WHOLE,
}  # fmt: skip
SYNONYMS = {"guidance scale": "CFG scale"}  # Draw Things; folded
LINE_WITH_KEY = re.compile(r"([A-Z][\w \-/]*):\s*(.*)")

VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-(\d+))?", re.ASCII)


@dataclass(frozen=True)
class ParsedFields:
    """A text in terms of a request.

    `fields` are valid values of request fields by name, `settings` those settings that the text stands for and that
    differ from the current ones. `ignored` are the pairs that set nothing here; `notes` are sentences for the person.
    `refused` are those of the notes that tell of a size which is not taken, by its field.
    """

    kind: Kind
    fields: dict[str, Any]
    settings: dict[str, Any]
    ignored: dict[str, str]
    notes: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict[str, str])


def parse(text: str) -> Infotext:
    """Take an infotext apart. Any text is an infotext: one without settings is a prompt.

    JSON of other programs is read as `other_programs.from_json` says; JSON of unknown ones gives nothing but a note.
    """
    translation = from_json(text)
    if translation is not None:
        translated = parse(translation.text) if translation.text else Infotext()
        return replace(translated, notes=(translation.note,))
    lines = text.replace("\r\n", "\n").strip().split("\n")
    at = _settings_line(lines)
    if at is None:
        return prompts_of(lines)
    pairs, passed_over = _behind(lines[at + 1 :])
    pairs = {_canonical(key): value for key, value in pairs_of(lines[at]).items()} | pairs
    notes = (f"Passed over, it stands behind the settings: {_short(passed_over)}.",) if passed_over else ()
    return replace(prompts_of(lines[:at]), pairs=pairs, notes=notes)


def _settings_line(lines: Sequence[str]) -> int | None:
    """Where the settings stand: the last line that is one, further up only if it cannot be anything else."""
    if _is_settings(lines[-1]):
        return len(lines) - 1
    above = range(len(lines) - 2, -1, -1)
    return next((at for at in above if STEPS_FIRST.match(lines[at]) and _is_settings(lines[at])), None)


def _is_settings(line: str) -> bool:
    found = list(PAIR.finditer(line))
    if len(found) < FEWEST_PAIRS:
        return False
    exact = {key for match in found if (key := match["key"].strip()) in KNOWN and _fits(line, match, key)}
    folded = {key for match in found if _fits(line, match, key := _canonical(match["key"].strip())) and key in KNOWN}
    return max(len(exact), len(folded) if "Steps" in folded else 0) >= FEWEST_KNOWN


def _fits(line: str, match: re.Match[str], key: str) -> bool:
    """Whether a pair looks like a setting and not like a weight of a prompt, `(Size:1.2)`."""
    before, value = line[: match.start("key")].rstrip()[-1:], match["value"].strip()
    looks = LOOKS_LIKE.get(key)
    return before not in set("([{<") and (looks is None or looks.fullmatch(value) is not None)


def _canonical(key: str) -> str:
    """The key as A1111 writes it, in whatever letter case it is."""
    return key if key in KNOWN else FOLDED.get(key.casefold(), key)


def _behind(lines: Sequence[str]) -> tuple[dict[str, str], str]:
    """What extensions write behind the settings, `Template: …`, as pairs; and the rest."""
    pairs: dict[str, str] = {}
    rest: list[str] = []
    key = ""
    for line in lines:
        match = LINE_WITH_KEY.match(line.strip())
        if match:
            key = match[1]
            pairs[key] = match[2]
        elif key:
            pairs[key] += f"\n{line.strip()}"
        elif line.strip():
            rest.append(line.strip())
    return {key: value.strip() for key, value in pairs.items() if value.strip()}, " ".join(rest)


def declared_pairs(
    request: GenerationRequest, settings: Settings, told: Collection[str] | None = None
) -> dict[str, str]:
    """The pairs that request and settings declare, as text, as far as A1111 (or we, for keys it forgets) write them.

    `told` names the settings to write; by default those that differ from what a text without the key stands for.
    Under the setting "A1111 exact" the keys that A1111 forgets are left out. The caller adds what only the job knows:
    the picture's own seeds and size, the checkpoint, the version.
    """
    is_exact = settings.compatibility == EXACT
    pairs: dict[str, str] = {}
    for name, param in _with_keys(type(request)).items():
        value = _worth(request, name)
        is_left_out = is_exact and param.control.ours
        if value is not None and not is_left_out and WRITTEN_IF.get(name, _always)(request):
            pairs[param.control.infotext] = _shown(param, value)
    if not is_exact:
        pairs |= _named_schedules(request)
    for name, param in _with_keys(Settings).items():
        value = getattr(settings, name)
        is_told = value != _absent_setting(param) if told is None else name in told
        if is_told and not (is_exact and param.control.ours):
            pairs[param.control.infotext] = _shown(param, value)
    return pairs


def differing(settings: Settings) -> set[str]:
    """The settings with a key whose value is not the one that a text without the key stands for."""
    return {name for name, param in _with_keys(Settings).items() if getattr(settings, name) != _absent_setting(param)}


def to_fields(
    infotext: Infotext, kind: Kind | None = None, settings: Settings | None = None, catalog: Catalog | None = None
) -> ParsedFields:
    """What a request (of `kind`, by default the text's own) must hold to make the picture again.

    Never raises: what cannot be used is told in `notes` and left out. A text without pairs gives prompts alone.
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
        _read_settings(reading, current, implied(infotext))
        _read_checkpoint(reading, current, catalog)
        _read_vae(reading, current, catalog)
    ignored = {key: value for key, value in reading.pairs.items() if key not in INFORMATION}
    elsewhere = {param.control.infotext for param in _with_keys(Img2ImgRequest).values()}  # sent to another tab
    unknown = [_short(key)[1:-1] for key in sizes_joined(ignored) if key not in elsewhere]
    if unknown:
        reading.notes.append("Passed over, Palimpsest has no such setting: " + ", ".join(unknown) + ".")
    return ParsedFields(
        kind, reading.fields, reading.settings, sizes_joined(ignored), tuple(reading.notes), reading.refused
    )


def implied(infotext: Infotext) -> dict[str, str]:
    """Pairs that a text from an older A1111 does not write but stands for, by its version."""
    match = VERSION.match(infotext.pairs.get("Version", ""))
    if match is None:
        return {}
    version = tuple(int(number or 0) for number in match.groups())
    found: dict[str, str] = {}
    if version < (1, 6, 0) and ("[" in infotext.prompt or "[" in infotext.negative_prompt):
        found["Old prompt editing timelines"] = "True"
    if version < (1, 6, 0) and infotext.pairs.get("Sampler") in ("DDIM", "PLMS"):
        found["Pad conds v0"] = "True"
    if version < (1, 7, 0, 225):
        found["Downcast alphas_cumprod"] = "True"
    if version < (1, 8, 0) and "Refiner" in infotext.pairs:
        found["Refiner switch by sampling steps"] = "True"
    return {key: value for key, value in found.items() if key not in infotext.pairs}


def _always(request: GenerationRequest) -> bool:
    return True


def _worth(request: GenerationRequest, name: str) -> Any:
    """What is written for a field: its value, or what that stands for."""
    if name == "scheduler":
        return _schedule(request)
    if name == "hr_scheduler":
        return _hires_schedule(request)
    if isinstance(request, Img2ImgRequest) and name in ("mask_blur", "mask_blur_x", "mask_blur_y"):
        return request.blur[name == "mask_blur_y"]
    return getattr(request, name)


def _schedule(request: GenerationRequest) -> str:
    """The name to write: what Automatic stands for, where the sampler has a schedule of its own, as in A1111."""
    sampler, schedule = resolve_names(request.sampler_name, request.scheduler)
    return sampler.default_schedule or schedule.name if schedule.name == "Automatic" else schedule.name


def _hires_schedule(request: GenerationRequest) -> str | None:
    """A1111 names the second pass's schedule where one is looked up that the first pass has not named."""
    assert isinstance(request, Txt2ImgRequest)
    first = _looked_up(request.sampler_name, request.scheduler)
    second = _looked_up(request.hr_sampler_name or request.sampler_name, request.hr_scheduler or request.scheduler)
    return None if second == first else second


def _named_schedules(request: GenerationRequest) -> dict[str, str]:
    """Schedules that were chosen by name where A1111's keys say the same of "Automatic" and of the first pass's."""
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


def _only_masked(request: GenerationRequest) -> bool:
    return _redrawn_in_part(request) and _value(request, "inpaint_full_res") == 1


def _evenly_blurred(request: GenerationRequest) -> bool:
    # A1111 writes nothing for a blur that is 0 or has two values, and so loses it: these go under keys of our own.
    return isinstance(request, Img2ImgRequest) and _masked(request) and request.blur[0] == request.blur[1] > 0


def _unevenly_blurred(request: GenerationRequest) -> bool:
    return _masked(request) and not _evenly_blurred(request)


def _soft(request: GenerationRequest) -> bool:
    # Where greys are strengths, soft inpainting gives way.
    by_grey = _masked(request) and _value(request, "mask_strength_by_grey")
    return _redrawn_in_part(request) and _value(request, "soft_inpainting") and not by_grey


WRITTEN_IF: Mapping[str, Callable[[GenerationRequest], bool]] = {
    "negative_prompt": lambda request: False,  # it has lines of its own
    "denoising_strength": lambda request: isinstance(request, Img2ImgRequest) or _hires(request),
    "refiner_checkpoint": lambda request: False,  # told where it took over
    "refiner_switch_at": lambda request: False,
    "hr_checkpoint_name": lambda request: False,  # told by its own name
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
    "outpaint_left": _outpainted_at("outpaint_left"),
    "outpaint_right": _outpainted_at("outpaint_right"),
    "outpaint_top": _outpainted_at("outpaint_top"),
    "outpaint_bottom": _outpainted_at("outpaint_bottom"),
    "outpaint_fill": _outpainted,
    "outpaint_feather": _outpainted,
}


class _Reading:
    """A text while it is read: pairs still to be used, and what has come of the others."""

    def __init__(self, pairs: dict[str, str], notes: list[str]) -> None:
        self.pairs = pairs
        self.notes = notes
        self.fields: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.refused: dict[str, str] = {}

    def take(self, model: type[BaseModel], param: Param, text: str) -> None:
        """Put `text` into `fields`, as a valid value of the field; a note if it is none."""
        text = _with_point(param, text)
        value = _indexed(param, text)
        number = _number(text)
        for bound, beyond in ((param.minimum, "less"), (param.maximum, "more")):
            if number is not None and bound is not None and (number < bound if beyond == "less" else number > bound):
                if param.name in SIZES:
                    self.refuse(param, f"{param.control.label}: {_short(text)[1:-1]} is {beyond} than {bound:g}")
                    return
                self.notes.append(f"{param.control.label}: {text} is {beyond} than {bound:g}, {bound:g} is set.")
                value = bound
        try:
            self.fields[param.name] = getattr(model.model_validate({param.name: value}), param.name)
        except ValidationError as error:
            what = f"{param.control.label}: {_short(text)} cannot be used, {expectation(param, error)}"
            if param.name in SIZES:
                self.refuse(param, what)
            else:
                self.notes.append(f"{what}.")

    def refuse(self, param: Param, what: str) -> None:
        """Leave a size as it is: the nearest one that can be made is not what was meant, and may take hours."""
        self.refused[param.name] = f"{what}; the size stays as it is."
        self.notes.append(self.refused[param.name])


def _read_request(reading: _Reading, model: type[GenerationRequest]) -> None:
    declared = _with_keys(model)
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
            continue  # it is an img2img text's
        text = reading.pairs.pop(param.control.infotext, None)
        if text is not None:
            reading.take(model, param, text)
        elif param.control.absent is not ...:
            reading.fields[name] = param.control.absent
    for pair in (("width", "height"), ("hr_resize_x", "hr_resize_y")):
        if reading.refused.keys() & set(pair):  # one side alone has another shape
            reading.fields = {name: value for name, value in reading.fields.items() if name not in pair}
    if model is Txt2ImgRequest:
        reading.fields["enable_hr"] = is_hires
        if is_hires and (schedule := _schedule_named(named_hires)):
            reading.fields["hr_scheduler"] = schedule


def _schedule_named(name: str) -> str:
    """The schedule of that name as the form has it; "" if there is none."""
    return next((row.name for row in SCHEDULES if row.name == name), "")


def _read_sampler(reading: _Reading, sampler: str, scheduler: str) -> None:
    """Old texts name both in one ("DPM++ 2M Karras")."""
    try:
        sampler_row, scheduler_row = resolve_names(sampler, scheduler)
    except WebuiError as error:
        if error.field == "scheduler":
            reading.notes.append(f"There is no schedule type {_short(scheduler)}; Automatic is set.")
            _read_sampler(reading, sampler, "Automatic")
        else:
            near = nearest_sampler(sampler[:100])
            reading.notes.append(
                f"There is no sampler {_short(sampler)}; the nearest name is {near!r}. The sampler stays as it is."
            )
        return
    own = scheduler_row.name == sampler_row.default_schedule  # the same thing; A1111 shows it as Automatic
    reading.fields["sampler_name"] = sampler_row.name
    reading.fields["scheduler"] = "Automatic" if own else scheduler_row.name


def _read_settings(reading: _Reading, current: Settings, implied_pairs: Mapping[str, str]) -> None:
    """Settings the text stands for, present or absent, that differ from the current ones."""
    given = {**implied_pairs, **reading.pairs}
    for name, param in _with_keys(Settings).items():
        key = param.control.infotext
        value: Any = _absent_setting(param)
        if key in given:
            reading.pairs.pop(key, None)
            try:
                value = getattr(Settings.model_validate({name: _with_point(param, given[key])}), name)
            except ValidationError as error:
                reading.notes.append(
                    f"{param.control.label}: {_short(given[key])} cannot be used, {expectation(param, error)}."
                )
                continue
        if value != getattr(current, name):
            reading.settings[name] = value
    if current.token_merging_ratio_img2img:  # the text names the ratio that the picture was made with, whatever it is
        reading.settings["token_merging_ratio_img2img"] = 0.0


def _read_checkpoint(reading: _Reading, current: Settings, catalog: Catalog | None) -> None:
    if catalog is None or not catalog.checkpoints:
        return
    for key in ("refiner_checkpoint", "hr_checkpoint_name"):
        if named := reading.fields.get(key):
            try:
                reading.fields[key] = catalog.checkpoint(named).name
            except WebuiError:
                reading.notes.append(f"The checkpoint {_short(named)} that it was made with is not here.")
                reading.fields[key] = ""
    name, digits = reading.pairs.get("Model", ""), reading.pairs.get("Model hash", "")
    if not name and not digits:
        return
    try:
        wanted, note = catalog.checkpoint_of_text(name, digits)
    except WebuiError:
        reading.notes.append(f"The picture was made with the checkpoint {_short(name or digits)}, which is not here.")
        return
    if note:
        reading.notes.append(note)
    try:
        selected = catalog.checkpoint(current.sd_model_checkpoint)
    except WebuiError:  # the selected one has been removed: any other differs from it
        selected = None
    if wanted != selected:
        reading.settings["sd_model_checkpoint"] = wanted.name


def _read_vae(reading: _Reading, current: Settings, catalog: Catalog | None) -> None:
    """The VAE by its hash, as far as that is known, or name. A text that names its program and no VAE had none."""
    if catalog is None or not catalog.checkpoints:
        return
    name, digits = reading.pairs.get("VAE", ""), reading.pairs.get("VAE hash", "").lower()
    if not name and not digits and "Version" not in reading.pairs:
        return
    wanted = None
    if name or digits:
        try:
            wanted = catalog.vae_of_text(name, digits)
        except WebuiError:
            reading.notes.append(f"The VAE {_short(name or digits)} that it was made with is not here.")
            return
    try:
        checkpoint = catalog.checkpoint(reading.settings.get("sd_model_checkpoint", current.sd_model_checkpoint))
        is_set = catalog.vae_for(current.sd_vae, checkpoint) == wanted
    except WebuiError:  # what is set is gone
        is_set = False
    if not is_set:
        reading.settings["sd_vae"] = wanted.name if wanted is not None else OWN_VAE


def _with_keys(model: type[BaseModel]) -> dict[str, Param]:
    return {name: param for name, param in params(model).items() if param.control.infotext}


def _absent_setting(param: Param) -> Any:
    return param.default if param.control.absent is ... else param.control.absent


def _shown(param: Param, value: Any) -> str:
    choices = param.control.choices
    labelled = isinstance(choices, tuple) and choices and isinstance(value, int) and not isinstance(value, bool)
    return choices[value] if labelled else str(value)


def _indexed(param: Param, text: str) -> str | int:
    """The index of the label `text` among the choices of an integer field; other texts as they are."""
    counted = isinstance(param.control.choices, tuple) and param.type is int
    labels = [label.lower() for label in param.control.choices] if counted else []
    return labels.index(text.lower()) if text.lower() in labels else text


def _with_point(param: Param, text: str) -> str:
    """A number with a point before its fraction, whatever country it is from; `1,024` is 1024 where things are counted.

    Other texts, and those of fields that hold no number, as they are.
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


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


# Every key that a text of settings may hold, and those keys by their letters alone.
KNOWN = frozenset(
    {*FIXED_ORDER, *LAST, *INFORMATION, "Script", NAMED_SCHEDULE, NAMED_HIRES_SCHEDULE}
    | {
        param.control.infotext
        for model in (Txt2ImgRequest, Img2ImgRequest, Settings)
        for param in _with_keys(model).values()
    }
)
FOLDED = {**{key.casefold(): key for key in KNOWN}, **SYNONYMS}
