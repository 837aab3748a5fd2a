"""Notes about a model by users, sharing sites and trainers, in any of the formats found next to models."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final, cast

from modules.base.errors import WebuiError
from modules.base.names import shown
from modules.networks.files.base_models import SD1, SD2, SDXL, UNKNOWN, family_of
from modules.networks.files.foreign import parse_json, read_text

LARGEST: Final = 4 << 20  # bytes of a file of notes; those of sharing sites list every picture of a model
LONGEST_TEXT: Final = 20_000  # characters of a description
LONGEST_LINE: Final = 2_000  # characters of text for a prompt
LONGEST_WORDS: Final = 300  # characters of the trained words from a sharing site: some list one phrase per costume
LONGEST_TAG: Final = 60
MOST_TAGS: Final = 40
LARGEST_WEIGHT: Final = 10.0
CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # and direction
_BLANKS: Final = re.compile(r"[ \t\r\f\v]+")
_LINES: Final = re.compile(r"\s*\n\s*\n\s*")
_HTML: Final = re.compile(r"</?(p|br|div|span|a|b|i|em|strong|ul|ol|li|h[1-6]|code|pre|img|hr)\b[^<>]*>", re.IGNORECASE)

JsonObject = Mapping[str, Any]


@dataclass(frozen=True)
class Notes:
    """`activation_text` is added to the prompt together with the model, `negative_text` to the negative prompt.

    `preferred_weight` is 0 if there is none. `base_model` is as the note spells it; `tags` are from a sharing site.
    """

    title: str = ""
    description: str = ""
    activation_text: str = ""
    preferred_weight: float = 0.0
    negative_text: str = ""
    notes: str = ""
    base_model: str = ""
    tags: tuple[str, ...] = ()


NOTHING: Final = Notes()


def merged(all_notes: Iterable[Notes]) -> Notes:
    """For each field, the first non-empty value."""
    values: dict[str, Any] = {}
    for notes in all_notes:
        for field in fields(Notes):
            value = getattr(notes, field.name)
            if value and field.name not in values:
                values[field.name] = value
    return Notes(**values)


def read_notes(path: Path, ending: str) -> Notes:
    """The notes in the file `path`, whose name ends with `ending`, an entry of `beside.NOTES`.

    Raises ValueError if it is not a note, too large or too deeply nested; WebuiError if it is not a regular file;
    OSError.
    """
    text = read_text(path, LARGEST)
    if ending.endswith(".txt"):
        return Notes(description=_plain(text))
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    return READERS[ending](cast(JsonObject, content))


def problem_of(path: Path, error: Exception) -> str:
    """One sentence about a file of notes that cannot be read."""
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    if isinstance(error, WebuiError):
        return error.message
    return f"{shown(path.name)} cannot be read: {reason}."


def notes_of_a1111(content: JsonObject) -> Notes:
    """Notes as written by A1111's card editor."""
    version = _line(content.get("sd version"))
    return Notes(
        description=_plain(content.get("description")),
        activation_text=_line(content.get("activation text")),
        preferred_weight=weight_of(content.get("preferred weight")),
        negative_text=_line(content.get("negative text")),
        notes=_text(content.get("notes")),
        base_model="" if version == UNKNOWN else family_of(version) or version,
    )


def notes_of_civitai(content: JsonObject) -> Notes:
    """Notes from a model version as returned by Civitai's API; several programs save it unchanged."""
    model = _object(content.get("model"))
    return Notes(
        title=_line(model.get("name")),
        description=_plain(model.get("description")) or _plain(content.get("description")),
        activation_text=_joined(content.get("trainedWords")),
        base_model=_line(content.get("baseModel")),
        tags=_tags(model.get("tags")),
    )


def notes_of_stability_matrix(content: JsonObject) -> Notes:
    """The same as saved by Stability Matrix."""
    return Notes(
        title=_line(content.get("UserTitle")) or _line(content.get("ModelName")),
        description=_plain(content.get("ModelDescription")) or _plain(content.get("VersionDescription")),
        activation_text=_joined(content.get("TrainedWords")),
        base_model=_line(content.get("BaseModel")),
        tags=_tags(content.get("Tags")),
    )


def notes_of_lora_manager(content: JsonObject) -> Notes:
    """The same as saved by ComfyUI's LoRA Manager, whose usage tips are JSON inside a string."""
    try:
        tips = _object(parse_json(content["usage_tips"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        tips = {}
    of_site = notes_of_civitai(_object(content.get("civitai")))
    notes = Notes(
        title=_line(content.get("model_name")),
        description=_plain(content.get("modelDescription")),
        preferred_weight=weight_of(tips.get("strength")),
        notes=_text(content.get("notes")),
        base_model=_line(content.get("base_model")),
        tags=_tags(content.get("tags")),
    )
    return merged((notes, of_site))


def notes_of_file(metadata: JsonObject) -> Notes:
    """Notes from a safetensors file's metadata: Stability AI's modelspec, and kohya's trainers."""
    return Notes(
        title=_line(metadata.get("modelspec.title")),
        description=_plain(metadata.get("modelspec.description")) or _plain(metadata.get("ss_training_comment")),
        activation_text=_line(metadata.get("modelspec.trigger_phrase")),
        notes=_text(metadata.get("modelspec.usage_hint")),
        base_model=_base_of_file(metadata),
        tags=_tags(_split(metadata.get("modelspec.tags"))),
    )


READERS: Final[Mapping[str, Callable[[JsonObject], Notes]]] = {
    ".json": notes_of_a1111,
    ".cm-info.json": notes_of_stability_matrix,
    ".civitai.info": notes_of_civitai,
    ".metadata.json": notes_of_lora_manager,
    ".api_info.json": notes_of_civitai,
}


def _base_of_file(metadata: JsonObject) -> str:
    base = _line(metadata.get("modelspec.architecture")) or _line(metadata.get("ss_base_model_version"))
    if base or "ss_v2" not in metadata:
        return family_of(base) or base
    # Trainers' older metadata, read as in A1111.
    is_xl = "sdxl" in _line(metadata.get("ss_network_module")) or "sdxl" in _line(metadata.get("ss_sd_scripts"))
    return SDXL if is_xl else SD2 if _line(metadata.get("ss_v2")) == "True" else SD1


def trained_tags(metadata: JsonObject, most: int) -> tuple[str, ...]:
    """The tags of a LoRA's training pictures, the most frequent first."""
    counts: dict[str, int] = {}
    for of_folder in _object(metadata.get("ss_tag_frequency")).values():
        for tag, count in _object(of_folder).items():
            if isinstance(count, int) and 0 < len(tag.strip()) <= LONGEST_TAG:
                counts[tag.strip()] = counts.get(tag.strip(), 0) + count
    return tuple(sorted(counts, key=lambda tag: (-counts[tag], tag))[:most])


def weight_of(value: Any) -> float:
    """A preferred weight; 0 if there is none, or if the value is not a number in the usual range."""
    try:
        weight = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return weight if abs(weight) <= LARGEST_WEIGHT else 0.0  # also False for NaN


def _object(value: Any) -> JsonObject:
    return cast(JsonObject, value) if isinstance(value, Mapping) else {}


def _text(value: Any, longest: int = LONGEST_TEXT) -> str:
    """Text that can be encoded and shown: no lone surrogates, no control characters except line breaks."""
    if not isinstance(value, str):
        return ""
    return CONTROLS.sub("", value[:longest].encode("utf-8", "replace").decode("utf-8")).strip()


def _line(value: Any) -> str:
    return " ".join(_text(value, LONGEST_LINE).split())


def _joined(value: Any) -> str:
    """Trained words as one text, as many as fit, but at least the first."""
    kept: list[str] = []
    for word in dict.fromkeys(_line(each).strip(" ,") for each in _list(value)[:MOST_TAGS]):
        if kept and len(", ".join([*kept, word])) > LONGEST_WORDS:
            break
        kept += [word] if word else []
    return ", ".join(kept)


def _list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _split(value: Any) -> list[str]:
    return value.split(",") if isinstance(value, str) else []


def _tags(value: Any) -> tuple[str, ...]:
    found = (_line(each)[:LONGEST_TAG] for each in _list(value)[: 4 * MOST_TAGS])
    return tuple(dict.fromkeys(filter(None, found)))[:MOST_TAGS]


class _TextOfHtml(HTMLParser):
    """Extracts the text of an HTML description, one line per block."""

    BLOCKS: Final = frozenset({"p", "br", "div", "li", "ul", "ol", "h1", "h2", "h3", "h4", "tr", "hr", "pre"})
    SILENT: Final = frozenset({"script", "style"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in self.SILENT
        if tag in self.BLOCKS:
            self.words.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in self.SILENT))
        if tag in self.BLOCKS:
            self.words.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)


def _plain(value: Any) -> str:
    """A description with its HTML removed; text without HTML, such as `use <lora:ink:0.7>`, stays unchanged."""
    text = _text(value)
    if not _HTML.search(text):
        return text
    reader = _TextOfHtml()
    try:
        reader.feed(text)
        reader.close()
    except AssertionError:  # raised by html.parser for declarations such as `<![x`
        return text
    return _LINES.sub("\n\n", _BLANKS.sub(" ", "".join(reader.words))).strip()
