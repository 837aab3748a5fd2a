"""What a click writes into a prompt is parsed again by the prompt parser."""

from pathlib import Path

import pytest

from modules.clip.bpe import ClipBPE
from modules.clip.chunks import Vocabulary, Word, chunk_prompt
from modules.prompts.attention import parse_attention
from modules.prompts.schedule import composition, schedule, timing, without_comments
from modules.prompts.tags import network_tags, take_tags
from modules.prompts.written import embedding_word, hypernetwork_tag, lora_tag
from modules.schema.catalog import Catalog, Hypernetwork, Lora

BPE = ClipBPE()


def lora(name: str, alias: str = "") -> Lora:
    return Lora(name, Path(f"{name}.safetensors"), alias)


@pytest.mark.parametrize(
    ("name", "alias", "tag"),
    [
        ("ink", "", "<lora:ink:1>"),
        ("ink [v2] (soft), 50%", "India", "<lora:ink [v2] (soft), 50%:1>"),
        (" lead", "", "<lora: lead:1>"),
        ("ink: v2", "", "<lora:ink%3A v2:1>"),
        ("ink: v2", "India", "<lora:India:1>"),
        ("ink: v2", "In:dia", "<lora:ink%3A v2:1>"),
        ("a>b", "", "<lora:a%3Eb:1>"),
        ("<b", "", "<lora:<b:1>"),
        ("te=2", "", "<lora:te%3D2:1>"),
        ("ink #2", "", "<lora:ink %232:1>"),
        ("ink\nblot", "", "<lora:ink%0Ablot:1>"),
    ],
)
def test_the_tag_of_a_lora_is_read_as_that_file_at_weight_1(name: str, alias: str, tag: str) -> None:
    wanted = lora(name, alias)
    catalog = Catalog(loras=(lora("first", "other"), wanted, lora("INK")))
    assert lora_tag(wanted, catalog) == tag
    rest, tags = take_tags(without_comments(f"a fox {tag}"))
    (read,) = network_tags(tags)
    assert (rest, read.te, read.unet, read.unread) == ("a fox ", 1.0, 1.0, ())
    assert catalog.lora(read.name) is wanted


def test_a_lora_whose_texts_all_mean_others_has_no_tag() -> None:
    wanted = lora("a:b", "first")
    others = (lora("first"), lora("a%3Ab"))
    assert lora_tag(wanted, Catalog(loras=(*others, wanted))) == ""
    assert lora_tag(wanted, Catalog(loras=(others[1], wanted))) == "<lora:first:1>"


def words(prompt: str, vocabulary: Vocabulary) -> list[str]:
    """The embeddings that the text encoder receives for a prompt."""
    text, _ = take_tags(without_comments(prompt))
    (part,) = composition(text)
    (stage,) = schedule(part.text, timing(20))
    chunks = chunk_prompt(parse_attention(stage.text), BPE, vocabulary=vocabulary).chunks
    return [placed.word.name for chunk in chunks for placed in chunk.words]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dusk", "dusk"),
        ("style (v1)", r"style \(v1\)"),
        ("[soft] a|b", r"\[soft\] a|b"),
        ("odd)name(", r"odd\)name\("),
        ("back\\slash", r"back\\slash"),
        ("by: 1.5", "by: 1.5"),
        ("夕暮れ (1)", r"夕暮れ \(1\)"),
    ],
)
def test_an_embedding_is_found_where_its_text_is_written(name: str, text: str) -> None:
    vocabulary = Vocabulary([Word("style", 1), Word(name, 2)], BPE)
    assert embedding_word(name, BPE, vocabulary) == text
    for prompt in (text, f"a fox, {text}, night", f"({text}:1.2)", f"a fox,{text}.", f"{text} {text}"):
        assert words(prompt, vocabulary) == [name] * prompt.count(text)


def test_an_embedding_is_not_found_in_the_midst_of_a_word() -> None:
    vocabulary = Vocabulary([Word("v1)", 1), Word("(soft", 2)], BPE)
    assert words(r"xv1\)", vocabulary) == words(r"\(softer", vocabulary) == []
    assert words(r"x v1\), \(\(soft", vocabulary) == ["v1)", "(soft"]


@pytest.mark.parametrize("name", ["a #1", "fox AND dog", "BREAK", "<lora:x>", "Style", " ", "line\nbreak", "gone"])
def test_an_embedding_that_no_prompt_can_name_has_no_text(name: str) -> None:
    known = [Word("style", 1), *([Word(name, 2)] if name != "gone" else [])]
    assert embedding_word(name, BPE, Vocabulary(known, BPE)) == ""


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("haze", "<hypernet:haze:0.5>"),
        ("haze (v2)", "<hypernet:haze (v2):0.5>"),
        ("ha:ze", ""),
        ("a\nb", ""),
        ("a>b", ""),
    ],
)
def test_a_hypernetwork_is_written_where_a_prompt_can_name_it(name: str, tag: str) -> None:
    haze = Hypernetwork(name, Path("haze.pt"))
    assert hypernetwork_tag(haze, Catalog(hypernetworks=(haze,)), 0.5) == tag
