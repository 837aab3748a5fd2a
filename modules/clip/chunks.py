"""Splits prompt pieces into CLIP's chunks of 75 tokens and counts tokens, without torch, so the page can count too.

A piece is `(text, weight)` from the prompt parser; `("BREAK", -1)` ends the current chunk. It follows A1111's rules.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from modules.clip.bpe import COMMA, END, START, ClipBPE

CHUNK_LENGTH: Final = 75  # tokens of text; with the two markers 77, the length of CLIP's position table
COMMA_BACKTRACK: Final = 20
BREAK: Final = ("BREAK", -1)
_LETTER: Final = r"[^\W\d_]"
_ENDS_IN_SIGN: Final = re.compile(r"^[^\w\s].*\w|\w.*[^\w\s]$", re.DOTALL)

Piece = tuple[str, float]


class Word(NamedTuple):
    """A word that stands for its own vectors (a textual inversion), and the number of these vectors."""

    name: str
    vectors: int


class Placed(NamedTuple):
    """A word whose vectors replace the tokens from `position` on; position 0 is the start marker."""

    position: int
    word: Word


class Chunk(NamedTuple):
    """77 tokens with their weights: a start marker, text, and end markers as padding. Markers have weight 1.

    Tokens that the vectors of `words` replace are 0.
    """

    tokens: tuple[int, ...]
    multipliers: tuple[float, ...]
    words: tuple[Placed, ...] = ()


class TokenCount(NamedTuple):
    """`tokens` used of `capacity`, a multiple of 75, as in "12/75". The rest of a chunk after BREAK counts as used."""

    tokens: int
    capacity: int


class Chunks(NamedTuple):
    """At least one chunk, and the token count that the counter shows."""

    chunks: tuple[Chunk, ...]
    token_count: int


class Vocabulary:
    """Words with their own vectors, found in a token list by the tokens of their names; the longest match wins.

    Words with more vectors than a chunk has tokens are left out.
    """

    def __init__(self, words: Iterable[Word], tokenizer: ClipBPE) -> None:
        self._by_first: dict[int, list[tuple[tuple[int, ...], Word]]] = {}
        for word in words:
            tokens = tuple(tokenizer.encode(word.name))
            if tokens and 0 < word.vectors <= CHUNK_LENGTH:
                self._by_first.setdefault(tokens[0], []).append((tokens, word))
        for named in self._by_first.values():
            named.sort(key=lambda pair: len(pair[0]), reverse=True)
        edged = {word.name for named in self._by_first.values() for _, word in named if _ENDS_IN_SIGN.search(word.name)}
        patterns = [_apart(name) for name in sorted(edged, key=len, reverse=True)]
        self._edged = re.compile("|".join(patterns), re.IGNORECASE) if patterns else None

    def tokens(self, text: str, tokenizer: ClipBPE) -> list[int]:
        """The tokens of `text`. A word that begins or ends with punctuation is encoded separately from its neighbors.

        Otherwise CLIP would turn the `),` in `style (v1), night` into one token, and `style (v1)` would not be found.
        """
        if self._edged is None:
            return tokenizer.encode(text)
        tokens: list[int] = []
        end = 0
        for match in self._edged.finditer(text):
            tokens += tokenizer.encode(text[end : match.start()]) + tokenizer.encode(match.group())
            end = match.end()
        return tokens + tokenizer.encode(text[end:])

    def at(self, tokens: Sequence[int], position: int) -> tuple[Word, int] | None:
        """(the word that begins at `position`, the number of tokens in its name); None if there is none."""
        for name, word in self._by_first.get(tokens[position], ()):
            if tuple(tokens[position : position + len(name)]) == name:
                return word, len(name)
        return None


def _apart(name: str) -> str:
    """A pattern that matches `name`, but not inside a longer word."""
    before = rf"(?<!{_LETTER})" if re.match(_LETTER, name) else ""
    after = rf"(?!{_LETTER})" if re.match(_LETTER, name[-1]) else ""
    return before + re.escape(name) + after


def _closed(tokens: Sequence[int], multipliers: Sequence[float], words: Sequence[Placed] = ()) -> Chunk:
    padding = CHUNK_LENGTH - len(tokens)
    return Chunk(
        tokens=(START, *tokens, *[END] * (padding + 1)),
        multipliers=(1.0, *multipliers, *[1.0] * (padding + 1)),
        words=tuple(words),
    )


EMPTY_CHUNK: Final = _closed((), ())


def chunk_prompt(
    pieces: Sequence[Piece],
    tokenizer: ClipBPE,
    comma_backtrack: int = COMMA_BACKTRACK,
    vocabulary: Vocabulary | None = None,
    is_exact: bool = False,
) -> Chunks:
    """Fill chunks with the tokens of `pieces` and with the words in `vocabulary`; a word's vectors share one chunk.

    When a chunk is full and its last `comma_backtrack` tokens (0 to 74; 0 turns this off) contain a comma, the tokens
    after the comma move to the next chunk, so a phrase is not cut in two. When a word moves, A1111 leaves its vectors
    behind, over the end markers of the old chunk; nor does it find a word that ends with punctuation if more
    punctuation follows. `is_exact` reproduces both.
    """
    chunks: list[Chunk] = []
    filling = _Filling([], [], [])
    last_comma = -1

    def close() -> None:
        nonlocal filling, last_comma
        chunks.append(_closed(*filling))
        filling, last_comma = _Filling([], [], []), -1

    for piece in pieces:
        if piece == BREAK:
            close()
            continue
        text, weight = piece
        encoded = vocabulary.tokens(text, tokenizer) if vocabulary and not is_exact else tokenizer.encode(text)
        position = 0
        while position < len(encoded):
            token, filled = encoded[position], len(filling.tokens)
            if token == COMMA:
                last_comma = filled
            elif filled == CHUNK_LENGTH and last_comma != -1 and 0 < filled - last_comma <= comma_backtrack:
                moved = filling.cut(last_comma + 1, is_exact)
                close()
                filling = moved
            if len(filling.tokens) == CHUNK_LENGTH:
                close()
            found = vocabulary.at(encoded, position) if vocabulary else None
            if found is None:
                filling.add(token, float(weight))
                position += 1
                continue
            word, length = found
            if len(filling.tokens) + word.vectors > CHUNK_LENGTH:
                close()
            filling.words.append(Placed(len(filling.tokens) + 1, word))
            for _ in range(word.vectors):
                filling.add(0, float(weight))
            position += length
    token_count = CHUNK_LENGTH * len(chunks) + len(filling.tokens)
    if filling.tokens or not chunks:
        close()
    return Chunks(tuple(chunks), token_count)


class _Filling(NamedTuple):
    """A chunk that is not complete yet."""

    tokens: list[int]
    multipliers: list[float]
    words: list[Placed]

    def add(self, token: int, weight: float) -> None:
        self.tokens.append(token)
        self.multipliers.append(weight)

    def cut(self, length: int, leaves_words: bool) -> "_Filling":
        """Keep `length` tokens and return the rest, with its words unless `leaves_words`."""
        moved = [placed for placed in self.words if placed.position > length and not leaves_words]
        rest = _Filling(
            self.tokens[length:],
            self.multipliers[length:],
            [Placed(placed.position - length, placed.word) for placed in moved],
        )
        del self.tokens[length:], self.multipliers[length:]
        self.words[:] = [placed for placed in self.words if placed not in moved]
        return rest


def count_tokens(
    pieces: Sequence[Piece],
    tokenizer: ClipBPE,
    comma_backtrack: int = COMMA_BACKTRACK,
    vocabulary: Vocabulary | None = None,
) -> TokenCount:
    """The token count shown beside a prompt."""
    tokens = chunk_prompt(pieces, tokenizer, comma_backtrack, vocabulary).token_count
    return TokenCount(tokens, -(-max(tokens, 1) // CHUNK_LENGTH) * CHUNK_LENGTH)


OLD_FACTORS: Final = {"(": 1.1, ")": 1 / 1.1, "[": 1 / 1.1, "]": 1.1}


def old_chunk(text: str, tokenizer: ClipBPE, has_weights: bool = True, vocabulary: Vocabulary | None = None) -> Chunk:
    """A prompt as one chunk, with A1111's first emphasis syntax: a token with brackets weights all that follows.

    A token with several brackets multiplies by each; one whose brackets cancel out stays as text. Numbers in brackets
    are ordinary text, and everything beyond 75 tokens is dropped.
    """
    filling = _Filling([], [], [])
    weight = 1.0
    encoded = tokenizer.encode(text)
    position = 0
    while position < len(encoded):
        factor = 1.0
        for letter in tokenizer.symbol(encoded[position]) if has_weights else "":
            factor *= OLD_FACTORS.get(letter, 1.0)
        found = vocabulary.at(encoded, position) if vocabulary else None
        if factor != 1.0:
            weight *= factor
            position += 1
        elif found is None:
            filling.add(encoded[position], weight)
            position += 1
        else:
            word, length = found
            filling.words.append(Placed(len(filling.tokens) + 1, word))
            for _ in range(word.vectors):
                filling.add(0, weight)
            position += length
    kept = [placed for placed in filling.words if placed.position <= CHUNK_LENGTH]
    return _closed(filling.tokens[:CHUNK_LENGTH], filling.multipliers[:CHUNK_LENGTH], kept)
