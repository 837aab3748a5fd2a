"""Scheduled edits, alternation, composition, comments."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.prompts.schedule import Part, Stage, Timing, composition, schedule, stage_at, timing, without_comments

RECORDED = Path(__file__).parents[1] / "parity" / "data" / "prompts.json"
SYNTAX = st.lists(
    st.sampled_from([*"()[]:|\\ \nab,", "0.5", "3", ":2]", "[a:b:3]", "[c|d]", "AND", "1e9", "-1", "é", "#"]),
    max_size=40,
).map("".join)


@pytest.mark.parity
def test_stages_are_a1111s_in_both_passes_and_both_timelines() -> None:
    for recorded in json.loads(RECORDED.read_text())["schedules"]:
        when = timing(recorded["steps"], recorded["hires_steps"], use_old_scheduling=recorded["use_old_scheduling"])
        for prompt, expected in recorded["result"]:
            assert [list(stage) for stage in schedule(prompt, when, compatibility=True)] == expected, prompt


@pytest.mark.parity
def test_compositions_are_a1111s() -> None:
    for prompt, indexes, texts in json.loads(RECORDED.read_text())["multicond"]:
        expected = [(texts[i], weight) for i, weight in indexes[0]]
        assert composition(prompt, compatibility=True) == expected, prompt


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [(10, "")]),
        ("a [cat:dog:0.3] b", [(3, "a cat b"), (10, "a dog b")]),
        ("[cat:dog:1.0]", [(10, "cat")]),
        ("[cat:dog:2.5]", [(10, "cat")]),
        ("[cat:dog:0]", [(10, "dog")]),
        ("[cat:dog:99]", [(10, "cat")]),
        ("[a:b:1e1]", [(10, "a")]),
        ("[a:b:1e999]", [(10, "a")]),
        ("[a:b:5%]", [(10, "[a:b:5%]")]),
        ("[a:b:c:5]", [(10, "[a:b:c:5]")]),
        ("[a|b:1.5]", [(10, "[a|b:1.5]")]),
        ("a | b [c:d:3]", [(10, "a | b [c:d:3]")]),
        ("[a:b:3] \\", [(10, "[a:b:3] \\")]),
        ("[(a|b)|c]", [(10, "[(a|b)|c]")]),
        ("((a][:b:c [d:3]", [(3, "((a][:b:c "), (10, "((a][:b:c d")]),
        ("[a:b [c:d:3]", [(3, "[a:b c"), (10, "[a:b d")]),
        ("[[a:2]:5]", [(2, ""), (5, ""), (10, "a")]),
        ("[a:[b:2]:5]", [(2, "a"), (5, "a"), (10, "b")]),
        ("[\\[x\\]:y:4]", [(4, "\\[x\\]"), (10, "y")]),
    ],
)
def test_stages_of_ten_steps(prompt: str, expected: list[tuple[int, str]]) -> None:
    assert schedule(prompt, timing(10), compatibility=True) == expected
    assert schedule(prompt, timing(10)) == expected


def test_alternation_takes_turns() -> None:
    assert schedule("[a|(b:1.1)|]x", timing(4)) == [(1, "ax"), (2, "(b:1.1)x"), (3, "x"), (4, "ax")]


def test_a_mistaken_weight_is_a_weight() -> None:
    assert schedule("a [word:1.5]", timing(10)) == [(10, "a (word:1.5)")]


@pytest.mark.parametrize(
    ("when", "compatibility"), [(timing(10), True), (timing(10, has_hires_pass=True), False)], ids=["A1111", "hires"]
)
def test_it_never_appears_in_a1111_or_waits_for_the_hires_pass(when: Timing, compatibility: bool) -> None:
    assert schedule("a [word:1.5]", when, compatibility) == [(10, "a ")]


def test_the_hires_pass_counts_on_from_the_base_steps() -> None:
    assert schedule("[a:b:1.5] [c:d:23]", timing(20, 10)) == [(3, "a c"), (5, "a d"), (10, "b d")]


def test_the_stage_in_force_changes_one_step_after_its_number() -> None:
    stages = [Stage(3, "a"), Stage(10, "b")]
    assert [stage_at(stages, step) for step in (0, 3, 4, 10, 11)] == [0, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("ratio 16:9", [Part("ratio 16:9", 1.0)]),
        ("a :1.2 AND b : -0.4", [Part("a", 1.2), Part(" b", -0.4)]),
        ("a:b AND c:+.5", [Part("a:b", 1.0), Part(" c", 0.5)]),
        ("a AND", [Part("a", 1.0), Part("", 1.0)]),
        ("SAND and BRAND", [Part("SAND and BRAND", 1.0)]),
        ("a\n:2 AND b:1.2.3", [Part("a", 2.0), Part(" b:1.2.3", 1.0)]),
    ],
)
def test_parts_and_weights(prompt: str, expected: list[Part]) -> None:
    assert composition(prompt) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a fox # red", "a fox \n"),
        ("# first\na fox", "\na fox"),
        ("a\n# middle\nb", "a\nb"),
        ("a # one\nb # two\nc", "a \nb \nc"),
        ("no comment", "no comment"),
    ],
)
def test_comments_leave_a_line_break(text: str, expected: str) -> None:
    assert without_comments(text) == expected


@given(SYNTAX, st.sampled_from([timing(7), timing(7, 3), timing(7, use_old_scheduling=True)]), st.booleans())
def test_any_text_has_rising_stages_up_to_the_last_step(prompt: str, when: Timing, compatibility: bool) -> None:
    stages = schedule(prompt, when, compatibility)
    ends = [stage.end_at_step for stage in stages]
    assert ends == sorted(set(ends))
    assert ends[-1] == when.steps
    if not set(prompt) & set("[|"):
        assert [stage.text for stage in stages] == [prompt]
    assert composition(prompt, compatibility)


@pytest.mark.parametrize(
    "prompt",
    [
        "[" * 10_000,
        "[a:" * 10_000,
        "[a|" * 10_000,
        "[" * 5_000 + "a" + ":2]" * 5_000,
        "(" * 9_000 + "[a:b:3]" + ")" * 9_000,
    ],
    ids=["open", "colons", "bars", "nested edits", "nested parentheses"],
)
def test_ten_thousand_brackets_end(prompt: str) -> None:
    assert schedule(prompt, timing(20))[-1].end_at_step == 20
