"""Files of batches on disk."""

import hashlib
from pathlib import Path

import pytest

from modules.base.errors import WebuiError
from modules.store.spool import Spool


def test_a_file_is_kept_under_its_hash_and_found_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with spool.writer() as file:
        file.write(b"a ")
        file.write(b"cat")
        assert file.size == 5
        file_id = file.keep()
    assert file_id == hashlib.sha256(b"a cat").hexdigest() == spool.put(b"a cat")
    assert Spool(tmp_path / "spool").path(file_id).read_bytes() == b"a cat"
    assert [path.name for path in spool.folder.iterdir()] == [file_id]


def test_what_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with spool.writer() as file:
        file.write(b"half")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["0" * 64, "../x", "", "x", "0" * 63 + "/"])
def test_what_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(WebuiError, match=r"The file .* no longer exists\.") as caught:
        Spool(tmp_path).path(name)
    assert caught.value.status == 404


def test_the_oldest_gives_way_but_never_what_is_claimed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit=10)
    first, second = spool.put(b"1111"), spool.put(b"2222")
    spool.claim("a batch", [first])
    third = spool.put(b"3333")
    assert spool.path(first).is_file()
    assert spool.path(third).is_file()
    with pytest.raises(WebuiError):
        spool.path(second)
    spool.claim("another", [third])
    with pytest.raises(WebuiError, match="no room for more files"):
        spool.put(b"4444")
    spool.release("a batch")
    fourth = spool.put(b"4444")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([third, fourth])


def test_a_claim_on_what_is_not_there_is_refused_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit=10)
    first = spool.put(b"1")
    with pytest.raises(WebuiError):
        spool.claim("a batch", [first, "0" * 64])
    spool.put(b"0123456789")
    with pytest.raises(WebuiError):
        spool.path(first)
