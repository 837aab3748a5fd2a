"""The queue on disk: every accepted job, until it and its results are forgotten.

A SQLite file (WAL, each commit synced) that only the web process opens. A job's row is stored before its client learns
the job's id, and each picture is announced before it is written, so after a crash no accepted job is lost and no saved
picture is made again. The pictures that a waiting job needs are held in `Pictures` by their hash.
"""

import hashlib
import json
import logging
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modules.base.errors import WebuiError
from modules.base.events import Event, Failed, Finished, ImageSaved, Parked
from modules.base.fields import Strict
from modules.base.kept import Unreadable
from modules.base.picture import Picture
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.store.faults import is_damage
from modules.store.job_store_file import ASIDE, Row, Rows, opened, readable, rows
from modules.store.job_store_rows import (
    KEPT_EVENTS,
    StoredJob,
    event_of,
    event_text,
    is_job,
    request_text,
    resources_text,
    stored_job,
)
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures

log = logging.getLogger(__name__)


class JobStore:
    """The jobs in the file `path`; without a path they are in memory and lost with the process.

    Safe to use from several threads. Its methods raise WebuiError if the disk refuses; then nothing has changed.
    Palimpsest starts even if the file cannot be written: what can be read is available, and each method tries to write
    again. A damaged file is set aside, and whatever is readable is recovered.
    """

    def __init__(self, path: Path | None = None, pictures: Pictures | None = None) -> None:
        self._path = path
        self._pictures = pictures
        self._lock = threading.Lock()
        self._buffered: dict[str, list[Event]] = defaultdict(list)  # job -> events written with the next commit
        self._db: sqlite3.Connection | None = None
        try:
            self._db = opened(path)
        except (OSError, sqlite3.Error) as error:
            log.error("%s", self._refusal(error))

    def add(
        self,
        job_id: str,
        kind: str,
        created: float,
        request: Strict,
        settings: Settings,
        resources: Resources,
    ) -> None:
        """Adds a job to the end of the queue, with its first events. Its pictures are held until it ends."""
        pictures: dict[str, Picture] = {}
        text = request_text(request, lambda picture: pictures.setdefault(picture.sha256, picture))
        held: list[str] = []
        try:
            if self._pictures is not None:
                for picture in pictures.values():
                    self._pictures.put(picture, held=True)
                    held.append(picture.sha256)
            with self._transaction() as db:
                db.execute(
                    "INSERT INTO jobs (id, kind, created, model, request, settings, checkpoint) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        job_id,
                        kind,
                        created,
                        type(request).__name__,
                        text,
                        settings.model_dump_json(),
                        resources_text(resources),
                    ),
                )
                self._flush(db, job_id)
                db.executemany("INSERT INTO needs VALUES (?, ?)", [(job_id, sha256) for sha256 in pictures])
        except BaseException:
            for sha256 in held:
                self._release(sha256)
            raise

    def on_disk(self, picture: Picture) -> Picture:
        """`picture`, needed by an added job, with its bytes on disk instead of in memory."""
        return picture if self._pictures is None else self._pictures.lying(picture)

    def begin(self, job_id: str) -> None:
        """The job is running from now on."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (job_id,))

    def hand_back(self, job_id: str) -> None:
        """The job waits again; no crash is counted against it."""
        with self._transaction() as db:
            self._flush(db, job_id)
            db.execute("UPDATE jobs SET state = 'waiting' WHERE id = ?", (job_id,))

    def count_death(self, job_id: str) -> int:
        """The job crashed the engine process. Returns the number of crashes since its last picture."""
        with self._transaction() as db:
            self._flush(db, job_id)
            db.execute("UPDATE jobs SET deaths = deaths + 1 WHERE id = ?", (job_id,))
            found = db.execute("SELECT deaths FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return int(found[0]) if found else 0

    def park(self, job_id: str, parked: Parked) -> None:
        """The job waits again, without the batch that crashed the engine process; its crash count is reset."""
        with self._transaction() as db:
            self._flush(db, job_id)
            _insert(db, job_id, parked)
            db.execute("UPDATE jobs SET state = 'waiting', deaths = 0, cuts = 0 WHERE id = ?", (job_id,))

    def note(self, job_id: str, event: Event) -> None:
        """Stores an event with the next write; events that are not kept are ignored."""
        if type(event).__name__ in KEPT_EVENTS:
            with self._lock:
                self._buffered[job_id].append(event)

    def announce(self, job_id: str, image: ImageSaved, sha256: str) -> None:
        """A picture's file with this hash is about to be written. Replaces an earlier announcement for its index."""
        with self._transaction() as db:
            self._withdraw(db, job_id, image.index)
            self._flush(db, job_id)
            _insert(db, job_id, image, sha256)
            db.execute("UPDATE jobs SET deaths = 0, cuts = 0 WHERE id = ?", (job_id,))

    def saved(self, job_id: str, image: ImageSaved) -> None:
        """A picture is on disk. Stores it if it was not announced."""
        with self._transaction() as db:
            if not db.execute(f"SELECT 1 FROM events {OF_INDEX}", (job_id, image.index)).fetchone():
                self._flush(db, job_id)
                _insert(db, job_id, image)

    def end(self, job_id: str, ending: Finished | Failed, saved: Sequence[ImageSaved]) -> None:
        """The job is over. Announced pictures that are not among `saved` are void.

        If it has failed, the pictures it needs are still held, because it can be retried until it is forgotten.
        """
        needed: list[str] = []
        with self._transaction() as db:
            self._flush(db, job_id)
            indexes = {image.index for image in saved}
            for place, data in db.execute(
                "SELECT place, data FROM events WHERE job = ? AND name = 'ImageSaved'", (job_id,)
            ).fetchall():
                if _index(data) not in indexes:
                    db.execute("DELETE FROM events WHERE place = ?", (place,))
            _insert(db, job_id, ending)
            db.execute("UPDATE jobs SET state = 'ended' WHERE id = ?", (job_id,))
            if isinstance(ending, Finished):
                needed = _needs(db, job_id)
                db.execute("DELETE FROM needs WHERE job = ?", (job_id,))
        for sha256 in needed:
            self._release(sha256)

    def forget(self, job_ids: list[str]) -> None:
        """Removes finished jobs; their held pictures are released."""
        with self._transaction() as db:
            needed = [sha256 for job_id in job_ids for sha256 in _needs(db, job_id)]
            db.executemany("DELETE FROM jobs WHERE id = ?", [(job_id,) for job_id in job_ids])
        for sha256 in needed:
            self._release(sha256)

    def stored(
        self, is_there: Callable[[ImageSaved, str], bool], requests: Mapping[str, type[Strict]]
    ) -> list[StoredJob]:
        """All jobs, in order. Call this first, before any other method.

        `is_there(image, sha256)` says whether a file with that hash exists where the image says: the last picture of an
        interrupted job may have been announced and not written. Jobs that were running are counted as interrupted, and
        wait again. What cannot be read is set aside and logged, row by row; a job whose request cannot be read cannot
        be run. `requests` are the request classes of each kind, by the kind's name.
        """
        with self._lock:
            found = readable(self._path) if self._db is None else rows(self._db)
        wrong: list[tuple[str, Row, str]] = [("jobs", row, "it has no id") for row in found.jobs if not is_job(row)]
        events: dict[str, list[tuple[Row, Event]]] = defaultdict(list)
        for row in found.events:
            try:
                events[str(row["job"])].append((row, event_of(row)))
            except Unreadable as reason:
                wrong.append(("events", row, str(reason)))
        jobs = [row for row in found.jobs if is_job(row)]
        unwritten = [row for job in jobs for row in _unwritten(job, events[job["id"]], is_there)]
        self._put_right(wrong, unwritten)
        self._hold(found, {job["id"] for job in jobs})
        pictures: dict[str, Picture] = {}
        lost = [row["place"] for row in unwritten]
        return [
            stored_job(
                job,
                requests,
                tuple(event for row, event in events[job["id"]] if row["place"] not in lost),
                lambda sha256: self._picture(sha256, pictures),
            )
            for job in jobs
        ]

    def _put_right(self, wrong: list[tuple[str, Row, str]], unwritten: list[Row]) -> None:
        """Stores what was found when the file was read; if the disk refuses, the next start finds it again."""
        for table, _, reason in wrong:
            log.warning("A row of the queue's %s cannot be read (%s); it was set aside.", table, reason)
        for row in unwritten:
            log.info("A picture of job %s had not been written when Palimpsest stopped.", row["job"])
        try:
            with self._transaction() as db:
                db.execute(ASIDE)
                for table, row, reason in wrong:
                    values = (_plain(row.get("job")), table, repr(dict(row)), _plain(row.get("sha256")), reason)
                    db.execute("INSERT INTO unreadable VALUES (?, ?, ?, ?, ?)", values)
                    db.execute(f"DELETE FROM {table} WHERE place = ?", (row["place"],))
                db.executemany("DELETE FROM events WHERE place = ?", [(row["place"],) for row in unwritten])
                db.execute("UPDATE jobs SET state = 'waiting', cuts = cuts + 1 WHERE state = 'running'")
        except WebuiError as error:
            log.error("%s", error)

    def _hold(self, found: Rows, jobs: set[str]) -> None:
        """Holds the pictures that jobs need."""
        needed = [row["sha256"] for row in found.needs if row["job"] in jobs and isinstance(row["sha256"], str)]
        if self._pictures is not None:
            for sha256 in needed:
                self._pictures.hold(sha256)

    def close(self) -> None:
        """Closes the file. Call no method after this."""
        with self._lock:
            if self._db is not None:
                self._db.close()

    def _picture(self, sha256: str, found: dict[str, Picture]) -> Picture:
        if sha256 not in found:
            if self._pictures is None:
                raise WebuiError(f"The source picture {sha256[:12]!r} no longer exists.", status=404)
            found[sha256] = self._pictures.lying(self._pictures.get(sha256))
        return found[sha256]

    def _release(self, sha256: str) -> None:
        if self._pictures is not None:
            self._pictures.release(sha256)

    def _flush(self, db: sqlite3.Connection, job_id: str) -> None:
        for event in self._buffered.pop(job_id, ()):
            _insert(db, job_id, event)

    def _withdraw(self, db: sqlite3.Connection, job_id: str, index: int) -> None:
        db.execute(f"DELETE FROM events {OF_INDEX}", (job_id, index))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commits everything to disk on exit, or nothing on an error."""
        with self._lock:
            try:
                db = self._db = self._db or opened(self._path)
            except (OSError, sqlite3.Error) as error:
                raise self._refusal(error) from error
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            except BaseException as error:
                self._roll_back(db)
                if isinstance(error, sqlite3.Error):
                    if is_damage(error):  # the next write recovers what can be read
                        db.close()
                        self._db = None
                    raise self._refusal(error) from error
                raise

    def _roll_back(self, db: sqlite3.Connection) -> None:
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error as error:
            log.error("%s", self._refusal(error))
            db.close()
            self._db = None

    def _refusal(self, error: OSError | sqlite3.Error) -> WebuiError:
        reason = error.strerror if isinstance(error, OSError) else None
        return WebuiError(
            f"The job cannot be stored in {self._path or 'memory'}: {reason or error}.",
            "Free some space on the disk, or make the folder writable.",
            status=507,
        )


OF_INDEX = (
    "WHERE job = ? AND name = 'ImageSaved' AND CASE WHEN json_valid(data) THEN json_extract(data, '$.index') END = ?"
)


def _unwritten(job: Row, events: list[tuple[Row, Event]], is_there: Callable[[ImageSaved, str], bool]) -> list[Row]:
    """The newest event of an unfinished job, if that is a picture that was announced and does not exist."""
    if job["state"] == "ended" or not events:
        return []
    row, event = events[-1]
    sha256 = row["sha256"]
    is_lost = isinstance(event, ImageSaved) and isinstance(sha256, str) and not is_there(event, sha256)
    return [row] if is_lost else []


def _index(data: str) -> int | None:
    """The index of the picture of an ImageSaved; None if that cannot be read."""
    try:
        return int(json.loads(data)["index"])
    except (ValueError, TypeError, KeyError):
        return None


def _plain(value: Any) -> str | None:
    return value if value is None else str(value)


def is_saved_in(outputs: Outputs) -> Callable[[ImageSaved, str], bool]:
    """For `JobStore.stored`: whether this very picture was written, not another one under the same name."""

    def is_there(image: ImageSaved, sha256: str) -> bool:
        try:
            with outputs.locate(image.path).open("rb") as file:  # it may be gigabytes in size
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except (WebuiError, OSError):
            return False

    return is_there


def sha256_of(data: bytes) -> str:
    """The hex digest that `JobStore.announce` takes."""
    return hashlib.sha256(data).hexdigest()


def _needs(db: sqlite3.Connection, job_id: str) -> list[str]:
    """The pictures held for a job; a damaged hash was never held."""
    found = db.execute("SELECT sha256 FROM needs WHERE job = ? AND typeof(sha256) = 'text'", (job_id,))
    return [row[0] for row in found]


def _insert(db: sqlite3.Connection, job_id: str, event: Event, sha256: str | None = None) -> None:
    db.execute(
        "INSERT INTO events (job, name, data, sha256) VALUES (?, ?, ?, ?)",
        (job_id, type(event).__name__, event_text(event), sha256),
    )
