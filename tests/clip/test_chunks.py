import json
from pathlib import Path
from typing import Any

import pytest

from modules.clip.bpe import END, START, ClipBPE
from modules.clip.chunks import (
    BREAK,
    EMPTY_CHUNK,
    Placed,
    TokenCount,
    Vocabulary,
    Word,
    chunk_prompt,
    count_tokens,
    old_chunk,
)

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


FOX, STYLE, MANY = Word("fox", 3), Word("fox style", 2), Word("many", 10)


@pytest.fixture(scope="module")
def vocabulary(bpe: ClipBPE) -> Vocabulary:
    return Vocabulary([FOX, STYLE, MANY, Word("vast", 76), Word("", 1)], bpe)


def test_words_with_vectors_take_their_place_the_longest_name_first(bpe: ClipBPE, vocabulary: Vocabulary) -> None:
    (chunk,), count = chunk_prompt([("a Fox Style, fox", 1.0), ("fox vast", 1.5)], bpe, vocabulary=vocabulary)
    assert chunk.words == (Placed(2, STYLE), Placed(5, FOX), Placed(8, FOX))
    vast = bpe.encode("vast")
    expected = [START, *bpe.encode("a"), 0, 0, *bpe.encode(","), *[0] * 6, *vast]
    assert list(chunk.tokens) == expected + [END] * (77 - len(expected))
    assert list(chunk.multipliers[8:12]) == [1.5] * 4
    assert count == 10 + len(vast)
    assert count_tokens([("a Fox Style", 1.0)], bpe, vocabulary=vocabulary) == TokenCount(3, 75)


def test_vectors_stay_together_in_a_chunk(bpe: ClipBPE, vocabulary: Vocabulary) -> None:
    (first, second), count = chunk_prompt([("cat " * 70 + "many cat", 1.0)], bpe, 0, vocabulary)
    assert (first.words, second.words) == ((), (Placed(1, MANY),))
    assert list(first.tokens[71:]) == [END] * 6
    assert list(second.tokens[1:13]) == [0] * 10 + [*bpe.encode("cat"), END]
    assert count == 75 + 11
    assert [len(chunk.tokens) for chunk in (first, second)] == [77, 77]


@pytest.mark.parametrize(("is_exact", "places"), [(False, ((), (Placed(3, FOX),))), (True, ((Placed(70, FOX),), ()))])
def test_vectors_move_with_their_phrase_which_a1111_forgets(
    is_exact: bool, places: tuple[tuple[Placed, ...], ...], bpe: ClipBPE, vocabulary: Vocabulary
) -> None:
    text = "cat " * 66 + ", a big fox" + " cat" * 6
    first, second = chunk_prompt([(text, 1.0)], bpe, 20, vocabulary, is_exact).chunks
    assert (first.words, second.words) == places
    assert list(second.tokens[1:6]) == [*bpe.encode("a big"), 0, 0, 0]
    assert first.tokens[68] == END


def test_a_prompt_without_such_words_is_as_ever(bpe: ClipBPE, vocabulary: Vocabulary) -> None:
    pieces = [("a cat, " * 40, 1.2)]
    assert chunk_prompt(pieces, bpe, vocabulary=vocabulary) == chunk_prompt(pieces, bpe)


def test_the_old_emphasis_cuts_vectors_at_75_tokens(bpe: ClipBPE, vocabulary: Vocabulary) -> None:
    chunk = old_chunk("cat " * 73 + "(fox fox", bpe, vocabulary=vocabulary)
    assert chunk.words == (Placed(74, FOX),)
    assert list(chunk.tokens[73:]) == [*bpe.encode("cat"), 0, 0, END]
    assert chunk.multipliers[74:76] == (1.1, 1.1)
