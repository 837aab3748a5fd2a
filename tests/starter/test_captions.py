"""Captions describe the picture, and only in words that the text encoder learns."""

import random
from dataclasses import replace

import pytest

from modules.starter.captions import EXPRESSIONS, STYLES, UNKNOWN, caption
from modules.starter.spec import FIRST, FULL, random_spec
from modules.starter.vocabulary import END_ROW, LENGTH, UNKNOWN_ROW, Vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.of_the_world()


def test_the_tokenizer_numbers_words_as_clip_does(vocabulary: Vocabulary) -> None:
    # The token ids of "a photo of a cat" in every CLIP by OpenAI.
    assert vocabulary.tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert len(vocabulary.tokenizer) == 49408


def test_every_word_of_a_caption_is_in_the_vocabulary(vocabulary: Vocabulary) -> None:
    rng = random.Random(0)
    for mix in (FIRST, FULL):
        for _ in range(400):
            text = caption(random_spec(rng, mix), rng, unknown=0)
            assert UNKNOWN_ROW not in vocabulary.encode(text), text


def test_captions_of_a_seed_repeat_and_two_draws_differ() -> None:
    spec = random_spec(random.Random(1), FIRST, portrait=True)
    assert caption(spec, random.Random(5)) == caption(spec, random.Random(5))
    assert len({caption(spec, random.Random(seed)) for seed in range(20)}) > 10


def test_without_dropout_style_expression_and_background_are_always_named() -> None:
    base = random_spec(random.Random(2), FIRST, style="watercolor", background="sakura", portrait=True)
    assert base.person is not None
    spec = replace(base, person=replace(base.person, expression="sad"))
    for seed in range(20):
        text = caption(spec, random.Random(seed), dropout=False, sentences=0, unknown=0)
        assert any(word in text for word in STYLES["watercolor"])
        assert any(word in text for word in EXPRESSIONS["sad"])
        assert "sakura" in text or "blossom" in text


def test_unknown_words_become_neutral_rows(vocabulary: Vocabulary) -> None:
    rows = vocabulary.encode("girl, zebra, watercolor")
    assert UNKNOWN_ROW in rows
    assert len(rows) == LENGTH
    assert rows[-1] == END_ROW
    assert UNKNOWN_ROW in vocabulary.encode(f"girl, {UNKNOWN}")


def test_a_long_caption_is_cut_and_still_ends(vocabulary: Vocabulary) -> None:
    rows = vocabulary.encode("girl " * 200, 24)
    assert len(rows) == 24
    assert rows[-1] == END_ROW


def test_colours_are_not_named_where_none_can_be_seen() -> None:
    spec = random_spec(random.Random(3), FIRST, style="pencil", portrait=True)
    texts = [caption(spec, random.Random(seed), sentences=0.3) for seed in range(60)]
    assert not any(colour in text for text in texts for colour in ("pink hair", "blue hair", "red ", "blonde"))
