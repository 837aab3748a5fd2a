"""The notes and the picture beside a model: which files count, and which of several comes first."""

from pathlib import Path

import pytest

from modules.networks.files.beside import Folder, base_of


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "people" / "Anna.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def add(model: Path, *endings: str) -> None:
    for ending in endings:
        (model.parent / f"{model.stem}{ending}").write_text("x")


def names(model: Path, root: Path) -> tuple[list[str], str]:
    found = Folder(model.parent, [root]).beside(model, base_of(model).stem)
    assert found is not None
    picture = "" if found.picture is None else Path(found.picture.path).name
    return [note.ending for note in found.notes], picture


def test_notes_come_in_their_order_and_one_picture(model: Path, tmp_path: Path) -> None:
    add(model, ".txt", ".civitai.info", ".json", ".png", ".preview.jpg")
    assert names(model, tmp_path) == ([".json", ".civitai.info", ".txt"], "Anna.preview.jpg")


def test_files_of_other_models_do_not_count(model: Path, tmp_path: Path) -> None:
    (model.parent / "Anna2.json").write_text("x")
    (model.parent / "An.png").write_text("x")
    assert names(model, tmp_path) == ([], "")


def test_letters_of_either_case_are_the_same_name(model: Path, tmp_path: Path) -> None:
    (model.parent / "anna.PREVIEW.PNG").write_text("x")
    assert names(model, tmp_path) == ([], "anna.PREVIEW.PNG")


def test_a_link_out_of_the_folders_does_not_count(model: Path, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-secret.png"
    outside.write_text("x")
    inside = tmp_path / "shared.png"
    inside.write_text("x")
    (model.parent / "Anna.preview.png").symlink_to(outside)
    (model.parent / "Anna.png").symlink_to(inside)
    assert names(model, tmp_path) == ([], "Anna.png")


def test_a_model_that_is_gone_has_nothing(model: Path, tmp_path: Path) -> None:
    folder = Folder(model.parent, [tmp_path])
    model.unlink()
    assert folder.beside(model, "Anna") is None
    assert Folder(tmp_path / "gone", [tmp_path]).beside(model, "Anna") is None


def test_a_folder_is_called_by_its_path_below_the_models(model: Path, tmp_path: Path) -> None:
    assert Folder(model.parent, [tmp_path]).label == "people"
    assert Folder(tmp_path, [tmp_path]).label == ""


def test_a_model_that_diffusers_saved_is_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my.model"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    assert base_of(folder) == (tmp_path, "my.model")
