"""Files of a batch: names, malicious zips, folders that lead elsewhere."""

import io
import os
import stat
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.base.paths import checked_name
from modules.jobs.batch import files as batch_files
from modules.jobs.batch.files import BatchFile, Folders, from_files, from_zip, sorted_out, text_of


def entry(name: str, data: bytes = b"") -> BatchFile:
    return BatchFile(name, len(data), lambda: data)


def test_files_are_sorted_by_kind_and_in_natural_order() -> None:
    names = [
        "p10.PNG",
        "p2.png",
        "a/x.jpeg",
        "p2.txt",
        "rows.csv",
        "x.psd",
        ".hidden.png",
        "__MACOSX/a/x.jpeg",
        "Thumbs.db",
    ]
    found = sorted_out([entry(name) for name in names])
    assert [one.name for one in found.pictures] == ["a/x.jpeg", "p2.png", "p10.PNG"]
    assert [one.name for one in (*found.texts, *found.tables)] == ["p2.txt", "rows.csv"]
    assert found.others == ("x.psd",)


def test_a_key_is_what_picture_mask_and_text_have_in_common() -> None:
    assert (entry("A/Photo.v2.PNG").key, entry("A/Photo.v2.PNG").stem) == ("a/photo.v2", "photo.v2")
    assert entry("plain").key == "plain"


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_files, "MOST_FILES", 2)
    with pytest.raises(WebuiError, match="3 files were given; at most 2 are taken"):
        sorted_out([entry(f"{number}.png") for number in range(3)])


@pytest.mark.parametrize("name", ["a.png", "a/b/c.png", "ü (1).png", "..a.png", "a..png", "a\\b.png"])
def test_names_that_are_taken(name: str) -> None:
    assert checked_name(name) == name.replace("\\", "/")


@pytest.mark.parametrize(
    "name", ["", "/a.png", "../a.png", "a/../b.png", "a/./b.png", "a//b.png", "..\\a.png", "C:\\a.png", "c:/a.png",
             "a\0.png", "a\n.png", "a/", "x" * 401, "\\\\host\\a.png"],
)  # fmt: skip
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(WebuiError, match="is not allowed"):
        checked_name(name)


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_a_zip_is_read_where_it_lies(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x", {"in/a.png": b"one", "b.txt": b"two"}, zipfile.ZIP_DEFLATED)
    found = {one.name: (one.size, one.read()) for one in from_files([("some.ZIP", path), ("c.png", path)])[:2]}
    assert found == {"in/a.png": (3, b"one"), "b.txt": (3, b"two")}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x"]


def linked(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


def encrypted(path: Path) -> Path:
    data = bytearray(write_zip(path, {"a.png": b"x"}).read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 8] |= 1
    path.write_bytes(data)
    return path


def long_list(path: Path) -> Path:
    data = bytearray(write_zip(path, {"a.png": b"x"}).read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\5\6") + 12, 1 << 30)
    path.write_bytes(data)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(write_zip(path, {"a.png": b"x" * 1000}).read_bytes()[:500])
    return path


def lying(path: Path) -> Path:
    """A file that claims to have 100 GB."""
    data = bytearray(write_zip(path, {"a.png": b"x"}).read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, 0xFFFFFF00)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: write_zip(path, {"../../a.png": b""}), r"x.zip: the file name '../../a.png' is not allowed"),
        (lambda path: write_zip(path, {"/etc/a.png": b""}), "is not allowed"),
        (lambda path: write_zip(path, {"..\\a.png": b""}), "is not allowed"),
        (
            lambda path: write_zip(path, {"a.png": bytes(3 << 20)}, zipfile.ZIP_DEFLATED),
            r"a.png would unpack to \d+ times",
        ),
        (lambda path: write_zip(path, {"a.png": b"x"}, zipfile.ZIP_BZIP2), "an unsupported compression method"),
        (linked, "a.png is a link, not a file"),
        (encrypted, "the zip is encrypted"),
        (long_list, "the zip lists far too many files"),
        (cut, "the zip cannot be read"),
        (lying, "a.png has 4095 MB; at most 256 MB are allowed"),
    ],
    ids=["up", "absolute", "backslash", "bomb", "bzip2", "link", "encrypted", "list", "cut", "size"],
)
def test_zips_that_are_refused(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    path = make(tmp_path / "x")
    with pytest.raises(WebuiError, match=words) as caught:
        from_zip("x.zip", path)
    assert caught.value.message.startswith("x.zip: ")


@pytest.mark.parametrize("record", ["in the offset", "zip64 in a comment"])
def test_a_false_end_record_opens_no_long_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str) -> None:
    """The length of the list comes from the record that zipfile uses, and from no other."""
    path = write_zip(tmp_path / "x", {f"{number:04}.png": b"" for number in range(400)})
    monkeypatch.setattr(batch_files, "MAX_DIRECTORY", 8000)  # a list of 400 names has 20 kB
    data = path.read_bytes()
    end = data.rfind(b"PK\5\6")
    if record == "in the offset":  # of the true record: a search from the end finds it first
        false = data[:end] + data[end : end + 16] + b"PK\5\6" + data[end + 20 :]
    else:
        comment = b"PK\6\6" + bytes(52)
        false = data[: end + 20] + len(comment).to_bytes(2, "little") + comment
    path.write_bytes(false)
    with pytest.raises(WebuiError, match=r"far too many files|cannot be read"):
        from_zip("x.zip", path)
    path.write_bytes(data)
    with pytest.raises(WebuiError, match="the zip lists far too many files"):
        from_zip("x.zip", path)


def test_a_zip_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_files, "MOST_FILES", 2)
    path = write_zip(tmp_path / "x", {f"{number}.png": b"" for number in range(3)})
    with pytest.raises(WebuiError, match="the zip contains 3 files; at most 2 are allowed"):
        from_zip("x.zip", path)


def test_a_damaged_file_in_a_zip_costs_itself_alone(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x", {"a.png": b"one one one", "b.png": b"two"})
    path.write_bytes(path.read_bytes().replace(b"one one one", b"one two one"))
    first, second = from_zip("x.zip", path)
    with pytest.raises(WebuiError, match=r"a.png: it is damaged in x.zip"):
        first.read()
    assert second.read() == b"two"


def test_folders_are_those_below_the_roots(tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    (inputs / "holiday" / "beach").mkdir(parents=True)
    (inputs / "holiday" / "a.png").write_bytes(b"a")
    (inputs / "holiday" / "beach" / "b.png").write_bytes(b"b")
    (inputs / "holiday" / ".c.png").write_bytes(b"c")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "s.png").write_bytes(b"s")
    (inputs / "holiday" / "link.png").symlink_to(secret / "s.png")
    (inputs / "out").symlink_to(secret)
    folders = Folders({"inputs": inputs, "outputs": tmp_path / "outputs"})
    assert [(one.name, one.read()) for one in folders.entries("inputs/holiday")] == [
        ("a.png", b"a"),
        ("beach/b.png", b"b"),
    ]
    assert [one.name for one in folders.entries("inputs\\holiday\\beach/")] == ["b.png"]
    assert folders.names()[:3] == ["inputs", "inputs/holiday", "inputs/holiday/beach"]
    for name in (
        "",
        "secret",
        "inputs/..",
        "inputs/../secret",
        "inputs/out",
        "/",
        str(inputs),
        "inputs/none",
        "outputs",
        "inputs/\0",
    ):
        with pytest.raises(WebuiError, match="no folder named"):
            folders.entries(name)


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"\xef\xbb\xbfa c\xc3\xa4t", "a cät"), ("a cät".encode("utf-16"), "a cät"), ("a cät".encode("latin-1"), "a cät")],
)
def test_texts_in_other_codes(data: bytes, text: str) -> None:
    assert text_of(entry("a.txt", data)).lstrip("\ufeff") == text


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(WebuiError, match="at most 1000000 are allowed"):
        text_of(BatchFile("a.txt", 1_000_001, io.BytesIO().read))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_names_that_are_no_text_are_read_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "inputs" / "a"
    folder.mkdir(parents=True)
    for name in (b"caf\xe9.png", b"red\x1b[31m.png", b"plain.png"):
        (tmp_path / "inputs" / "a" / os.fsdecode(name)).write_bytes(name)
    found = Folders({"inputs": tmp_path / "inputs"}).entries("inputs/a")
    assert {one.name: one.read() for one in found} == {
        "caf?.png": b"caf\xe9.png", "red?[31m.png": b"red\x1b[31m.png", "plain.png": b"plain.png",
    }  # fmt: skip
