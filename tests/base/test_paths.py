"""What names and paths from outside may look like, and where they may lead."""

from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.base.paths import below, checked_folder, checked_name, could_be, legible, printable

NO_PATHS = ["a\0b", "a\nb", "\x1b[31m", "\x9b31m", "\ud800.png", "x" * 256, "ü" * 128, "a/" * 600]


@pytest.mark.parametrize("path", ["a.png", "a/b c/ü.png", "x" * 255, "", "..", "\u202e"])
def test_what_a_file_could_be_called(path: str) -> None:
    assert could_be(path)


@pytest.mark.parametrize("path", NO_PATHS)
def test_what_no_file_could_be_called(tmp_path: Path, path: str) -> None:
    assert not could_be(path)
    assert below(tmp_path, path) is None


def test_paths_stay_below_their_root(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "in", outside):
        folder.mkdir(parents=True)
    (outside / "a.png").touch()
    (root / "out").symlink_to(outside)
    (root / "within").symlink_to(root / "in")
    (root / "circle").symlink_to(root / "circle")
    (root / "a.png").symlink_to(outside / "a.png")
    assert below(root, "in/new.png") == root.resolve() / "in" / "new.png"
    assert below(root, "within/new.png") == root.resolve() / "in" / "new.png"
    assert below(root, "in/new.png", strict=True) is None
    for path in ("out", "out/a.png", "out/new/b.png", "a.png", "..", "in/../../outside", "/etc", "circle/a"):
        assert below(root, path) is None, path


@pytest.mark.parametrize("name", ["\ud800.png", "a\x1b.png", "a\x85.png"])
def test_names_of_files_that_are_brought(name: str) -> None:
    with pytest.raises(WebuiError, match="is refused"):
        checked_name(name)
    assert checked_name(legible(name)).count("?") == 1


@pytest.mark.parametrize("folder", ["\ud800", "a/\x1b[2J", "ü" * 128])
def test_folders_of_batches(folder: str) -> None:
    with pytest.raises(WebuiError, match="expected the name of a folder inside outputs"):
        checked_folder(folder)


def test_what_a_terminal_obeys_is_escaped() -> None:
    assert printable("ü\x1b[2J\x9b1m\u202e\ud800\n") == "ü\\x1b[2J\\x9b1m\\u202e\\ud800\\n"
