"""Where results go: names, collisions, the manifest."""

from pathlib import Path

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.paths import checked_folder
from modules.jobs.batch.results import MANIFEST, Done, Results, numbered
from modules.schema.settings import Settings
from modules.store.metadata import as_file
from modules.store.outputs import Outputs

RED = Image.new("RGB", (8, 8), "red")


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path / "outputs")


@pytest.mark.parametrize("folder", ["batch", " batch ", "a/b", "a\\b", "cats & dogs (2)", "ü"])
def test_folders_that_are_taken(folder: str) -> None:
    assert checked_folder(folder) == folder.strip().replace("\\", "/")


@pytest.mark.parametrize(
    "folder",
    [
        "",
        " ",
        "..",
        "a/..",
        "../a",
        ".a",
        "a/.b",
        "a.",
        "a:b",
        "C:/a",
        "a//b",
        "a\0",
        'a"b',
        "x" * 201,
        "con",
        "a/NUL.x",
        "a/ b",
    ],
)
def test_folders_that_are_refused(folder: str) -> None:
    with pytest.raises(WebuiError, match="expected the name of a folder inside outputs"):
        checked_folder(folder)


def test_a_leading_slash_means_nothing() -> None:
    assert checked_folder("/a") == "a"


@pytest.mark.parametrize(
    ("source", "pictures", "there", "expected"),
    [
        ("photo.png", 1, [], "batch/photo"),
        ("holiday/photo.jpg", 1, [], "batch/holiday/photo"),
        ("photo.png", 1, ["photo.webp"], "batch/photo_2"),
        ("PHOTO.png", 1, ["photo.png", "photo_2.png"], "batch/PHOTO_3"),
        ("photo.png", 2, ["photo.png"], "batch/photo"),
        ("photo.png", 2, ["photo-2.png"], "batch/photo_2"),
        ("photo.png", 1, ["photo-1.png"], "batch/photo"),
        ('a:b?"<>|*.png', 1, [], "batch/a_b______"),
        ("CON.png", 1, [], "batch/_CON"),
        (".. ./.x..png", 1, [], "batch/_/x"),
        ("ü" * 300 + ".png", 1, [], "batch/" + "ü" * 100),
    ],
)
def test_names_of_results(outputs: Outputs, source: str, pictures: int, there: list[str], expected: str) -> None:
    (outputs.root / "batch").mkdir(parents=True)
    for name in there:
        (outputs.root / "batch" / name).write_bytes(b"")
    assert Results(outputs, "batch").free_name(source, pictures) == expected


def test_a_single_picture_has_no_number() -> None:
    assert [numbered("a", 0, 1), numbered("a", 0, 2), numbered("a", 1, 2)] == ["a", "a-1", "a-2"]


def test_what_is_saved_can_be_located_and_is_never_overwritten(outputs: Outputs) -> None:
    webp = as_file(RED, "a cat", Settings(samples_format="webp"))
    path = outputs.write(["batch/sub/a"], webp)
    assert path == "batch/sub/a.webp"
    assert outputs.locate(path).is_file()
    with pytest.raises(FileExistsError):
        outputs.write(["batch/sub/a"], webp)
    assert outputs.write(["batch/sub/a", "batch/sub/a_2"], webp) == "batch/sub/a_2.webp"


def test_the_manifest_remembers_by_name_and_key_while_the_pictures_are_there(outputs: Outputs) -> None:
    results = Results(outputs, "batch")
    path = outputs.write(["batch/a"], as_file(RED, "", Settings()))
    done = Done("ä.png", "key", (path,))
    results.note(done)
    for again in (results, Results(outputs, "batch")):
        assert again.finished("ä.png", "key") == done
        assert again.finished("ä.png", "other") is None
        assert again.finished("b.png", "key") is None
    assert Results(outputs, "other").finished("ä.png", "key") is None
    (outputs.root / path).unlink()
    assert results.finished("ä.png", "key") is None


def test_a_manifest_cannot_name_pictures_elsewhere(outputs: Outputs, tmp_path: Path) -> None:
    (outputs.root / "batch").mkdir(parents=True)
    RED.save(tmp_path / "x.png")
    (outputs.root / "batch" / MANIFEST).write_text('{"name": "a.png", "key": "k", "pictures": ["../x.png"]}\n')
    assert Results(outputs, "batch").finished("a.png", "k") is None


@pytest.mark.parametrize("folder", ["out", "out/new", "batch"])
def test_a_folder_that_leads_out_of_outputs_is_refused(outputs: Outputs, tmp_path: Path, folder: str) -> None:
    """By a link, on the way or at its end; or the manifest is a link."""
    outside = tmp_path / "outside"
    for made in (outside, outputs.root / "batch"):
        made.mkdir(parents=True)
    (outputs.root / "out").symlink_to(outside)
    (outputs.root / "batch" / MANIFEST).symlink_to(outside / "list")
    with pytest.raises(WebuiError, match="a link that leads outside the outputs folder") as refused:
        Results(outputs, folder)
    assert refused.value.field == "output"
    assert list(outside.iterdir()) == []


def test_a_link_below_a_batch_s_folder_is_not_followed_out(outputs: Outputs, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for made in (outside, outputs.root / "batch"):
        made.mkdir(parents=True)
    (outputs.root / "batch" / "holiday").symlink_to(outside)
    results = Results(outputs, "batch")
    with pytest.raises(WebuiError, match="a link that leads outside"):
        results.free_name("holiday/photo.png", 1)
    with pytest.raises(WebuiError, match="a link that leads outside"):
        outputs.write(["batch/holiday/photo"], as_file(RED, "", Settings()))
    assert list(outside.iterdir()) == []
