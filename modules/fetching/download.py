"""Downloads a file in pieces, resumes after interruptions, and gives it its name once it is complete and verified."""

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

PARTIAL, JOURNAL, LOCK = ".fetching", ".fetching.json", ".fetching-lock"  # suffixes of ".NAME"
PIECE: Final = 2**16  # bytes
SPARE_BYTES: Final = 64 * 2**20  # of disk space to leave free
ATTEMPTS: Final = 6  # in a row without a new byte

Wait = Callable[[float], None]


class Stopped(Exception):
    """The user stopped the download. The downloaded part stays, so the next download can resume."""


def download(
    client: httpx2.Client, offer: Offer, target: Path, breathe: Callable[[], None], wait: Wait = time.sleep
) -> Iterator[int]:
    """Download `offer` as the new file `target`; yields the number of bytes on disk after each piece.

    Calls `breathe` before each piece; an exception from it ends the download. Raises WebuiError if `target` exists,
    the disk fails or is too full, the connection breaks for good, or the hash is wrong; `target` is then not created.
    The downloaded part is kept so that the next download resumes, unless the hash was wrong.
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
                with contextlib.suppress(OSError):  # Windows cannot delete an open file
                    lock.unlink(missing_ok=True)  # before releasing it, so that no other process holds it
    except Timeout as error:
        raise WebuiError(f"{target.name} is just being fetched.", "Wait for it.", "name", 409) from error


def _kept(offer: Offer, partial: Path, journal: Path) -> int:
    """Bytes of the same file left by an earlier download; 0 if the file on the hub has changed since."""
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
    """Write the missing bytes, from the file's position to the offer's size. Reconnects if the connection breaks."""
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
            for _ in range(10 * min(failures + 1, 5)):  # a tenth of a second each, so a stop takes effect soon
                breathe()
                wait(0.1)


def _piece_by_piece(client: httpx2.Client, offer: Offer, file: BinaryIO, breathe: Callable[[], None]) -> Iterator[int]:
    """Download over one connection; yields the bytes on disk. Raises httpx2.HTTPError if the connection breaks."""
    breathe()
    start = file.tell()
    headers = {"Range": f"bytes={start}-"} if start else {}
    with client.stream("GET", offer.url, headers=headers) as answer:
        if answer.status_code >= 500 or answer.status_code == 429:
            return  # the caller retries
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
    """Whether the server sends only the requested rest; otherwise it sends the whole file."""
    return answer.status_code == 206 and answer.headers.get("Content-Range", "") == f"bytes {start}-{size - 1}/{size}"


def _require_hash(offer: Offer, partial: Path, journal: Path, breathe: Callable[[], None]) -> None:
    """Raises WebuiError, and deletes the file, if its hash differs from the catalog's or the hub's."""
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
