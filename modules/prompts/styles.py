"""Styles: named texts that extend a prompt, from A1111's styles.csv."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from modules.base.errors import WebuiError
from modules.prompts.style_file import Style, read_style_file
from modules.schema.request import MAX_PROMPT, GenerationRequest

PLACEHOLDER = "{prompt}"
PROMPTS = (("prompt", "negative_prompt"), ("hr_prompt", "hr_negative_prompt"))

Generation = TypeVar("Generation", bound=GenerationRequest)


def read_styles(path: Path) -> dict[str, Style]:
    """The styles in the file at `path` by name; empty if it does not exist. Raises WebuiError if it is not a table."""
    return read_style_file(path).styles


def apply_styles(
    prompt: str, negative_prompt: str, names: Iterable[str], styles: Mapping[str, Style]
) -> tuple[str, str]:
    """Both prompts with the named styles applied one after another. Unknown names change nothing, as in A1111.

    Raises WebuiError before a prompt grows too long: a style may contain `{prompt}` many times.

    >>> apply_styles("a cat", "", ["oil"], {"oil": Style("oil", "oil painting of {prompt}", "photo")})
    ('oil painting of a cat', 'photo')
    """
    for name in names:
        if name in styles:
            _require_length("prompt", name, styles[name].prompt, prompt)
            _require_length("negative_prompt", name, styles[name].negative_prompt, negative_prompt)
            prompt = merged(styles[name].prompt, prompt)
            negative_prompt = merged(styles[name].negative_prompt, negative_prompt)
    return prompt, negative_prompt


def styled(request: Generation, names: Sequence[str], styles: Mapping[str, Style]) -> Generation:
    """`request` with the named styles applied to its prompts, including those of hires. fix.

    Raises WebuiError for an unknown name, and for a prompt that becomes too long.
    """
    require_styles(names, styles)
    update: dict[str, str] = {}
    for fields in PROMPTS:
        before = [str(getattr(request, field, "")) for field in fields]
        texts = apply_styles(before[0], before[1], names, styles)
        for field, was, text in zip(fields, before, texts, strict=True):
            # An empty prompt of the second pass means the first pass's prompt, which has its styles already.
            if field in PROMPTS[0] or was:
                update[field] = text
    return request.model_copy(update=update)


def style_names(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in the `styles` of a request. Raises WebuiError if that is not a list of names."""
    names = values.get("styles") or []
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in cast(Sequence[object], names)):
        raise WebuiError("styles: expected a list of names.", "GET /v1/styles lists them.", "styles")
    return tuple(cast(Sequence[str], names))


class ExtractedStyles(NamedTuple):
    """Prompts without their styles, and the names of the styles in the order in which they were applied."""

    names: tuple[str, ...]
    prompt: str
    negative_prompt: str


def extract_styles(prompt: str, negative_prompt: str, styles: Iterable[Style]) -> ExtractedStyles:
    """Find the styles applied to both prompts and remove them; the reverse of `apply_styles`.

    >>> extract_styles("oil painting of a cat", "photo", [Style("oil", "oil painting of {prompt}", "photo")])
    ExtractedStyles(names=('oil',), prompt='a cat', negative_prompt='')
    """
    left = [style for style in styles if style.prompt.strip() or style.negative_prompt.strip()]
    names: list[str] = []
    while True:
        for style in left:
            texts = without(style.prompt, prompt), without(style.negative_prompt, negative_prompt)
            if texts[0] is not None and texts[1] is not None:
                prompt, negative_prompt = texts[0], texts[1]
                names.insert(0, style.name)  # the outermost was applied last
                left.remove(style)
                break
        else:
            return ExtractedStyles(tuple(names), prompt, negative_prompt)


def without(style: str, prompt: str) -> str | None:
    """The prompt that `merged` combined with the style; None if it did not. Runs of spaces count as one."""
    style, found = _plain(style), _plain(prompt)
    before, mark, after = style.partition(PLACEHOLDER)
    if mark:
        fits = found.startswith(before) and found.endswith(after) and len(found) >= len(before) + len(after)
        return found[len(before) : len(found) - len(after)] if fits else None
    if not style:
        return prompt
    if found == style:
        return ""
    return found.removesuffix(f", {style}") if found.endswith(f", {style}") else None


def require_styles(names: Iterable[str], styles: Mapping[str, Style]) -> None:
    """Raises WebuiError with the nearest name if one of `names` is not a style."""
    for name in names:
        if name not in styles:
            near = difflib.get_close_matches(name, styles, 1, 0.0)
            raise WebuiError(
                f"styles: there is no style {name[:100]!r}{f'; did you mean {near[0]!r}?' if near else '.'}",
                "" if near else "Save one first.",
                "styles",
            )


def merged(style: str, prompt: str) -> str:
    """The style with the prompt in place of `{prompt}`; without `{prompt}`, the prompt, a comma and the style."""
    if PLACEHOLDER in style:
        return style.replace(PLACEHOLDER, prompt)
    return ", ".join(part for part in (prompt.strip(), style.strip()) if part)


def _require_length(field: str, name: str, style: str, prompt: str) -> None:
    if not style:
        return  # a prompt that is too long by itself is reported by its own check
    marks = style.count(PLACEHOLDER)
    length = len(style) + marks * (len(prompt) - len(PLACEHOLDER)) if marks else len(style) + len(prompt)
    if length > MAX_PROMPT:
        raise WebuiError(
            f"{field}: with the style {name[:100]!r} it has {length} characters, at most {MAX_PROMPT} are allowed.",
            "Choose fewer styles, or shorten the style.",
            field,
        )


def _plain(text: str) -> str:
    return re.sub(r"  +", " ", text.strip())
