"""Parsing an infotext from any program or version."""

import re
from collections.abc import Sequence
from dataclasses import replace

from modules.infotext.grammar import FEWEST_PAIRS, PAIR, SIZE, Infotext, pairs_of, prompts_of, shortened
from modules.infotext.keys import FOLDED, KNOWN
from modules.infotext.other_programs import from_json

FEWEST_KNOWN = 2  # known keys; "(red hair:1.2), (blue eyes:0.8), (green coat:1.1)" has none, so it is a prompt
STEPS_FIRST = re.compile(r"\s*Steps: *\d+ *,", re.ASCII)
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
WHOLE = re.compile(r"-?\d+", re.ASCII)
LOOKS_LIKE = {  # the format of a key's value in every settings line
    "Steps": WHOLE, "Seed": WHOLE, "Size": SIZE, "CFG scale": NUMBER, "Denoising strength": NUMBER, "Clip skip": WHOLE,
    "Variation seed": WHOLE, "ENSD": WHOLE,
}  # fmt: skip
LINE_WITH_KEY = re.compile(r"([A-Z][\w \-/]*):\s*(.*)")
VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-(\d+))?", re.ASCII)


def parse(text: str) -> Infotext:
    """Parse an infotext. Any text is accepted: without settings it is a prompt.

    `other_programs.from_json` reads the JSON of other programs; JSON of unknown programs gives only a note.
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
    notes = (f"Ignored text after the settings: {shortened(passed_over)}.",) if passed_over else ()
    return replace(prompts_of(lines[:at]), pairs=pairs, notes=notes)


def implied(infotext: Infotext) -> dict[str, str]:
    """The pairs that a text from an older A1111 implies by its version but does not contain."""
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


def _settings_line(lines: Sequence[str]) -> int | None:
    """The index of the settings line: the last line, or an earlier one that begins with Steps; None if none is."""
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
    """Whether a pair looks like a setting and not like a weight in a prompt, `(Size:1.2)`."""
    before, value = line[: match.start("key")].rstrip()[-1:], match["value"].strip()
    looks = LOOKS_LIKE.get(key)
    return before not in set("([{<") and (looks is None or looks.fullmatch(value) is not None)


def _canonical(key: str) -> str:
    """The key as A1111 writes it, ignoring case."""
    return key if key in KNOWN else FOLDED.get(key.casefold(), key)


def _behind(lines: Sequence[str]) -> tuple[dict[str, str], str]:
    """(the pairs that extensions write after the settings, `Template: …`; the rest)."""
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
