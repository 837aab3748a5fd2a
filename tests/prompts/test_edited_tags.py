"""Prompt editing around LoRA tags."""

import pytest

from modules.prompts.edited_tags import windows
from modules.prompts.lora_arguments import LAST_STEP, Window
from modules.prompts.schedule import schedule, timing
from modules.prompts.tags import take_tags


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat <lora:a:1>", [Window()]),
        ("[<lora:a:1>:0.5]", [Window(11, LAST_STEP)]),
        ("[<lora:a:1>:5]", [Window(6, LAST_STEP)]),
        ("[<lora:a:1>::5]", [Window(0, 6)]),
        ("[<lora:a:1>:<lora:b:1>:5]", [Window(0, 6), Window(6, LAST_STEP)]),
        ("[[<lora:a:1>::10]:5]", [Window(6, 11)]),
        ("[a <lora:a:1> cat:a dog:5] <hypernet:x:1>", [Window(0, 6)]),
        ("[<lora:a:1>|<lora:b:1>]", [Window(), Window()]),
        ("[<lora:a:1>:60]", [Window(0, 0)]),
        ("(<lora:a:1>:1.2) [<lora:b:1>]", [Window(), Window()]),
        ("[<lora:a:1>:0.5", [Window()]),
        ("a cat", []),
    ],
)
def test_a_tag_acts_while_the_prompt_holds_it(prompt: str, expected: list[Window]) -> None:
    assert windows(prompt, timing(20)) == expected


def test_a_step_may_have_two_evaluations() -> None:
    assert windows("[<lora:a:1>::0.5]", timing(40), 2) == [Window(0, 11)]


def test_what_is_left_of_the_edit_is_no_text() -> None:
    text, _ = take_tags("a [<lora:a:1>:0.5] cat [<lora:a:1>::0.5]")
    assert [stage.text.split() for stage in schedule(text, timing(20))][-1] == ["a", "cat"]
