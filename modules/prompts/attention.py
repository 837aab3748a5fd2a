"""Attention weights: `(more)`, `[less]`, `(as much:1.3)`, and BREAK."""

from __future__ import annotations

import re

import numpy as np

from modules.clip.chunks import BREAK, Piece

ROUND_MULTIPLIER = 1.1
SQUARE_MULTIPLIER = 1 / 1.1

# An escaped character or a lone backslash, a bracket, a weight with its closing bracket, or text.
TOKEN = re.compile(r"\\[()\[\]\\]|\\|[(\[]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|[)\]]|[^\\()\[\]:]+|:")
BREAK_WORD = re.compile(r"\bBREAK\b")


def parse_attention(text: str, compatibility: bool = False) -> list[Piece]:
    r"""The text as pieces with weights; neighbors with equal weight are joined. BREAK is the piece ("BREAK", -1).

    Brackets multiply the weight: `(a)` by 1.1, `[a]` by 1 / 1.1, `(a:1.3)` by 1.3. Unclosed brackets end with the text,
    escaped brackets such as `\(` are literal, and invalid weights stay text. With `compatibility`, a BREAK inside
    weighted brackets becomes the *word* BREAK with that weight, as in A1111; without it, BREAK stays a break.

    >>> parse_attention("a (red:1.3) fox")
    [('a ', 1.0), ('red', 1.3), (' fox', 1.0)]
    """
    texts: list[str] = []
    breaks: list[int] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    ranges: list[tuple[int, int, float]] = []  # (first piece, one past the last, multiplier), in the order they close

    def close(bracket: str, multiplier: float) -> None:
        ranges.append((opened[bracket].pop(), len(texts), multiplier))

    for match in TOKEN.finditer(text):
        token, weight = match.group(0), match.group(1)
        if token[0] == "\\":
            texts.append(token[1:])
        elif token in opened:
            opened[token].append(len(texts))
        elif weight is not None and opened["("]:
            close("(", float(weight))
        elif token == ")" and opened["("]:
            close("(", ROUND_MULTIPLIER)
        elif token == "]" and opened["["]:
            close("[", SQUARE_MULTIPLIER)
        else:
            first, *rest = BREAK_WORD.split(token)
            texts.append(first.rstrip() if rest else first)
            for i, part in enumerate(rest, 1):
                breaks.append(len(texts))
                texts += [BREAK[0], part.strip() if i < len(rest) else part.lstrip()]
    while opened["("]:
        close("(", ROUND_MULTIPLIER)
    while opened["["]:
        close("[", SQUARE_MULTIPLIER)

    weights = np.ones(len(texts))
    weights[breaks] = BREAK[1]
    with np.errstate(over="ignore", invalid="ignore"):
        for first, end, multiplier in ranges:
            weights[first:end] *= multiplier
    if compatibility:
        return _joined(list(zip(texts, weights.tolist(), strict=True)), set())
    weights[breaks] = BREAK[1]
    return _joined(list(zip(texts, weights.tolist(), strict=True)), set(breaks))


def _joined(pieces: list[Piece], apart: set[int]) -> list[Piece]:
    """The pieces with neighbors of equal weight joined, except those whose index is in `apart`."""
    runs: list[tuple[list[str], float]] = []
    is_joinable = False
    for i, (text, weight) in enumerate(pieces):
        if is_joinable and i not in apart and runs[-1][1] == weight:
            runs[-1][0].append(text)
        else:
            runs.append(([text], weight))
        is_joinable = i not in apart
    return [("".join(texts), weight) for texts, weight in runs] or [("", 1.0)]


def without_weights(text: str, compatibility: bool = False) -> str:
    """The text without the brackets of weights, for language models, which read sentences; BREAK is a new line.

    >>> without_weights("a (red:1.3) [small] fox BREAK snow")
    'a red small fox\\nsnow'
    """
    pieces = parse_attention(text, compatibility)
    return "".join("\n" if piece == BREAK else piece[0] for piece in pieces).strip()
