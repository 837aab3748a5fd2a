"""styles.csv as people have it: every variant is read, and a change keeps the rest of the file."""

from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.prompts.style_file import Style, read_style_file, style_file

OIL = Style("oil", "oil painting of {prompt}", "photo")
INK = Style("ink", "ink drawing", "")
NEW = Style("new", "a, b", "c")
BOTH = {"oil": OIL, "ink": INK}

UNDERSTOOD = {
    "semicolons": (
        "name;prompt;negative_prompt\r\noil;oil painting of {prompt};photo\r\nink;ink drawing;\r\n",
        "new;a, b;c\r\n",
    ),
    "tabs": (
        "name\tprompt\tnegative_prompt\noil\toil painting of {prompt}\tphoto\nink\tink drawing\t\n",
        "new\ta, b\tc\n",
    ),
    "no header": ("oil,oil painting of {prompt},photo\r\nink,ink drawing,\r\n", 'new,"a, b",c\r\n'),
    "no header, short rows": ("oil,oil painting of {prompt},photo\nink,ink drawing", '\nnew,"a, b",c\n'),
    "a column of notes": (
        "name,prompt,negative_prompt,notes\noil,oil painting of {prompt},photo,mine\nink,ink drawing,,\n",
        'new,"a, b",c,\n',
    ),
    "columns in another order": (
        "id,Negative_Prompt,Name,Prompt\n1,photo,oil,oil painting of {prompt}\n2,,ink,ink drawing\n",
        ',c,new,"a, b"\n',
    ),
    "Excel's line": (
        "sep=;\r\nname;prompt;negative_prompt\r\noil;oil painting of {prompt};photo\r\nink;ink drawing;\r\n",
        "new;a, b;c\r\n",
    ),
    "comments and blank rows": (
        "name,prompt,negative_prompt\n# mine,,\n\noil,oil painting of {prompt},photo\n,,\nink,ink drawing,\n",
        'new,"a, b",c\n',
    ),
    "quotes without need": (
        '"name","prompt","negative_prompt"\n"oil","oil painting of {prompt}","photo"\n"ink","ink drawing"\n',
        'new,"a, b",c\n',
    ),
    "padded by a spreadsheet": (
        "name,prompt,negative_prompt\noil,oil painting of {prompt},photo,,,\nink,ink drawing,,,,\n",
        'new,"a, b",c\n',
    ),
    "one name twice": (
        "name,prompt,negative_prompt\nink,old,old\noil,oil painting of {prompt},photo\nink,ink drawing,\n",
        'new,"a, b",c\n',
    ),
}


@pytest.mark.parametrize(("text", "added"), UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_a_new_style_keeps_every_byte_that_was_there(text: str, added: str) -> None:
    file = style_file(text)
    assert file.styles == BOTH
    assert file.with_style(NEW).data().decode() == text + added
    assert file.with_style(NEW).styles == {**BOTH, "new": NEW}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("text", "added"), UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_a_saved_file_is_read_again_in_its_encoding(tmp_path: Path, encoding: str, text: str, added: str) -> None:
    path = tmp_path / "styles.csv"
    path.write_bytes(text.encode(encoding))
    path.write_bytes(read_style_file(path).with_style(Style("é", "ü", "")).data())
    assert read_style_file(path).styles == {**BOTH, "é": Style("é", "ü", "")}
    assert path.read_bytes()[:2] == text.encode(encoding)[:2]


def test_a_changed_style_keeps_its_other_columns_and_a_deleted_one_takes_only_itself_away() -> None:
    file = style_file("name,prompt,negative_prompt,notes\noil,x,y,mine\nink,ink drawing,,thine\n")
    assert file.with_style(OIL).without("ink").data() == (
        b"name,prompt,negative_prompt,notes\noil,oil painting of {prompt},photo,mine\n"
    )


def test_of_one_name_twice_the_last_is_changed_and_both_are_deleted() -> None:
    file = style_file("name,prompt,negative_prompt\nink,old,\nink,new,\n")
    assert file.with_style(INK).data() == b"name,prompt,negative_prompt\nink,old,\nink,ink drawing,\n"
    assert file.without("ink").data() == b"name,prompt,negative_prompt\n"


@pytest.mark.parametrize(
    ("text", "listed", "sentence"),
    [
        ("name,prompt,negative_prompt\noil,oil painting, thick,photo\n", "oil", "line 2 has 4 cells for 3 columns"),
        ('name,prompt,negative_prompt\noil,"thick" oil,photo\n', "oil", "its quotes do not match"),
        ('name,prompt,negative_prompt\noil,"thick oil,photo\nink,ink drawing,\n', "oil", "its quotes do not match"),
    ],
    ids=["a comma too many", "quotes inside", "an open quote"],
)
def test_a_file_that_is_understood_in_part_is_usable_and_never_written(text: str, listed: str, sentence: str) -> None:
    file = style_file(text)
    assert listed in file.styles
    for change in (lambda: file.with_style(NEW), lambda: file.without(listed)):
        with pytest.raises(WebuiError, match=f"styles.csv cannot be changed: {sentence}"):
            change()


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE html>\n<html></html>\n",
        '{"oil": "oil painting"}',
        "prompt,negative_prompt\nx,y\n",
        "one,two,three,four\na,b,c,d\n",
        "title,prompt,negative_prompt\noil,x,y\n",
    ],
    ids=["a page", "JSON", "no names", "four columns", "another word for name"],
)
def test_what_is_no_table_of_styles_is_told_and_not_taken_for_one(text: str) -> None:
    with pytest.raises(WebuiError, match=r"styles\.csv: not a table of styles"):
        style_file(text)


@pytest.mark.parametrize("text", ["", "\n\n", "name,prompt,negative_prompt\r\n"])
def test_an_empty_file_takes_its_first_style(text: str) -> None:
    assert style_file(text).styles == {}
    assert style_file(text).with_style(INK).data() == b"name,prompt,negative_prompt\r\nink,ink drawing,\r\n"


def test_a_folder_of_that_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").mkdir()
    with pytest.raises(WebuiError, match="a folder"):
        read_style_file(tmp_path / "styles.csv")
