"""Prompt pieces to CLIP's chunks of 75 tokens, and the token count; without torch, so that the page can count too.

A piece is `(text, weight)` as the prompt parser gives it; `("BREAK", -1)` ends the current chunk. The rules: A1111's.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from modules.clip_bpe import COMMA, END, START, ClipBPE

CHUNK_LENGTH: Final = 75  # tokens of text; with the two markers 77, the length of CLIP's position table
COMMA_BACKTRACK: Final = 20
BREAK: Final = ("BREAK", -1)

Piece = tuple[str, float]


class Chunk(NamedTuple):
    """77 tokens with their weights: a start marker, text, and end markers to the end. Markers weigh 1."""

    tokens: tuple[int, ...]
    multipliers: tuple[float, ...]


class TokenCount(NamedTuple):
    """`tokens` used of `capacity`, a multiple of 75, as in "12/75". What a BREAK leaves of a chunk counts as used."""

    tokens: int
    capacity: int


class Chunks(NamedTuple):
    """At least one chunk, and the number of tokens as the counter shows it."""

    chunks: tuple[Chunk, ...]
    token_count: int


def _closed(tokens: Sequence[int], multipliers: Sequence[float]) -> Chunk:
    padding = CHUNK_LENGTH - len(tokens)
    return Chunk(
        tokens=(START, *tokens, *[END] * (padding + 1)),
        multipliers=(1.0, *multipliers, *[1.0] * (padding + 1)),
    )


EMPTY_CHUNK: Final = _closed((), ())


def chunk_prompt(pieces: Sequence[Piece], tokenizer: ClipBPE, comma_backtrack: int = COMMA_BACKTRACK) -> Chunks:
    """Fill chunks with the tokens of `pieces`.

    When a chunk is full and a comma lies in its last `comma_backtrack` tokens (0 to 74; 0 turns this off), what follows
    the comma moves to the next chunk, so that a phrase is not cut in two.
    """
    chunks: list[Chunk] = []
    tokens: list[int] = []
    multipliers: list[float] = []
    last_comma = -1
    for piece in pieces:
        if piece == BREAK:
            chunks.append(_closed(tokens, multipliers))
            tokens, multipliers, last_comma = [], [], -1
            continue
        text, weight = piece
        for token in tokenizer.encode(text):
            full = len(tokens) == CHUNK_LENGTH
            if token == COMMA:
                last_comma = len(tokens)
            elif full and comma_backtrack and last_comma != -1 and len(tokens) - last_comma <= comma_backtrack:
                cut = last_comma + 1
                chunks.append(_closed(tokens[:cut], multipliers[:cut]))
                tokens, multipliers, last_comma = tokens[cut:], multipliers[cut:], -1
            if len(tokens) == CHUNK_LENGTH:
                chunks.append(_closed(tokens, multipliers))
                tokens, multipliers, last_comma = [], [], -1
            tokens.append(token)
            multipliers.append(float(weight))
    token_count = CHUNK_LENGTH * len(chunks) + len(tokens)
    if tokens or not chunks:
        chunks.append(_closed(tokens, multipliers))
    return Chunks(tuple(chunks), token_count)


def count_tokens(pieces: Sequence[Piece], tokenizer: ClipBPE, comma_backtrack: int = COMMA_BACKTRACK) -> TokenCount:
    """What the counter beside a prompt shows."""
    tokens = chunk_prompt(pieces, tokenizer, comma_backtrack).token_count
    return TokenCount(tokens, -(-max(tokens, 1) // CHUNK_LENGTH) * CHUNK_LENGTH)


OLD_FACTORS: Final = {"(": 1.1, ")": 1 / 1.1, "[": 1 / 1.1, "]": 1.1}


def old_chunk(text: str, tokenizer: ClipBPE, has_weights: bool = True) -> Chunk:
    """The one chunk of a prompt in A1111's first emphasis: every token with brackets weighs what follows it.

    A token of several brackets multiplies by each; one whose brackets cancel out stays as text. Numbers in brackets
    are words, and what lies beyond 75 tokens is lost.
    """
    tokens: list[int] = []
    multipliers: list[float] = []
    weight = 1.0
    for token in tokenizer.encode(text):
        factor = 1.0
        for letter in tokenizer.symbol(token) if has_weights else "":
            factor *= OLD_FACTORS.get(letter, 1.0)
        if factor != 1.0:
            weight *= factor
        else:
            tokens.append(token)
            multipliers.append(weight)
    return _closed(tokens[:CHUNK_LENGTH], multipliers[:CHUNK_LENGTH])
