"""Attention weights, BREAK and escapes."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.clip.chunks import BREAK
from modules.prompts.attention import parse_attention

RECORDED = Path(__file__).parents[1] / "parity" / "data" / "prompts.json"
SYNTAX = st.lists(
    st.sampled_from([*"()[]:\\|,. \n-0123456789aé", "BREAK", " BREAK ", ":1.2)", ":0.5]"]), max_size=60
).map("".join)


@pytest.mark.parity
@pytest.mark.parametrize("compatibility", [True, False])
def test_weights_are_a1111s(compatibility: bool) -> None:
    for text, expected in json.loads(RECORDED.read_text())["parse_prompt_attention"]:
        assert [list(piece) for piece in parse_attention(text, compatibility)] == expected, text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("", 1.0)]),
        ("plain", [("plain", 1.0)]),
        ("(a: 0.5 )", [("a", 0.5)]),
        ("(a:1,2)", [("a:1,2", 1.1)]),
        ("(a:1e2)", [("a:1e2", 1.1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),  # A1111 fails the whole job here
        ("a:1.2)", [("a:1.2)", 1.0)]),
        ("[a:1.5]", [("a:1.5", 1 / 1.1)]),
        (r"\(a\) \[b\] \\", [(r"(a) [b] " + "\\", 1.0)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.1 * (1 / 1.1)), (" c", 1 / 1.1)]),
        ("(x)(y)", [("xy", 1.1)]),
        ("a) b]", [("a) b]", 1.0)]),
        ("BREAK BREAK", [("", 1.0), ("BREAK", -1.0), ("", 1.0), ("BREAK", -1.0), ("", 1.0)]),
        ("BREAKfast", [("BREAKfast", 1.0)]),
    ],
)
def test_pieces_and_weights(text: str, expected: list[tuple[str, float]]) -> None:
    assert parse_attention(text) == expected


def test_a_break_inside_weights_stays_a_break() -> None:
    assert parse_attention("(a BREAK b:1.5)") == [("a", 1.5), BREAK, ("b", 1.5)]
    assert parse_attention("(a BREAK b:-1)") == [("a", -1.0), BREAK, ("b", -1.0)]


def test_a1111_makes_a_weighted_word_of_it() -> None:
    assert parse_attention("(a BREAK b:1.5)", compatibility=True) == [("a", 1.5), ("BREAK", -1.5), ("b", 1.5)]


@given(SYNTAX)
def test_text_without_syntax_is_kept_and_neighbors_differ(text: str) -> None:
    pieces = parse_attention(text)
    assert pieces
    if not set(text) & set("()[]:\\") and "BREAK" not in text:
        assert pieces == [(text, 1.0)]
    for (_, a), (_, b) in itertools.pairwise(pieces):
        assert a != b or -1 in (a, b)
    letters = "".join(piece for piece, _ in pieces).count("é")
    assert letters == text.count("é")


@pytest.mark.parametrize(
    "text", ["(a" * 10_000, "[" * 10_000, "(a" * 5_000 + ":1.1)" * 5_000, " " * 20_000, "\\" * 9_999]
)
def test_ten_thousand_brackets_end(text: str) -> None:
    assert parse_attention(text)
