"""The words the text encoder is trained on, numbered compactly.

The checkpoint carries CLIP's whole table of 49408 tokens; training moves only the rows the drawn world uses. All
others become one neutral row at export, so that a word nobody taught the model is harmless.
"""

from __future__ import annotations

import gzip
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from transformers import CLIPTokenizer

from modules.starter.captions import UNKNOWN, phrases

BEGIN: Final = 49406
END: Final = 49407
CLIP_SIZE: Final = 49408
# Compact numbers of the first three rows.
BEGIN_ROW, END_ROW, UNKNOWN_ROW, FIRST_WORD_ROW = 0, 1, 2, 3
LENGTH: Final = 77
MERGES_FILE: Final = Path(__file__).parents[2] / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"


def byte_symbols() -> list[str]:
    """The 256 letters byte-pair encoding writes bytes with, in the order CLIP numbers them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(hidden))]


def clip_tokenizer(merges_file: Path = MERGES_FILE) -> CLIPTokenizer:
    """CLIP's tokenizer from its list of merges (Radford et al. 2021); the first line of the file is a header."""
    lines = gzip.decompress(merges_file.read_bytes()).decode("utf-8").split("\n")
    merges = [(first, second) for first, second in (line.split() for line in lines[1 : CLIP_SIZE - 512 - 2 + 1])]
    letters = byte_symbols()
    symbols = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    numbers = {symbol: i for i, symbol in enumerate(symbols)}
    assert len(numbers) == CLIP_SIZE
    return CLIPTokenizer(vocab=numbers, merges=merges, model_max_length=LENGTH)


@dataclass(frozen=True)
class Vocabulary:
    """`rows` maps CLIP's token numbers to rows of the small table."""

    tokenizer: CLIPTokenizer
    rows: dict[int, int]

    @classmethod
    def of_the_world(cls) -> Vocabulary:
        tokenizer = clip_tokenizer()
        used = sorted({token for phrase in phrases() for token in tokenizer(phrase)["input_ids"]} - {BEGIN, END})
        rows = {BEGIN: BEGIN_ROW, END: END_ROW} | {token: FIRST_WORD_ROW + i for i, token in enumerate(used)}
        return cls(tokenizer, rows)

    @property
    def size(self) -> int:
        return len(self.rows) + 1

    @property
    def silent(self) -> tuple[int, ...]:
        """Rows of tokens that say nothing: the end and the comma."""
        return END_ROW, self.rows[self.tokenizer(",")["input_ids"][1]]

    def encode(self, caption: str, length: int = LENGTH, rng: random.Random | None = None) -> list[int]:
        """`length` rows: begin, words, end, and more ends as padding. `UNKNOWN` becomes one to four neutral rows."""
        rows: list[int] = []
        for i, part in enumerate(caption.split(UNKNOWN)):
            if i:
                rows += [UNKNOWN_ROW] * (rng.randint(1, 4) if rng else 2)
            rows += [self.rows.get(token, UNKNOWN_ROW) for token in self.tokenizer(part)["input_ids"][1:-1]]
        rows = [BEGIN_ROW, *rows[: length - 2], END_ROW]
        return rows + [END_ROW] * (length - len(rows))

    def small_table(self, full: torch.Tensor) -> torch.Tensor:
        """The (size, width) table that `full_table` made a (49408, width) one of."""
        neutral = next(token for token in range(CLIP_SIZE) if token not in self.rows)
        rows = {row: token for token, row in self.rows.items()} | {UNKNOWN_ROW: neutral}
        return full[[rows[row] for row in range(self.size)]].clone()

    def full_table(self, small: torch.Tensor) -> torch.Tensor:
        """The (49408, width) table for a small one of (size, width)."""
        table = small[UNKNOWN_ROW][None].repeat(CLIP_SIZE, 1)
        for token, row in self.rows.items():
            table[token] = small[row]
        return table
