"""Which names and paths from outside are allowed, and where they may lead."""

from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.base.paths import (
    LONGEST_PART,
    below,
    checked_folder,
    checked_name,
    could_be,
    legible,
    plain_part,
    printable,
)

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
    with pytest.raises(WebuiError, match="is not allowed"):
        checked_name(name)
    assert checked_name(legible(name)).count("?") == 1


@pytest.mark.parametrize("folder", ["\ud800", "a/\x1b[2J", "ü" * 128])
def test_folders_of_batches(folder: str) -> None:
    with pytest.raises(WebuiError, match="expected the name of a folder inside outputs"):
        checked_folder(folder)


# Windows opens a device under these names, in any folder and with any suffix.
DEVICES = [
    "con",
    "NUL",
    "aux.png",
    "prn.tar.gz",
    "Com1",
    "LPT9.txt",
    "COM¹",
    "lpt³.png",
    "CONIN$",
    "conout$.log",
    "nul .png",
]
FILES = ["console", "nullify.png", "com10", "comma", "auxiliary.txt", "lpt", "my con"]


@pytest.mark.parametrize("name", DEVICES)
def test_devices_of_windows_are_no_files(name: str) -> None:
    assert plain_part(name) == f"_{name}"
    with pytest.raises(WebuiError, match="expected the name of a folder inside outputs"):
        checked_folder(f"cats/{name}")


@pytest.mark.parametrize("name", FILES)
def test_names_that_only_begin_like_a_device_are_files(name: str) -> None:
    assert plain_part(name) == name
    assert checked_folder(f"cats/{name}") == f"cats/{name}"


@pytest.mark.parametrize(
    ("name", "on_disk"),
    [
        ("cat.", "cat"),  # Windows drops dots and spaces at the end, so that two names would be one file
        ("cat. . ", "cat"),
        (" .cat", "cat"),
        ("...", "_"),
        ("", "_"),
        ('a<b>c:d"e/f\\g|h?i*j', "a_b_c_d_e_f_g_h_i_j"),
        ("tab\tbell\a", "tab_bell_"),
        ("\ud800.png", "_.png"),
    ],
)
def test_a_part_of_a_name_is_one_that_every_system_takes(name: str, on_disk: str) -> None:
    assert plain_part(name) == on_disk


@pytest.mark.parametrize("letter", ["x", "ü", "語", "🐈"])
def test_a_long_part_leaves_room_and_ends_with_a_whole_letter(letter: str) -> None:
    part = plain_part(letter * 300)
    assert set(part) == {letter}
    assert len(part.encode()) <= LONGEST_PART - 55 < len(part.encode()) + 4


@pytest.mark.parametrize("folder", ["cats.", "a/ b", "a /b", "C:", "C:/x", "a//b", "../a", "a\\..\\b", "x" * 201])
def test_folders_that_another_system_would_call_otherwise(folder: str) -> None:
    with pytest.raises(WebuiError, match="expected the name of a folder inside outputs"):
        checked_folder(folder)


def test_a_folder_is_named_with_either_slash() -> None:
    assert checked_folder(" batch\\cats/ ") == "batch/cats"


def test_what_a_terminal_obeys_is_escaped() -> None:
    assert printable("ü\x1b[2J\x9b1m\u202e\ud800\n") == "ü\\x1b[2J\\x9b1m\\u202e\\ud800\\n"
