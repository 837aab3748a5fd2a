"""The layout of A1111's infotext: lines with the prompts, then a line of `key: value` pairs.

    a cat on a roof
    Negative prompt: blurry
    Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.0, Seed: 1, Size: 512x768, Version: v1.10.0

Known limits of the layout: white space around the lines of a prompt is lost, and a line that begins with
"Negative prompt:" ends the prompt.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

FormKind = Literal["txt2img", "img2img"]

NEGATIVE = "Negative prompt:"

FIXED_ORDER = (
    "Steps", "Sampler", "Schedule type", "CFG scale", "Image CFG scale", "Seed", "Face restoration", "Size",
    "Model hash", "Model", "FP8 weight", "Cache FP16 weight for LoRA", "VAE hash", "VAE", "Variation seed",
    "Variation seed strength", "Seed resize from", "Denoising strength", "Conditional mask weight", "Clip skip", "ENSD",
    "Token merging ratio", "Token merging ratio hr", "Init image hash", "RNG", "Tiling",
)  # fmt: skip
LAST = ("Version", "User")

# A key is a run of at least two word characters, spaces, "-" and "/". The pattern matches whole runs (possessively),
# never from the middle, so a megabyte of hostile text takes linear time.
PAIR = re.compile(r'(?<![\w \-/])[ \-/]*+(?P<key>\w[\w \-/]++):\s*(?P<value>"(?:\\.|[^\\"])++"|[^,]*)(?:,|$)')
# The digits after a comma inside a number: a decimal comma, `7,5`, or thousands. A1111 itself writes a space after each
# comma.
AFTER_COMMA = re.compile(r"\d+(?:,\d+)*(?=\s*(?:,|$))", re.ASCII)
WHOLE = re.compile(r"[-+]?\d+", re.ASCII)
KEY_ALONE = re.compile(r"\w[\w \-/]+")
SIZE = re.compile(r"(\d+)x(\d+)", re.ASCII)
FEWEST_PAIRS = 3  # a line with fewer belongs to the prompt, as in A1111


@dataclass(frozen=True)
class Infotext:
    """A parsed text. `pairs` are its settings, in order, as text; `Size: 512x768` becomes Size-1 and Size-2.

    `notes` are sentences for the user: which program wrote the text, and which parts could not be used.
    """

    prompt: str = ""
    negative_prompt: str = ""
    pairs: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> FormKind:
        """The kind of job that wrote the text, judging by its keys."""
        from_picture = "Denoising strength" in self.pairs and not any(key.startswith("Hires ") for key in self.pairs)
        return "img2img" if from_picture or "Resize mode" in self.pairs else "txt2img"


def prompts_of(lines: Iterable[str]) -> Infotext:
    """The prompts in the lines before the settings."""
    prompt: list[str] = []
    negative: list[str] = []
    part = prompt
    for line in map(str.strip, lines):
        if line.startswith(NEGATIVE):
            part = negative
            line = line.removeprefix(NEGATIVE).strip()
        if line or part:  # blank lines count only after some text
            part.append(line)
    return Infotext("\n".join(prompt), "\n".join(negative))


def compose(prompt: str, negative_prompt: str, pairs: Mapping[str, object]) -> str:
    """The text for a picture. Keys come in A1111's order, then others in the given order, the version last.

    A value of None is left out; a value equal to its key becomes just the key; `X-1` and `X-2` become `X: 1x2`.
    """
    joined = sizes_joined({key: str(value) for key, value in pairs.items() if value is not None})
    first = [key for key in FIXED_ORDER if key in joined]
    last = [key for key in LAST if key in joined]
    middle = [key for key in joined if key not in FIXED_ORDER and key not in LAST]
    line = ", ".join(
        key if joined[key] == key else f"{key}: {_quoted(joined[key])}" for key in (*first, *middle, *last)
    )
    negative = f"\n{NEGATIVE} {negative_prompt}" if negative_prompt else ""
    return f"{prompt}{negative}\n{line}".strip()


def pairs_of(line: str) -> dict[str, str]:
    """All pairs of a line in order, including keys without a value. Numbers keep their commas."""
    pairs: dict[str, str] = {}
    end = 0
    for match in PAIR.finditer(line):
        _keys_alone(line[end : match.start()], pairs)
        end = match.end()
        key, value = match["key"].strip(), _unquoted(match["value"].strip())
        if WHOLE.fullmatch(value) and (after := AFTER_COMMA.match(line, end)):
            value, end = f"{value},{after[0]}", after.end()
        size = SIZE.fullmatch(value)
        if size:
            pairs[f"{key}-1"], pairs[f"{key}-2"] = size.groups()
        elif value:
            pairs[key] = value
    _keys_alone(line[end:], pairs)
    return pairs


def _keys_alone(between: str, pairs: dict[str, str]) -> None:
    for word in map(str.strip, between.split(",")):
        if KEY_ALONE.fullmatch(word):
            pairs[word] = word


def _quoted(value: str) -> str:
    """The value in JSON quotes if A1111 uses them, or if its reader would otherwise change the value."""
    ambiguous = any(sign in value for sign in ",\n:") or value.startswith('"') or value != value.strip()
    return json.dumps(value, ensure_ascii=False) if ambiguous else value


def _unquoted(value: str) -> str:
    if len(value) < 2 or not (value.startswith('"') and value.endswith('"')):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def sizes_joined(pairs: dict[str, str]) -> dict[str, str]:
    """The pairs with `X-1` and `X-2`, if both are whole numbers, joined into one `X` in the place of the first."""
    joined: dict[str, str] = {}
    for key, value in pairs.items():
        stem, _, which = key.rpartition("-")
        size = f"{pairs.get(f'{stem}-1')}x{pairs.get(f'{stem}-2')}"
        if stem and which in ("1", "2") and SIZE.fullmatch(size):
            joined[stem] = size
        else:
            joined[key] = value
    return joined


def shortened(text: str) -> str:
    """`text` in quotes for a message, cut to 60 characters."""
    return repr(text if len(text) <= 60 else text[:60] + "…")
