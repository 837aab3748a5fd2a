import json
from pathlib import Path
from typing import Any

import pytest

from modules.clip_bpe import END, START, ClipBPE
from modules.clip_chunks import BREAK, EMPTY_CHUNK, TokenCount, chunk_prompt, count_tokens

# Made by A1111 v1.10.0; end markers and weights of 1 are left out.
RECORDED = json.loads(Path(__file__).with_name("recorded_chunks.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bpe() -> ClipBPE:
    return ClipBPE()


@pytest.mark.parity
@pytest.mark.parametrize("case", RECORDED, ids=lambda case: f"{case['pieces'][0][0][:20]!r}, {case['comma_backtrack']}")
def test_chunks_and_weights_are_those_of_a1111(case: dict[str, Any], bpe: ClipBPE) -> None:
    chunks, token_count = chunk_prompt(
        [(text, weight) for text, weight in case["pieces"]], bpe, case["comma_backtrack"]
    )
    expected = [padded(chunk["tokens"], chunk.get("weights", [1.0] * len(chunk["tokens"]))) for chunk in case["chunks"]]
    assert ([(list(c.tokens), list(c.multipliers)) for c in chunks], token_count) == (expected, case["token_count"])


def padded(tokens: list[int], weights: list[float]) -> tuple[list[int], list[float]]:
    rest = 76 - len(tokens)
    return [START, *tokens, *[END] * rest], [1.0, *weights, *[1.0] * rest]


@pytest.mark.parametrize(
    ("pieces", "count"),
    [
        ([], (0, 75)),
        ([("", 1.0)], (0, 75)),
        ([("a cat", 1.0)], (2, 75)),
        ([("fox " * 75, 1.0)], (75, 75)),
        ([("fox " * 76, 1.0)], (76, 150)),
        ([("a", 1.0), BREAK, ("b", 1.2)], (76, 150)),
        ([("a", 1.0), BREAK], (75, 75)),
        ([("fox " * 70 + ", " + "fox " * 5, 1.0)], (80, 150)),
    ],
)
def test_the_counter_counts_like_a1111s(pieces: list[tuple[str, float]], count: tuple[int, int], bpe: ClipBPE) -> None:
    assert count_tokens(pieces, bpe) == TokenCount(*count)


def test_break_with_a_weight_is_the_word(bpe: ClipBPE) -> None:
    chunks, _ = chunk_prompt([("BREAK", -1.1)], bpe)
    assert list(chunks[0].tokens[1:3]) == [*bpe.encode("break"), END]


def test_an_empty_prompt_is_the_empty_chunk(bpe: ClipBPE) -> None:
    assert chunk_prompt([], bpe).chunks == (EMPTY_CHUNK,)
