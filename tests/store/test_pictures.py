"""Source pictures on disk: named by content, limited in size, and safe to lose."""

import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.store.pictures import Pictures


def picture(shade: int) -> Picture:
    return Picture.from_image(Image.new("RGB", (16, 8), (shade, shade, shade)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the pictures, created by the first one."""
    return tmp_path / "cache" / "pictures"


def gone(pictures: Pictures, wanted: Picture) -> str:
    with pytest.raises(WebuiError) as caught:
        pictures.get(wanted.sha256)
    assert (caught.value.status, caught.value.field) == (404, "init_images")
    return str(caught.value)


def test_a_picture_is_found_by_its_hash_also_after_a_restart(folder: Path) -> None:
    one = picture(1)
    path = Pictures(folder).put(one)
    assert path == folder / f"{one.sha256}.png"
    for pictures in (Pictures(folder), Pictures(folder)):
        found = pictures.get(one.sha256)
        assert (found, found.data) == (one, one.data)
        assert pictures.path(one.sha256) == path


def test_notes_and_orientation_survive(folder: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("CMYK", (16, 8)).save(tmp_path / "a.jpg", exif=exif)
    one = Picture.from_bytes((tmp_path / "a.jpg").read_bytes())
    assert (one.width, one.height, len(one.notes)) == (8, 16, 1)
    Pictures(folder).put(one)
    assert Pictures(folder).get(one.sha256) == one


def test_putting_twice_writes_once(folder: Path) -> None:
    pictures = Pictures(folder)
    first = pictures.put(picture(1)).stat()
    assert pictures.put(picture(1)).stat().st_ino == first.st_ino


def test_the_ones_unused_for_longest_give_way(folder: Path) -> None:
    one, two, three, four = map(picture, range(4))
    size = len(one.data)
    pictures = Pictures(folder, limit=3 * size + size // 2)
    for each in (one, two, three):
        pictures.put(each)
    pictures.get(one.sha256)
    pictures.put(four)
    assert "Drop, paste or choose it again." in gone(pictures, two)
    assert [pictures.get(each.sha256) for each in (one, three, four)] == [one, three, four]
    assert len(list(folder.iterdir())) == 3


def test_the_order_of_use_survives_a_restart(folder: Path) -> None:
    one, two, three = map(picture, range(3))
    for age, each in enumerate((two, one)):
        path = Pictures(folder).put(each)
        os.utime(path, (1_000_000 + age, 1_000_000 + age))
    pictures = Pictures(folder, limit=int(2.5 * len(one.data)))
    pictures.put(three)
    gone(pictures, two)
    assert pictures.get(one.sha256) == one


def test_a_picture_larger_than_the_bound_is_kept_while_it_is_the_last(folder: Path) -> None:
    pictures = Pictures(folder, limit=10)
    pictures.put(picture(1))
    pictures.put(picture(2))
    gone(pictures, picture(1))
    assert pictures.get(picture(2).sha256) == picture(2)


def test_an_emptied_folder_is_no_trouble(folder: Path) -> None:
    pictures = Pictures(folder)
    pictures.put(picture(1)).unlink()
    gone(pictures, picture(1))
    assert pictures.put(picture(1)).is_file()


def test_a_file_damaged_on_the_disk_is_not_used(folder: Path) -> None:
    pictures = Pictures(folder)
    path = pictures.put(picture(1))
    path.write_bytes(path.read_bytes()[:-1])
    assert "damaged" in gone(pictures, picture(1))
    assert not path.exists()
    assert pictures.put(picture(1)).is_file()


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "a" * 64, "*", "A" * 64])
def test_only_hashes_name_pictures(folder: Path, name: str) -> None:
    pictures = Pictures(folder)
    pictures.put(picture(1))
    (folder / "notes.txt").touch()
    with pytest.raises(WebuiError):
        Pictures(folder).get(name)


def test_a_full_disk_gives_the_reason_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    pictures = Pictures(folder)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(WebuiError, match=r"The source picture cannot be saved in .*: the disk is full"):
        pictures.put(picture(1))
    assert list(folder.iterdir()) == []
    gone(pictures, picture(1))
