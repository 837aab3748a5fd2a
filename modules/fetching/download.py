"""A file's way to the disk: in pieces, taken up again after a cut, whole and hashed before it gets its name."""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import httpx2
from filelock import FileLock, Timeout

from modules.base.disk import publish, refusal, write_over
from modules.base.errors import WebuiError
from modules.fetching.hub import Offer, require_success

PARTIAL, JOURNAL, LOCK = ".fetching", ".fetching.json", ".fetching-lock"  # after the name, which gets a dot before it
PIECE: Final = 2**16  # bytes
SPARE_BYTES: Final = 64 * 2**20  # of the disk that are left free
ATTEMPTS: Final = 6  # in a row that bring nothing

Wait = Callable[[float], None]


class Stopped(Exception):
    """Somebody wants the download to end. What is there stays, for the next one."""


def download(
    client: httpx2.Client, offer: Offer, target: Path, breathe: Callable[[], None], wait: Wait = time.sleep
) -> Iterator[int]:
    """Fetch `offer` as the new file `target`; tells after each piece how many bytes are there.

    `breathe` is called before each piece; what it raises ends the download. Raises WebuiError if `target` is taken, the
    disk refuses or is too full, the connection breaks for good, or the hash is wrong; then nothing has its name. What
    was fetched is kept for the next time, but for a wrong hash.
    """
    partial, journal, lock = (target.with_name(f".{target.name}{ending}") for ending in (PARTIAL, JOURNAL, LOCK))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(lock, target):
            if os.path.lexists(target):
                raise taken(target)
            there = _kept(offer, partial, journal)
            _require_room(offer.size - there, target)
            if not there:
                write_over(journal, json.dumps({"etag": offer.etag, "url": offer.url, "size": offer.size}).encode())
            with partial.open("r+b" if there else "wb") as file:
                file.truncate(there)
                file.seek(there)
                yield from _filled(client, offer, file, breathe, wait)
                file.flush()
                os.fsync(file.fileno())
            _require_hash(offer, partial, journal, breathe)
            publish(partial, target)
            journal.unlink(missing_ok=True)
    except FileExistsError as error:
        raise taken(target) from error
    except OSError as error:
        raise refusal(target.name, target.parent, error) from error


def taken(target: Path) -> WebuiError:
    return WebuiError(f"name: {target.name} is there already.", "Remove it, or choose another name.", "name", 409)


@contextlib.contextmanager
def _alone(lock: Path, target: Path) -> Iterator[None]:
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows removes no file that is open
                    lock.unlink(missing_ok=True)  # before it is let go of, so that nobody else has it
    except Timeout as error:
        raise WebuiError(f"{target.name} is just being fetched.", "Wait for it.", "name", 409) from error


def _kept(offer: Offer, partial: Path, journal: Path) -> int:
    """Bytes of the same file that an earlier download has left; 0 where the hub has another one by now."""
    try:
        record = json.loads(journal.read_bytes())
        there = partial.stat().st_size
    except (OSError, ValueError, RecursionError):
        return 0
    is_same = isinstance(record, dict) and record.get("etag") == offer.etag != "" and record.get("size") == offer.size
    return there if is_same and there <= offer.size else 0


def _require_room(needed: int, target: Path) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < needed + SPARE_BYTES:
        raise WebuiError(
            f"{target.name} needs {needed / 1e9:.2f} GB more in {target.parent}, and {free / 1e9:.2f} GB are free.",
            "Free some disk space.",
            status=507,
        )


def _filled(
    client: httpx2.Client, offer: Offer, file: BinaryIO, breathe: Callable[[], None], wait: Wait
) -> Iterator[int]:
    """Write what is missing, from where the file stands to the offer's size; broken connections are made again."""
    failures = 0
    yield file.tell()
    while file.tell() < offer.size:
        before = file.tell()
        try:
            yield from _piece_by_piece(client, offer, file, breathe)
        except httpx2.TooManyRedirects as error:
            raise WebuiError("The hub sends the download on too often.", "Try again later.", "file", 502) from error
        except httpx2.HTTPError as error:
            last: Exception | None = error
        else:
            last = None
        failures = 0 if file.tell() > before else failures + 1
        if file.tell() < offer.size and failures >= ATTEMPTS:
            raise WebuiError(
                f"The connection broke at {file.tell()} of {offer.size} bytes of {offer.order.file}"
                f"{f' ({type(last).__name__})' if last else ''}.",
                "Fetch it again to resume.",
                "file",
                502,
            ) from last
        if file.tell() < offer.size:
            for _ in range(10 * min(failures + 1, 5)):  # a tenth of a second each, so that a stop is heard
                breathe()
                wait(0.1)


def _piece_by_piece(client: httpx2.Client, offer: Offer, file: BinaryIO, breathe: Callable[[], None]) -> Iterator[int]:
    """One connection's worth. Raises httpx2.HTTPError where it breaks."""
    breathe()
    start = file.tell()
    headers = {"Range": f"bytes={start}-"} if start else {}
    with client.stream("GET", offer.url, headers=headers) as answer:
        if answer.status_code >= 500 or answer.status_code == 429:
            return  # tried again
        require_success(answer.status_code, offer.order)
        if start and not _goes_on(answer, start, offer.size):
            file.seek(0)
            file.truncate()
        for piece in answer.iter_raw(PIECE):
            breathe()
            if file.tell() + len(piece) > offer.size:
                raise WebuiError(
                    f"The server sends more than the {offer.size} bytes that {offer.order.file} has.",
                    "Try again later.",
                    "file",
                    502,
                )
            file.write(piece)
            yield file.tell()


def _goes_on(answer: httpx2.Response, start: int, size: int) -> bool:
    """Whether the server sends the rest that was asked for; else it begins anew."""
    return answer.status_code == 206 and answer.headers.get("Content-Range", "") == f"bytes {start}-{size - 1}/{size}"


def _require_hash(offer: Offer, partial: Path, journal: Path, breathe: Callable[[], None]) -> None:
    """Raises WebuiError, and removes the file, if it is not what the catalog and the hub say."""
    sha256, git = hashlib.sha256(), hashlib.sha1(f"blob {offer.size}\0".encode(), usedforsecurity=False)
    with partial.open("rb") as file:
        while block := file.read(2**20):
            breathe()
            sha256.update(block)
            if offer.git_hash:
                git.update(block)
    wrong = offer.sha256 and sha256.hexdigest() != offer.sha256
    if wrong or (offer.git_hash and git.hexdigest() != offer.git_hash):
        partial.unlink(missing_ok=True)
        journal.unlink(missing_ok=True)
        raise WebuiError(
            f"{offer.order.file} arrived damaged: its hash is {sha256.hexdigest()[:12]}, expected "
            f"{(offer.sha256 or offer.git_hash)[:12]}; it was deleted.",
            "Fetch it again.",
            "file",
            502,
        )
