"""Files that grow line by line: what a crash or a full disk leaves of the last line."""

import errno
import os
from pathlib import Path

import pytest

from modules.base.disk import append_line


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, b"head\nnew\n"),
        (b"", b"head\nnew\n"),
        (b"old\n", b"old\nnew\n"),
        (b"old\ncut o", b"old\ncut o\nnew\n"),
        (b"1", b"1\nnew\n"),
    ],
)
def test_a_line_stands_by_itself_whatever_a_crash_left_before_it(
    tmp_path: Path, before: bytes | None, after: bytes
) -> None:
    path = tmp_path / "log"
    if before is not None:
        path.write_bytes(before)
    append_line(path, b"new", first=b"head")
    assert path.read_bytes() == after


def test_a_file_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        append_line(tmp_path / "log", b"new", new=False)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("before", [b"", b"old\n", b"cut o"])
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "log", os.write
    path.write_bytes(before)
    taken = iter([2])

    def full(handle: int, data: bytes) -> int:
        """Accepts two bytes, then none."""
        for count in taken:
            return write(handle, data[:count])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="full"):
        append_line(path, b"new line", first=b"head")
    assert path.read_bytes() == before
