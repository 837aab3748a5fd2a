"""CLIP's byte-pair tokenizer in plain Python: text to token ids, without torch or transformers.

The page counts tokens and the engine encodes prompts with it, so both always agree. The algorithm is byte-pair encoding
(Sennrich, Haddow and Birch 2016, arXiv 1508.07909) over bytes, with the word pattern and the vocabulary of CLIP
(Radford et al. 2021, arXiv 2103.00020).
"""

import gzip
import heapq
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import ftfy
import regex

from modules.base.root import CONFIGS

CLIP_VOCABULARY: Final = CONFIGS / "clip" / "bpe_simple_vocab_16e6.txt.gz"

VOCABULARY_SIZE: Final = 49408
# The vocabulary without the single bytes, the single bytes that end a word, and the two markers.
MERGES: Final = VOCABULARY_SIZE - 2 * 256 - 2
START: Final = 49406
END: Final = 49407
COMMA: Final = 267  # "," as a separate word

_MARKERS: Final = {"<|startoftext|>": START, "<|endoftext|>": END}
_WORD_END: Final = "</w>"
_MARKER: Final = regex.compile(r"(<\|startoftext\|>|<\|endoftext\|>)")
_WORDS: Final = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE)
_REMEMBERED_WORDS: Final = 16384


def _byte_letters() -> dict[int, str]:
    """A printable letter for each byte: its Latin-1 letter if printable, else one from U+0100, in byte order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(hidden)}


def _read_merges(vocabulary: Path) -> list[tuple[str, str]]:
    with gzip.open(vocabulary, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    # The first line is a version; the lines after the merges were never used.
    return [(left, right) for left, right in (line.split() for line in lines[1 : 1 + MERGES])]


class ClipBPE:
    """Text to CLIP's 49408 token ids and back. Loading takes about 0.1 s; an instance remembers the words it has split.

    >>> ClipBPE().encode("a photo of a cat")
    [320, 1125, 539, 320, 2368]
    """

    def __init__(self, vocabulary: Path = CLIP_VOCABULARY) -> None:
        self._letters = _byte_letters()
        merges = _read_merges(vocabulary)
        single = list(self._letters.values())  # ids 0 to 255; the order matters
        symbols = [
            *single,
            *(letter + _WORD_END for letter in single),
            *(left + right for left, right in merges),
            *_MARKERS,
        ]
        if len(symbols) != VOCABULARY_SIZE:
            raise ValueError(
                f"{vocabulary.name}: {len(symbols)} symbols, expected {VOCABULARY_SIZE}; the file is damaged"
            )
        self._symbols = symbols
        self._ids: Mapping[str, int] = {symbol: index for index, symbol in enumerate(symbols)}
        self._ranks: Mapping[tuple[str, str], int] = {pair: rank for rank, pair in enumerate(merges)}
        self._bytes: Mapping[str, int] = {letter: byte for byte, letter in self._letters.items()}
        self._word_ids = lru_cache(maxsize=_REMEMBERED_WORDS)(self._split_word)

    def __len__(self) -> int:
        return len(self._symbols)

    def __reduce__(self) -> tuple[type["ClipBPE"], tuple[()]]:
        return ClipBPE, ()

    def symbol(self, token: int) -> str:
        """The vocabulary's entry: letters that stand for bytes, and `</w>` at the end of a word."""
        return self._symbols[token]

    def merges(self) -> list[tuple[str, str]]:
        """The pairs to merge, in order of priority."""
        return list(self._ranks)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, 0 to 49407, without start and end marker.

        Mojibake, curly quotes and full-width letters are fixed first (ftfy); case and runs of white space do not
        matter. A literal `<|endoftext|>` becomes the marker, as in transformers' tokenizer.
        """
        tokens: list[int] = []
        for part in _MARKER.split(text):
            if part in _MARKERS:
                tokens.append(_MARKERS[part])
            else:
                words = _WORDS.findall(ftfy.fix_text(part).lower())
                tokens.extend(token for word in words for token in self._word_ids(word))
        return tokens

    def decode(self, tokens: list[int]) -> str:
        """The text of `tokens`, with a space after each word; invalid UTF-8 becomes U+FFFD."""
        text = "".join(self._symbols[token] for token in tokens if token < START)
        pieces = text.split(_WORD_END)
        return " ".join(
            bytes(self._bytes[letter] for letter in piece).decode("utf-8", "replace") for piece in pieces
        ).strip()

    def _split_word(self, word: str) -> tuple[int, ...]:
        letters = [self._letters[byte] for byte in word.encode("utf-8")]
        letters[-1] += _WORD_END
        return tuple(self._ids[symbol] for symbol in self._merge(letters))

    def _merge(self, symbols: list[str]) -> list[str]:
        """Merge neighboring symbols, lowest rank first and from the left, until no pair is in the table.

        Uses a heap over a linked list, which takes n log n. The usual rescan is quadratic: a word of 100 000 letters
        would hang the page.
        """
        count = len(symbols)
        following = list(range(1, count + 1))
        preceding = list(range(-1, count - 1))
        heap: list[tuple[int, int, str, str]] = []

        def offer(left: int) -> None:
            right = following[left]
            if right < count:
                rank = self._ranks.get((symbols[left], symbols[right]))
                if rank is not None:
                    heapq.heappush(heap, (rank, left, symbols[left], symbols[right]))

        for index in range(count - 1):
            offer(index)
        while heap:
            _, left, first, second = heapq.heappop(heap)
            right = following[left]
            if symbols[left] != first or right >= count or symbols[right] != second:
                continue  # one of the two was merged since the pair was pushed
            symbols[left], symbols[right] = first + second, ""
            following[left] = following[right]
            if following[left] < count:
                preceding[following[left]] = left
            offer(left)
            if preceding[left] >= 0:
                offer(preceding[left])
        return [symbol for symbol in symbols if symbol]
