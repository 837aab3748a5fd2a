import pytest

from modules.prompts.lora_arguments import BLOCKS, LAST_STEP, Window, block_weights, window
from modules.prompts.tags import network_tags, take_tags


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("MIDD", {"BASE": 1, "IN05": 1, "IN07": 1, "IN08": 1, "M00": 1, "OUT03": 1, "OUT06": 1}),
        ("IN07", {"BASE": 0, "IN07": 1, "M00": 0}),
        ("mid", {"M00": 1, "OUT03": 0}),
        ("NOUT03", {"BASE": 1, "OUT03": 0, "OUT04": 1}),
        ("outs", {"OUT07": 1, "OUT11": 1}),
        ("0,0,0,0,0,0,0,0.25,0,0,0,0,0,0,0,0,-1", {"M00": 0.25, "OUT11": -1}),
        (
            ",".join(map(str, range(12))),
            {"IN03": 0, "IN04": 1, "IN08": 4, "M00": 5, "OUT00": 6, "OUT05": 11},
        ),
        (",".join(map(str, range(20))), {"BASE": 0, "IN00": 1, "IN08": 9, "M00": 10, "OUT00": 11, "OUT08": 19}),
        (",".join(map(str, range(26))), {"BASE": 0, "IN00": 1, "IN11": 12, "M00": 13, "OUT00": 14, "OUT11": 25}),
    ],
)
def test_weights_are_those_of_the_blocks(text: str, weights: dict[str, float]) -> None:
    found = block_weights(text)
    assert found is not None
    assert len(found) == len(BLOCKS)
    assert {block: found[BLOCKS.index(block)] for block in weights} == weights


@pytest.mark.parametrize("text", ["", "SOME", "1,2", "inf" + ",1" * 16, "1" + ",1" * 17])
def test_what_weighs_no_blocks_is_none(text: str) -> None:
    assert block_weights(text) is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((None, None, None), Window()),
        (("3", "7", None), Window(3, 7)),
        ((None, None, "3-"), Window(3, LAST_STEP)),
        ((None, None, "-7"), Window(0, 7)),
        (("x", None, None), None),
        ((None, "1.5", None), None),
        (("0.25", ".5", None), Window(0.25, 0.5)),
        ((None, None, "0.25-10.0"), Window(0.25, 10)),
        ((None, None, "5"), None),
        (("9" * 5000, None, None), None),
    ],
)
def test_steps_are_whole_numbers(arguments: tuple[str | None, ...], expected: Window | None) -> None:
    start, stop, steps = arguments
    assert window(start, stop, steps) == expected


def test_a_tag_keeps_what_it_does_not_understand() -> None:
    (tag,) = network_tags(take_tags("<lora:ink:0.5:1:8:more:lbw=OUTS:stop=3:color=red>")[1])
    assert (tag.te, tag.unet, tag.dyn_dim, tag.window) == (0.5, 1.0, 8, Window(0, 3))
    assert tag.blocks == block_weights("OUTS")
    assert tag.unread == ("more", "color=red")


def test_a_share_of_the_steps_is_at_least_one() -> None:
    assert Window(0.25, 0.5).of(20) == Window(5, 10)
    assert Window(0, 0.01).of(20) == Window(0, 1)
    assert Window(3, 7).of(20) == Window(3, 7)
    assert Window(3, 7).within(Window(5, LAST_STEP)) == Window(5, 7)


@pytest.mark.parametrize("text", ["<lora:ink:1:MIDD>", "<lora:ink:1:lbw=MIDD>", "<lora:ink:1:w=midd>"])
def test_weights_of_blocks_have_three_spellings(text: str) -> None:
    (tag,) = network_tags(take_tags(text)[1])
    assert (tag.te, tag.unet, tag.blocks, tag.unread) == (1.0, 1.0, block_weights("MIDD"), ())
