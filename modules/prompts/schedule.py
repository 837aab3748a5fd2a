"""Prompts that change during sampling: `[from:to:when]`, `[a|b]`; composition with AND; comments.

The parser makes one pass over the text with a stack of open brackets and no recursion, so its time is linear in the
length of the prompt, times the number of steps at which something changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

TOKEN = re.compile(r"(?:[^\\\[\]():|]|\\.)+|[\[\]():|]")
NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")
AND_WORD = re.compile(r"\bAND\b")
COMPOSITION_WEIGHT = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+)")
CLOSING = {")": "(", "]": "["}
FAR = 1e9  # steps; beyond any schedule, and still an integer


class Stage(NamedTuple):
    """The text up to and including step `end_at_step`, counted from 0 as in A1111."""

    end_at_step: int
    text: str


class Part(NamedTuple):
    """One part of a composition, with its weight."""

    text: str
    weight: float


@dataclass(frozen=True)
class Timing:
    """How to convert `when` to a step.

    steps: of the pass (twice as many for second-order samplers).  int_offset: the number of steps before this pass.
    fraction_offset: 1 in the hires pass, whose fractions run from 1 to 2.
    is_old: as in A1111 before 1.6 ("Old prompt editing timelines"): every number below 1 is a fraction, in both passes.
    has_more: whether a hires pass follows, which gives fractions above 1 a meaning.
    """

    steps: int
    int_offset: int = 0
    fraction_offset: float = 0.0
    is_old: bool = False
    has_more: bool = False

    def step(self, when: str) -> int:
        value = float(when)
        if self.is_old:
            value = value * self.steps if value < 1 else value
        elif "." in when:
            value = (value - self.fraction_offset) * self.steps
        else:
            value -= self.int_offset
        return min(self.steps, int(min(max(value, -FAR), FAR)))


@dataclass(frozen=True)
class _Scheduled:
    before: list[Node]
    after: list[Node]
    when: int


@dataclass(frozen=True)
class _Alternate:
    options: list[list[Node]]


# Lists are nested, so closing a bracket copies no text.
Node: TypeAlias = "str | list[Node] | _Scheduled | _Alternate"


@dataclass
class _Frame:
    """An open bracket and the parts between its separators."""

    bracket: str
    parts: list[list[Node]] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)


def timing(
    steps: int, hires_steps: int | None = None, *, use_old_scheduling: bool = False, has_hires_pass: bool = False
) -> Timing:
    """The timing of a first pass of `steps`, or of the following hires pass of `hires_steps`."""
    if use_old_scheduling:
        return Timing(steps, is_old=True)
    if hires_steps is not None:
        return Timing(hires_steps, int_offset=steps, fraction_offset=1.0, has_more=True)
    return Timing(steps, has_more=has_hires_pass)


def schedule(prompt: str, when: Timing, compatibility: bool = False) -> list[Stage]:
    """The stages of a prompt; the last stage ends with the last step.

    `[from:to:when]`, `[to:when]` and `[from::when]` change at a step (a whole number) or at a fraction of the steps (a
    number with a point); `[a|b|c]` alternates every step. Everything else is text, and a `|` outside an alternation
    turns the whole prompt into text. Without `compatibility`, `[word:1.5]` with no hires pass is a weight, which is
    what users mean; in A1111 the word never appears. (Near unmatched brackets A1111's parser reads some edits as text,
    depending on its version; here an edit is always an edit.)

    >>> schedule("a [cat:dog:0.5]", timing(20))
    [Stage(end_at_step=10, text='a cat'), Stage(end_at_step=20, text='a dog')]
    """
    ends = {when.steps}
    tree = _parse(prompt, when, ends, compatibility)
    if tree is None:
        return [Stage(when.steps, prompt)]
    return [Stage(end, _text_at(tree, end)) for end in sorted(ends)]


def stage_at(stages: list[Stage], step: int) -> int:
    """The index of the stage at `step`, counted from 0; 0 if the step is beyond the last stage."""
    return next((i for i, stage in enumerate(stages) if step <= stage.end_at_step), 0)


def composition(prompt: str, compatibility: bool = False) -> list[Part]:
    """The parts of a prompt between `AND`s, each with the weight after its last colon, or 1.

    With `compatibility` even a single part has such a weight, as in A1111, where "ratio 16:9" gets weight 9.

    >>> composition("a cat :1.2 AND a dog")
    [Part(text='a cat', weight=1.2), Part(text=' a dog', weight=1.0)]
    """
    texts = AND_WORD.split(prompt)
    if len(texts) == 1 and not compatibility:
        return [Part(prompt, 1.0)]
    return [_weighted(text) for text in texts]


def without_comments(text: str) -> str:
    """The prompt with each `# …` up to the end of its line replaced by a line break, as A1111's comment option does."""
    text = re.sub(r"(?:^|\n)#[^\n]*(?:\n|$)", "\n", text)
    return re.sub(r"#[^\n]*(?:\n|$)", "\n", text)


def _weighted(text: str) -> Part:
    head, colon, tail = text.rstrip().rpartition(":")
    if colon and COMPOSITION_WEIGHT.fullmatch(tail.strip()):
        return Part(head.rstrip(), float(tail))
    return Part(text.rstrip(), 1.0)


def _parse(prompt: str, when: Timing, ends: set[int], compatibility: bool) -> list[Node] | None:
    """The prompt as a tree; adds the steps at which it changes to `ends`. None if A1111's grammar rejects all of it."""
    top: list[Node] = []
    frames: list[_Frame] = []
    position = 0
    for match in TOKEN.finditer(prompt):
        if match.start() != position:  # a backslash with nothing to escape
            return None
        position = match.end()
        token = match.group()
        items = frames[-1].parts[-1] if frames else top
        if token in ("(", "["):
            frames.append(_Frame(token))
        elif token in CLOSING:
            is_matching = bool(frames) and frames[-1].bracket == CLOSING[token]
            node = _node(frames[-1], token, when, ends, compatibility) if is_matching else None
            if node is not None:
                frames.pop()
                (frames[-1].parts[-1] if frames else top).append(node)
            elif _dissolve(frames, top):
                top.append(token)
            else:
                return None
        elif token in (":", "|") and frames:
            frames[-1].separators.append(token)
            frames[-1].parts.append([])
        elif token == "|":
            return None
        else:
            items.append(token)
    return top if position == len(prompt) and _dissolve(frames, top) else None


def _node(frame: _Frame, closing: str, when: Timing, ends: set[int], compatibility: bool) -> Node | None:
    """The node of a closed bracket; None if it is plain text."""
    parts, count = frame.parts, len(frame.separators)
    if count == 0:
        return [frame.bracket, parts[0], closing]
    kinds = set(frame.separators)
    if frame.bracket == "(":
        return ["(", parts[0], ":", parts[1], ")"] if kinds == {":"} and count == 1 else None
    if kinds == {"|"}:
        ends.update(range(1, when.steps + 1))
        return _Alternate(parts)
    number = NUMBER.fullmatch("".join(map(str, parts[-1]))) if kinds == {":"} and count <= 2 else None
    if number is None:
        return None
    text = number.group(1)
    if not compatibility and count == 1 and "." in text and not when.has_more and not when.is_old and float(text) > 1:
        return ["(", parts[0], ":", text, ")"]
    step = when.step(text)
    if step >= 1:
        ends.add(step)
    return _Scheduled(parts[0] if count == 2 else [], parts[-2], step)


def _dissolve(frames: list[_Frame], top: list[Node]) -> bool:
    """Move all open frames into `top` as plain text; False if one contains a `|`, which the grammar rejects there."""
    for frame in frames:
        if "|" in frame.separators:
            return False
        top.append(frame.bracket)
        for i, part in enumerate(frame.parts):
            if i > 0:
                top.append(":")
            top.extend(part)
    frames.clear()
    return True


def _text_at(tree: list[Node], step: int) -> str:
    texts: list[str] = []
    rest: list[Node] = [tree]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, _Scheduled):
            rest.append(node.before if step <= node.when else node.after)
        elif isinstance(node, _Alternate):
            rest.append(node.options[(step - 1) % len(node.options)])
        else:
            rest.extend(reversed(node))
    return "".join(texts)
