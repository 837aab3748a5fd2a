"""Styles from styles.csv, around prompts."""

from pathlib import Path

import pytest

from modules.errors import WebuiError
from modules.prompts.styles import Style, apply_styles, merged, read_styles

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
