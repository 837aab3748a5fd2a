"""A data folder's styles together with those of other programs."""

import logging
from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.prompts.style_book import FILE, StyleBook
from modules.prompts.style_file import Style

OIL, SNOW = Style("oil", "oil painting of {prompt}", "photo"), Style("snow", "snow", "")
THEIRS = "name,prompt,negative_prompt\noil,their oil,\nneon,neon lights,\n"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    path = tmp_path / "a1111" / FILE
    path.parent.mkdir()
    path.write_text(THEIRS)
    return path


def test_own_styles_count_before_theirs_and_theirs_are_never_written(tmp_path: Path, theirs: Path) -> None:
    book = StyleBook(tmp_path, (theirs,))
    assert book.styles() == {"oil": Style("oil", "their oil", ""), "neon": Style("neon", "neon lights", "")}
    assert book.save(OIL)["oil"] == OIL
    assert list(book.save(SNOW)) == ["oil", "neon", "snow"]
    assert book.delete("oil")["oil"] == Style("oil", "their oil", "")
    with pytest.raises(WebuiError, match="'neon' is in another program's"):
        book.delete("neon")
    with pytest.raises(WebuiError, match="There is no style 'none'"):
        book.delete("none")
    assert theirs.read_text() == THEIRS
    assert sorted(path.name for path in theirs.parent.iterdir()) == [FILE]


def test_the_first_of_several_installations_counts(tmp_path: Path, theirs: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("name,prompt,negative_prompt\nneon,other neon,\nmist,mist,\n")
    styles = StyleBook(tmp_path, (theirs, other)).styles()
    assert (styles["neon"].prompt, styles["mist"].prompt) == ("neon lights", "mist")


def test_their_damaged_file_costs_only_their_styles_and_is_logged_once(
    tmp_path: Path, theirs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs.write_bytes(b"\xff\xfe\xff")
    book = StyleBook(tmp_path, (theirs,))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert book.save(OIL) == {"oil": OIL}
    assert caplog.text.count(str(theirs)) == 1
