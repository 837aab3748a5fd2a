"""Styles from styles.csv, applied to prompts."""

from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.prompts.style_file import Style
from modules.prompts.styles import ExtractedStyles, apply_styles, extract_styles, merged, read_styles

OIL = Style("oil", "oil painting of {prompt}, thick", "photo")
SNOW = Style("snow", "in the snow", "")


@pytest.mark.parametrize(
    ("style", "prompt", "expected"),
    [
        ("oil of {prompt}", "a cat", "oil of a cat"),
        ("in snow", "a cat ", "a cat, in snow"),
        ("in snow", "", "in snow"),
        ("", "a cat", "a cat"),
        ("{prompt} and {prompt}", "x", "x and x"),
    ],
)
def test_a_style_surrounds_or_follows_the_prompt(style: str, prompt: str, expected: str) -> None:
    assert merged(style, prompt) == expected


def test_styles_apply_in_turn_and_unknown_ones_change_nothing() -> None:
    applied = apply_styles("a cat", "blur", ["oil", "none of these", "snow"], {"oil": OIL, "snow": SNOW})
    assert applied == ("oil painting of a cat, thick, in the snow", "blur, photo")


@pytest.mark.parametrize(
    ("prompt", "negative", "expected"),
    [
        ("oil painting of a cat, thick", "photo", ExtractedStyles(("oil",), "a cat", "")),
        ("oil painting of a cat, thick", "blur, photo", ExtractedStyles(("oil",), "a cat", "blur")),
        ("oil painting of a cat, thick, in the snow", "blur, photo", ExtractedStyles(("oil", "snow"), "a cat", "blur")),
        ("a  cat,  in the snow", "", ExtractedStyles(("snow",), "a cat", "")),
        ("in the snow", "", ExtractedStyles(("snow",), "", "")),
        ("oil painting of a cat, thick", "blur", ExtractedStyles((), "oil painting of a cat, thick", "blur")),
        ("a cat in the snow", "", ExtractedStyles((), "a cat in the snow", "")),
        ("in the snow, in the snow", "", ExtractedStyles(("snow",), "in the snow", "")),  # a style is applied once
    ],
)
def test_styles_are_found_in_prompts_and_taken_out(prompt: str, negative: str, expected: ExtractedStyles) -> None:
    assert extract_styles(prompt, negative, [Style("empty", "", " "), OIL, SNOW]) == expected


def test_a_placeholder_needs_room_for_both_its_sides() -> None:
    assert extract_styles("aba", "", [Style("x", "ab{prompt}ba", "")]).names == ()


@pytest.mark.parametrize("names", [("oil",), ("snow",), ("oil", "snow"), ("snow", "oil")])
def test_what_is_taken_out_was_put_around(names: tuple[str, ...]) -> None:
    styles = {"oil": OIL, "snow": SNOW}
    assert extract_styles(*apply_styles("a cat", "blur", names, styles), styles.values()) == ExtractedStyles(
        names, "a cat", "blur"
    )


@pytest.mark.parametrize(
    "text",
    [
        '\ufeffname,prompt,negative_prompt\noil,"oil painting of {prompt}, thick",photo\nsnow,in the snow,\n',
        'name, text, negative_prompt\noil, "oil painting of {prompt}, thick", photo\nsnow, in the snow\n',
    ],
    ids=["new", "old columns"],
)
def test_a_file_of_styles(tmp_path: Path, text: str) -> None:
    path = tmp_path / "styles.csv"
    path.write_text(text, encoding="utf-8")
    assert read_styles(path) == {"oil": OIL, "snow": SNOW}


def test_no_file_is_no_styles(tmp_path: Path) -> None:
    assert read_styles(tmp_path / "styles.csv") == {}


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_bytes(b"name,prompt\n\xff\xfe\x00")
    with pytest.raises(WebuiError, match=r"styles\.csv: not a table of styles"):
        read_styles(path)


@pytest.mark.parametrize(("style", "names"), [("{prompt} " * 500, ["grow"] * 3), ("x" * 900, ["grow"] * 40)])
def test_styles_let_no_prompt_grow_beyond_what_is_read(style: str, names: list[str]) -> None:
    sentence = r"^prompt: with the style 'grow' it has \d+ characters"
    with pytest.raises(WebuiError, match=sentence) as caught:
        apply_styles("a cat", "", names, {"grow": Style("grow", style, "")})
    assert caught.value.field == "prompt"
    with pytest.raises(WebuiError, match=r"^negative_prompt: "):
        apply_styles("", "a cat", names, {"grow": Style("grow", "", style)})
