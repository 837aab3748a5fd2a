"""The outputs folder: complete files or none, consecutive numbers, no escape from the folder."""

import csv
import errno
import io
import os
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.app import sweep_drafts
from modules.base.disk import DRAFT
from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.flags.flags import Flags
from modules.schema.settings import Settings
from modules.store.metadata import as_file, read
from modules.store.outputs import LOG_COLUMNS, Outputs

IMAGE = Image.new("RGB", (16, 16), "teal")
TEXT = (
    'a "cat", gray\nNegative prompt: flat\n'
    "Steps: 20, Sampler: Euler, CFG scale: 7.0, Seed: 5, Model hash: abc, Model: m"
)
DAY = date(2026, 1, 31)
FOLDER = "img2img-images/2026-01-31"


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """An empty outputs folder on a fixed day."""
    return Outputs(tmp_path / "outputs", lambda: DAY)


def save(outputs: Outputs, seed: int = 5, kind: str = "img2img", text: str = TEXT, **settings: Any) -> str:
    # A copy: two threads that save one image leave one thread's texts in it for good (Pillow's encoderinfo).
    return outputs.write(outputs.numbered(kind, seed), as_file(IMAGE.copy(), text, Settings(**settings)))


def files(outputs: Outputs) -> list[str]:
    return sorted(outputs.relative(path) for path in outputs.root.rglob("*") if path.is_file())


def test_pictures_are_numbered_by_day_and_kind(tmp_path: Path) -> None:
    day = DAY
    outputs = Outputs(tmp_path, lambda: day)
    names = [save(outputs, 5), save(outputs, 6), save(outputs, 7, "txt2img")]
    day = date(2026, 2, 1)
    assert [*names, save(outputs, 8)] == [
        "img2img-images/2026-01-31/00000-5.png", "img2img-images/2026-01-31/00001-6.png",
        "txt2img-images/2026-01-31/00000-7.png", "img2img-images/2026-02-01/00000-8.png",
    ]  # fmt: skip


@pytest.mark.parametrize(("format", "suffix"), [("png", "png"), ("jpg", "jpg"), ("webp", "webp")])
def test_a_file_holds_its_picture_and_its_text(outputs: Outputs, format: str, suffix: str) -> None:
    path = outputs.root / save(outputs, samples_format=format)
    picture = Picture.from_bytes(path.read_bytes())
    assert (path.suffix, picture.format.lower()[:2]) == (f".{suffix}", suffix[:2])
    assert (read(picture).infotext, picture.width) == (TEXT, 16)


@pytest.mark.parametrize(
    ("there", "name"),
    [
        (["00041-9.png"], "00042-5.png"),
        (["00041-9.jpg", "00007-9.png", "grid-0099.png", "notes.txt"], "00042-5.png"),
        (["123456-9.png"], "123457-5.png"),
        (["20260131123456-9.png"], "00000-5.png"),  # a date, not one of our numbers
    ],
)
def test_numbers_go_on_from_the_largest(outputs: Outputs, there: list[str], name: str) -> None:
    folder = outputs.root / FOLDER
    folder.mkdir(parents=True)
    for other in there:
        (folder / other).touch()
    assert save(outputs) == f"{FOLDER}/{name}"


def test_the_folder_is_read_once(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    save(outputs)
    monkeypatch.setattr("modules.store.outputs._next_number", lambda folder: pytest.fail("read again"))
    assert [save(outputs) for _ in range(3)] == [f"{FOLDER}/0000{n}-5.png" for n in (1, 2, 3)]


def test_files_from_outside_are_never_overwritten(outputs: Outputs) -> None:
    save(outputs)
    for number in (1, 2, 8):
        (outputs.root / FOLDER / f"0000{number}-5.png").write_text("not ours")
    assert save(outputs) == f"{FOLDER}/00009-5.png"
    assert (outputs.root / FOLDER / "00001-5.png").read_text() == "not ours"


def test_threads_get_numbers_of_their_own(outputs: Outputs) -> None:
    threads = [threading.Thread(target=lambda: [save(outputs) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files(outputs) == [f"{FOLDER}/{number:05}-5.png" for number in range(40)]


def test_two_programs_share_a_folder(outputs: Outputs) -> None:
    other = Outputs(outputs.root, lambda: DAY)
    assert [save(which) for which in (outputs, other, outputs, other)] == [f"{FOLDER}/0000{n}-5.png" for n in range(4)]


def test_a_folder_deleted_meanwhile_is_made_again(outputs: Outputs) -> None:
    (outputs.root / save(outputs)).unlink()
    (outputs.root / FOLDER).rmdir()
    assert save(outputs) == f"{FOLDER}/00001-5.png"


def refusing(error: int) -> Callable[..., Any]:
    """A function of os that always fails."""

    def refused(*args: object, **options: object) -> None:
        raise OSError(error, os.strerror(error))

    return refused


def filling_up(after: int) -> Callable[[int, Any], int]:
    """os.write for a disk that accepts `after` bytes and then is full."""
    real, left = os.write, [after]

    def write(handle: int, data: Any) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(handle, bytes(data[: left[0]]))
        left[0] -= written
        return written

    return write


@pytest.mark.parametrize(
    ("function", "fault", "reason", "hint"),
    [
        ("write", refusing(errno.ENOSPC), "the disk is full", "Free some disk space"),
        ("write", filling_up(after=50), "the disk is full", "Free some disk space"),
        ("write", refusing(errno.EDQUOT), "the disk is full", "Free some disk space"),
        ("write", refusing(errno.EIO), os.strerror(errno.EIO), "Check that the drive"),
        ("fsync", refusing(errno.ENOSPC), "the disk is full", "Free some disk space"),
        ("open", refusing(errno.EACCES), "it cannot be written", "Make the folder writable"),
        ("open", refusing(errno.EROFS), "it cannot be written", "Make the folder writable"),
        ("link", refusing(errno.EIO), os.strerror(errno.EIO), "Check that the drive"),
    ],
)
def test_a_refusing_disk_gives_the_reason_and_leaves_nothing(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch, function: str, fault: Callable[..., Any], reason: str, hint: str
) -> None:
    save(outputs)
    with monkeypatch.context() as patch:
        patch.setattr(os, function, fault)
        with pytest.raises(WebuiError) as caught:
            save(outputs)
    assert caught.value.message == f"The picture cannot be saved in {outputs.root / FOLDER}: {reason}."
    assert caught.value.hint.startswith(hint)
    assert caught.value.status == 507
    assert files(outputs) == [f"{FOLDER}/00000-5.png"]
    assert save(outputs) == f"{FOLDER}/00001-5.png"  # it continues as soon as the disk works again


def test_a_file_in_the_folder_s_place_is_called_so(outputs: Outputs) -> None:
    (outputs.root / "img2img-images").parent.mkdir()
    (outputs.root / "img2img-images").touch()
    with pytest.raises(WebuiError, match=r"cannot be saved in .*: (.* is not a folder|Not a directory)"):
        save(outputs)


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTSUP])
def test_a_drive_without_hard_links_is_as_good(outputs: Outputs, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    monkeypatch.setattr(os, "link", refusing(error))
    save(outputs)
    (outputs.root / FOLDER / "00001-5.png").write_text("not ours")
    assert save(outputs) == f"{FOLDER}/00002-5.png"
    assert (outputs.root / FOLDER / "00001-5.png").read_text() == "not ours"
    assert len(files(outputs)) == 3
    monkeypatch.setattr(os, "replace", refusing(errno.EIO))
    with pytest.raises(WebuiError):
        save(outputs)
    assert len(files(outputs)) == 3


def test_drafts_of_a_killed_process_are_swept_away(outputs: Outputs) -> None:
    folder = outputs.root / FOLDER
    folder.mkdir(parents=True)
    old, fresh = folder / f".00000-1.png.aaaa{DRAFT}", folder / f".00000-2.png.bbbb{DRAFT}"
    for draft in (old, fresh):
        draft.touch()
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    save(outputs)
    assert (old.exists(), fresh.exists()) == (False, True)


def test_a_saved_picture_is_located(outputs: Outputs) -> None:
    name = save(outputs)
    assert outputs.locate(name) == (outputs.root / name).resolve()


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "/", "..", "../secret.png", "img2img-images/../../secret.png", f"{FOLDER}/../../../secret.png",
        "/etc/passwd", "//host/share.png", "C:/secret.png", "..\\secret.png", f"{FOLDER}\\00000-5.png",
        "secret.png\0.txt",
        FOLDER, "img2img-images", "saved/log.csv", ".hidden.png", ".hidden/a.png", f"{FOLDER}/none.png", "link.png",
        "linked/secret.png", "circle.png", "a/" * 600 + "a.png", "a" * 400 + ".png", "%2e%2e/secret.png", "folder.png",
    ],
)  # fmt: skip
def test_nothing_else_is_located(outputs: Outputs, name: str) -> None:
    save(outputs)
    root, outside = outputs.root, outputs.root.parent
    (outside / "secret.png").write_bytes(b"secret")
    for hidden in (root / ".hidden.png", root / "saved" / "log.csv", root / ".hidden" / "a.png"):
        hidden.parent.mkdir(exist_ok=True)
        hidden.touch()
    (root / "folder.png").mkdir()
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "linked").symlink_to(outside)
    (root / "circle.png").symlink_to(root / "circle.png")
    with pytest.raises(WebuiError) as caught:
        outputs.locate(name)
    assert (caught.value.status, caught.value.field) == (404, "path")


def log(outputs: Outputs) -> list[list[str]]:
    return list(csv.reader(io.StringIO((outputs.root / "saved" / "log.csv").read_text(encoding="utf-8"), newline="")))


def test_keeping_copies_and_logs_with_a1111s_columns(outputs: Outputs) -> None:
    name = save(outputs)
    copy = outputs.keep(name)
    assert outputs.relative(copy) == "saved/00000-5.png"
    assert copy.read_bytes() == (outputs.root / name).read_bytes()
    row = ['a "cat", gray', "5", "16", "16", "Euler", "7.0", "20", "00000-5.png", "flat", "m", "abc"]
    assert log(outputs) == [list(LOG_COLUMNS), row]


def test_keeping_twice_keeps_one_copy_and_another_of_that_name_gets_its_own(outputs: Outputs) -> None:
    name = save(outputs)
    assert outputs.keep(name) == outputs.keep(name)
    other = outputs.root / "txt2img-images" / "00000-5.png"
    other.parent.mkdir()
    Image.new("RGB", (8, 8)).save(other)
    assert outputs.relative(outputs.keep("txt2img-images/00000-5.png")) == "saved/00000-5-1.png"
    assert [row[7] for row in log(outputs)] == ["filename", "00000-5.png", "00000-5-1.png"]


def test_a_disk_that_fills_up_at_the_log_leaves_log_and_folder_as_they_were(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = save(outputs, 1), save(outputs, 2)
    outputs.keep(first)
    before = (outputs.root / "saved" / "log.csv").read_bytes()
    size = (outputs.root / second).stat().st_size
    monkeypatch.setattr(os, "write", filling_up(after=size + 10))
    with pytest.raises(WebuiError, match="the disk is full"):
        outputs.keep(second)
    assert (outputs.root / "saved" / "log.csv").read_bytes() == before
    assert [name for name in files(outputs) if name.startswith("saved/")] == ["saved/00000-1.png", "saved/log.csv"]


def test_a_zip_holds_the_files_as_they_are(outputs: Outputs) -> None:
    names = [save(outputs, seed) for seed in (1, 2)]
    archive = zipfile.ZipFile(io.BytesIO(b"".join(outputs.zipped(names))))
    assert archive.testzip() is None
    assert archive.namelist() == ["00000-1.png", "00001-2.png"]
    assert archive.read("00000-1.png") == (outputs.root / names[0]).read_bytes()
    assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_files_of_one_name_keep_their_folders_in_a_zip(outputs: Outputs) -> None:
    name = save(outputs)
    outputs.keep(name)
    archive = zipfile.ZipFile(io.BytesIO(b"".join(outputs.zipped([name, "saved/00000-5.png", name]))))
    assert archive.namelist() == [name, "saved/00000-5.png"]


def test_a_zip_is_refused_before_its_first_byte(outputs: Outputs) -> None:
    with pytest.raises(WebuiError):
        outputs.zipped([save(outputs), "../secret.png"])


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (datetime(2160, 5, 6, 7, 8, 9).timestamp(), (2107, 12, 31, 23, 59, 58)),
        (datetime(1971, 5, 6).timestamp(), (1980, 1, 1, 0, 0, 0)),
        (datetime(2026, 5, 6, 7, 8, 10).timestamp(), (2026, 5, 6, 7, 8, 10)),
    ],
)
def test_a_file_of_any_year_goes_into_a_zip(
    outputs: Outputs, seconds: float, expected: tuple[int, int, int, int, int, int]
) -> None:
    name = save(outputs)
    os.utime(outputs.root / name, (seconds, seconds))
    archive = zipfile.ZipFile(io.BytesIO(b"".join(outputs.zipped([name]))))
    assert [entry.date_time for entry in archive.infolist()] == [expected]


def test_a_prompt_that_a_spreadsheet_would_run_is_guarded_in_the_log(outputs: Outputs) -> None:
    text = '=HYPERLINK("http://x")\nNegative prompt: -ugly\nSteps: 5, Sampler: Euler, Seed: 7, CFG scale: 7'
    name = save(outputs, 7, text=text)
    outputs.keep(name)
    [row] = csv.DictReader((outputs.root / "saved" / "log.csv").read_text(encoding="utf-8").splitlines())
    assert (row["prompt"], row["negative_prompt"]) == ('\'=HYPERLINK("http://x")', "'-ugly")
    assert (row["seed"], row["cfgs"]) == ("7", "7")


def test_old_drafts_are_swept_wherever_files_are_written_and_fresh_ones_stay(tmp_path: Path) -> None:
    places = (
        "", "outputs/txt2img-images/2020-01-31", "outputs/saved", "outputs/batch/holiday", "cache/pictures",
        "queue/batches",
    )  # fmt: skip
    old: list[Path] = []
    fresh: list[Path] = []
    for place in places:
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        old.append(folder / f".00000-1.png.aaaa{DRAFT}")
        fresh.append(folder / f".00000-2.png.bbbb{DRAFT}")
        for draft in (old[-1], fresh[-1]):
            draft.write_bytes(b"half")
        os.utime(old[-1], (1000, 1000))
    sweep_drafts(Flags(data_dir=tmp_path))
    assert [draft for draft in old if draft.exists()] == []
    assert all(draft.exists() for draft in fresh)
