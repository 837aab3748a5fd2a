"""Prompt editing around LoRA tags: `[<lora:ink:1>:0.5]` begins halfway, `[<lora:ink:1>::10]` ends after step 10."""

from __future__ import annotations

from typing import Final

from modules.prompts.lora_arguments import LAST_STEP, Window
from modules.prompts.schedule import Timing, schedule, stage_at
from modules.prompts.tags import NETWORK_KINDS, Tag, rewritten

_MARK: Final = 0xF0000  # Unicode's private characters, one for each tag
_MOST_TAGS: Final = 1000


def windows(prompt: str, when: Timing, evaluations: int = 1) -> list[Window]:
    """The steps in which the prompt contains each of its LoRA tags, in order.

    `when` counts model evaluations; a step has `evaluations` of them. A tag that alternates, as in
    `[<lora:a>|<lora:b>]`, acts in all steps.

    >>> from modules.prompts.schedule import timing
    >>> windows("a [<lora:ink:1>::4] [<lora:wash:1>:0.5] <lora:dry:1>", timing(8))
    [Window(start=0, stop=5), Window(start=5, stop=10000), Window(start=0, stop=10000)]
    """
    marks: list[str] = []

    def marked(tag: Tag, text: str) -> str:
        if tag.kind not in NETWORK_KINDS:
            return ""
        marks.append(chr(_MARK + min(len(marks), _MOST_TAGS)))
        return marks[-1]

    stages = schedule(rewritten(prompt, marked), when)
    texts = [stages[stage_at(stages, step * evaluations)].text for step in range(-(-when.steps // evaluations))]
    return [_window([mark in text for text in texts]) for mark in marks]


def _window(held: list[bool]) -> Window:
    """The range of steps with a tag: all steps if there are gaps, an empty range if no step has the tag."""
    if not any(held):
        return Window(0, 0) if held else Window()
    first, last = held.index(True), len(held) - held[::-1].index(True)
    if not all(held[first:last]):
        return Window()
    return Window(first, LAST_STEP if last == len(held) else last)
