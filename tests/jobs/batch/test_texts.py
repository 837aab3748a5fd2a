"""The tables and texts of a batch: columns, delimiters, names, precedence over the form."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.jobs.batch.files import BatchFile, sorted_out
from modules.jobs.batch.texts import FileTexts, FormChanges, Row, read_table
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.settings import Settings

PICTURE = Picture.from_image(Image.new("RGB", (64, 64)))
CATALOG = Catalog((Checkpoint("good.safetensors", Path("good.safetensors"), "ab" * 32),))


def entry(name: str, text: str = "") -> BatchFile:
    data = text.encode()
    return BatchFile(name, len(data), lambda: data)


def table(text: str) -> tuple[dict[str, Row], list[str]]:
    return read_table(entry("list.csv", text))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_that_the_first_line_has_most(delimiter: str) -> None:
    rows, notes = table(delimiter.join(["file", "prompt", "seed"]) + "\n" + delimiter.join(["a.png", "a cat", "7"]))
    assert rows == {"a.png": Row("list.csv, line 2", {"prompt": "a cat", "seed": "7"})}
    assert notes == []


def test_columns_are_known_by_other_words_too() -> None:
    rows, _ = table(
        "Filename,Negative Prompt,CFGS,sampler,Schedule-Type,sd_model_name\na.png,bad,5,Euler,Karras,good\n"
    )
    values = {
        "negative_prompt": "bad",
        "cfg_scale": "5",
        "sampler_name": "Euler",
        "scheduler": "Karras",
        "checkpoint": "good",
    }
    assert rows["a.png"].values == values


def test_empty_cells_short_lines_and_unknown_columns_change_nothing() -> None:
    rows, notes = table("file,prompt,mood,seed\n\na.png,,sad,3\nb.png\n,lost,,\n")
    assert rows == {"a.png": Row("list.csv, line 3", {"seed": "3"}), "b.png": Row("list.csv, line 4", {})}
    assert notes == ["list.csv: unknown fields were skipped: mood."]


def test_names_are_folded_and_formulas_lose_their_guard() -> None:
    rows, _ = table("file,prompt\n\\Sub\\A.PNG,'=cat\n")
    assert rows == {"sub/a.png": Row("list.csv, line 2", {"prompt": "=cat"})}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n \n", "the CSV is empty"),
        ("fil,prompt\na.png,x\n", r"no column 'file' \(is it 'fil'\?\)"),
        ("words,seed\na.png,1\n", "no column 'file'; its columns are words, seed"),
    ],
)
def test_a_table_without_names_of_files_is_an_error(text: str, message: str) -> None:
    with pytest.raises(WebuiError, match=message) as caught:
        table(text)
    assert caught.value.field == "files"


def changes(texts: FileTexts, name: str) -> FormChanges:
    return texts.changes(entry(name), PICTURE, Settings(), CATALOG)


def file_texts(table_text: str, **texts: str) -> FileTexts:
    """For the pictures a.png and sub/b.png, with .txt files by their stems."""
    files = [entry("a.png"), entry("sub/b.png"), entry("list.csv", table_text)]
    files += [entry(f"{stem}.txt", text) for stem, text in texts.items()]
    return FileTexts(sorted_out(files), ("text", "csv"), ("seed", "sampler_name", "checkpoint"))


@pytest.mark.parametrize("named", ["sub/b.png", "sub/b", "b.png", "b", "SUB/B.PNG"])
def test_a_row_is_found_by_the_whole_name_or_a_part(named: str) -> None:
    texts = file_texts(f"file,prompt\n{named},a dog\n")
    assert changes(texts, "sub/b.png") == FormChanges({"prompt": "a dog"})
    assert changes(texts, "a.png") == FormChanges()
    assert texts.notes == []


def test_rows_without_a_picture_are_told() -> None:
    rows = "".join(f"lost{number}\n" for number in range(6))
    (note,) = file_texts(f"file\na\n{rows}").notes
    assert note.startswith("No picture has this name: list.csv, line 3, list.csv, line 4")
    assert note.endswith("line 7 ….")


def test_a_row_comes_before_the_text_beside_the_picture() -> None:
    infotext = "a cat\nNegative prompt: blurry\nSteps: 9, Sampler: Euler a, Seed: 5, Model hash: " + "ab" * 5
    texts = file_texts("file,prompt,checkpoint\na,a dog,other\n", a=infotext, b="only words")
    found = changes(texts, "a.png")
    assert found.checkpoint == "other"
    assert (found.fields["prompt"], found.fields["negative_prompt"], found.fields["seed"]) == ("a dog", "blurry", 5)
    assert "steps" not in found.fields  # not among the fields to take


def test_a_text_names_its_checkpoint_by_hash() -> None:
    infotext = "a cat\nSteps: 9, Seed: 5, Model hash: "
    assert changes(file_texts("file\na\n", a=infotext + "ab" * 5), "a.png").checkpoint == "good.safetensors"
    missing = changes(file_texts("file\na\n", a=infotext + "cd" * 5), "a.png")
    assert missing.checkpoint == ""
    assert any("which is not installed" in note for note in missing.notes)


def test_a_wrong_value_names_its_line() -> None:
    with pytest.raises(WebuiError, match=r"^list\.csv, line 2: .*seed") as caught:
        changes(file_texts("file,seed\na,seven\n"), "a.png")
    assert caught.value.field == "seed"


@pytest.mark.parametrize(("append", "prompt", "negative"), [(True, "a form a file", "bad"), (False, "a file", "bad")])
def test_prompts_replace_the_forms_or_follow_them(append: bool, prompt: str, negative: str) -> None:
    form: dict[str, Any] = {"prompt": "a form", "steps": 3, "override_settings": {"eta_ddim": 0.5}}
    changed = FormChanges({"prompt": "a file", "negative_prompt": "bad", "steps": 4}, "good").over(form, append)
    assert changed == {
        "prompt": prompt,
        "negative_prompt": negative,
        "steps": 4,
        "override_settings": {"eta_ddim": 0.5, "sd_model_checkpoint": "good"},
    }
    assert form["override_settings"] == {"eta_ddim": 0.5}
