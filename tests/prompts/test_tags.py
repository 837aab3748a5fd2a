"""Extra networks are removed from the prompt before anything else reads it."""

import json
import re
from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.prompts.tags import NetworkTag, network_tags, rewritten, take_tags

RECORDED = Path(__file__).parents[1] / "parity" / "data" / "prompts.json"


@pytest.mark.parity
def test_tags_are_a1111s() -> None:
    for prompt, text, networks in json.loads(RECORDED.read_text())["extra_networks"]:
        rest, tags = take_tags(prompt)
        assert rest == text
        expected = [(kind, tuple(args), named) for kind, tags in networks.items() for args, named in tags]
        assert [(tag.kind, tag.positional, dict(tag.named)) for tag in tags] == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("<lora:a>", NetworkTag("a", 1.0, 1.0, None)),
        ("<lora:a:0.5>", NetworkTag("a", 0.5, 0.5, None)),
        ("<lora:a:0.5:0.8:16>", NetworkTag("a", 0.5, 0.8, 16)),
        ("<lyco:a:te=0.3>", NetworkTag("a", 0.3, 0.3, None)),
        ("<lora:a b.c:0.5:unet=-1:dyn=8>", NetworkTag("a b.c", 0.5, -1.0, 8)),
    ],
)
def test_weights_of_a_network(tag: str, expected: NetworkTag) -> None:
    assert network_tags(take_tags(f"x {tag} y")[1]) == [expected]


def test_a_value_with_two_equal_signs_is_positional() -> None:
    _, [tag] = take_tags("<lora:a:b=c=d>")
    assert (tag.positional, dict(tag.named)) == (("a", "b=c=d"), {})


def test_other_kinds_are_no_networks() -> None:
    assert network_tags(take_tags("<hypernet:a:0.5>")[1]) == []


@pytest.mark.parametrize(
    "tag",
    ["<lora:a:strong>", "<lora:a:te=x>", "<lora:te=1>", "<lora::1>", "<lora:a:nan>", "<lora:a:1:1:inf>", "<lora: :1>"],
)
def test_a_weight_that_is_no_number_is_told(tag: str) -> None:
    with pytest.raises(WebuiError, match="prompt: "):
        network_tags(take_tags(tag)[1])


@pytest.mark.parametrize("text", ["<a:" * 7_000, "<" * 20_000, "<a:" * 7_000 + ">", "a < b > c"])
def test_unclosed_tags_end(text: str) -> None:
    assert take_tags(text)[1] == [] or text.endswith(">")


def test_a_tag_is_rewritten_in_place_and_other_text_stays() -> None:
    text = "a <b <lora:ink:0.5:unet=1> > <lyco:wash> cat <lora:"
    assert rewritten(text, lambda tag, found: f"[{tag.kind} {tag.name} {found}]") == (
        "a <b [lora ink <lora:ink:0.5:unet=1>] > [lyco wash <lyco:wash>] cat <lora:"
    )


def test_no_other_module_has_a_grammar_of_tags() -> None:
    modules = Path(__file__).parents[2] / "modules"
    grammar = re.compile(r"""(re\.\w+\(|RegExp\(|[(=,] */).*<.*(lora|lyco|hypernet|\\w\+\)?:)""")
    found = [
        path.relative_to(modules).as_posix()
        for path in [*modules.rglob("*.py"), *modules.rglob("*.js")]
        if any(grammar.search(line) for line in path.read_text("utf-8").splitlines())
    ]
    assert found == ["prompts/tags.py"]
