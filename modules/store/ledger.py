"""The queue on disk: every job that was accepted, until it and its results are forgotten.

A SQLite file (WAL, each commit synced) that only the web process opens. A job's row is there before its client learns
the job's id, and each of its pictures is announced before it is written, so that after a crash nothing that was
accepted is lost and nothing that was saved is made again. Pictures that a waiting job needs lie in `Pictures`, held
there by their hash.
"""

import hashlib
import json
import logging
import re
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modules.catalog import Checkpoint
from modules.codec import ByName, Picture
from modules.errors import WebuiError
from modules.events import Event, Failed, Finished, ImageSaved, Started, Warned
from modules.request import GenerationRequest
from modules.settings import Settings
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures

log = logging.getLogger(__name__)

KEPT_EVENTS = {kind.__name__: kind for kind in (Started, ImageSaved, Warned, Finished, Failed)}
SECONDS_FOR_LOCK = 5.0  # until another process that ends just now lets go of the file
PICTURE = re.compile("[0-9a-f]{64}")
LAYOUT = 1  # of the tables

TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    created REAL NOT NULL,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    settings TEXT NOT NULL,
    checkpoint TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    deaths INTEGER NOT NULL DEFAULT 0,
    cuts INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS events (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    sha256 TEXT
);
CREATE TABLE IF NOT EXISTS needs (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_job ON events (job);
CREATE INDEX IF NOT EXISTS needs_of_job ON needs (job);
"""


@dataclass(frozen=True)
class Entered:
    """A job as the ledger has it.

    `events` are its Started, ImageSaved, Warned and ending, in order; `ended` tells whether there is an ending.
    `deaths` is how often it ended the engine process, `cuts` how often Palimpsest itself was cut off while the job ran,
    both since its last picture. `request` is None, and `reason` says why, where it cannot be read any more; that of a
    job that has ended is without its pictures.
    """

    id: str
    kind: str
    created: float
    request: GenerationRequest | None
    settings: Settings
    checkpoint: Checkpoint
    events: tuple[Event, ...]
    ended: bool
    deaths: int
    cuts: int
    reason: str = ""


class Ledger:
    """The jobs in the file `path`; without one they are in memory, and gone with the process.

    Safe to use from several threads. Its methods raise WebuiError where the disk refuses; then nothing has changed.
    """

    def __init__(self, path: Path | None = None, pictures: Pictures | None = None) -> None:
        self._path = path
        self._pictures = pictures
        self._lock = threading.Lock()
        self._buffered: dict[str, list[Event]] = defaultdict(list)  # job -> events that go with the next commit
        self._db = _opened(path)

    def add(
        self,
        job_id: str,
        kind: str,
        created: float,
        request: GenerationRequest,
        settings: Settings,
        checkpoint: Checkpoint,
    ) -> None:
        """Enter a job at the end of the queue. Its pictures are held until it ends."""
        pictures: dict[str, Picture] = {}
        text = _request_text(request, lambda picture: pictures.setdefault(picture.sha256, picture))
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
                        _checkpoint_text(checkpoint),
                    ),
                )
                db.executemany("INSERT INTO needs VALUES (?, ?)", [(job_id, sha256) for sha256 in pictures])
        except BaseException:
            for sha256 in held:
                self._let_go(sha256)
            raise

    def begin(self, job_id: str) -> None:
        """The job runs from now on."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (job_id,))

    def hand_back(self, job_id: str) -> None:
        """The job waits again, with no fault of its own."""
        with self._transaction() as db:
            self._flush(db, job_id)
            db.execute("UPDATE jobs SET state = 'waiting' WHERE id = ?", (job_id,))

    def count_death(self, job_id: str) -> int:
        """The job ended the engine process: how often that is, since its last picture."""
        with self._transaction() as db:
            self._flush(db, job_id)
            db.execute("UPDATE jobs SET deaths = deaths + 1 WHERE id = ?", (job_id,))
            found = db.execute("SELECT deaths FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return int(found[0]) if found else 0

    def note(self, job_id: str, event: Event) -> None:
        """Enter an event together with what is written next; one that is not kept is passed over."""
        if type(event).__name__ in KEPT_EVENTS:
            with self._lock:
                self._buffered[job_id].append(event)

    def announce(self, job_id: str, image: ImageSaved, sha256: str) -> None:
        """A picture's file, of this hash, is about to be written; what was announced under its index is void."""
        with self._transaction() as db:
            self._withdraw(db, job_id, image.index)
            self._flush(db, job_id)
            _insert(db, job_id, image, sha256)
            db.execute("UPDATE jobs SET deaths = 0, cuts = 0 WHERE id = ?", (job_id,))

    def saved(self, job_id: str, image: ImageSaved) -> None:
        """A picture is on the disk. Enters it where it was not announced."""
        with self._transaction() as db:
            if not db.execute(f"SELECT 1 FROM events {OF_INDEX}", (job_id, image.index)).fetchone():
                self._flush(db, job_id)
                _insert(db, job_id, image)

    def end(self, job_id: str, ending: Finished | Failed, saved: Sequence[ImageSaved]) -> None:
        """The job is over; its pictures are no longer held. What was announced and is not among `saved` is void."""
        with self._transaction() as db:
            self._flush(db, job_id)
            indexes = {image.index for image in saved}
            for place, data in db.execute(
                "SELECT place, data FROM events WHERE job = ? AND name = 'ImageSaved'", (job_id,)
            ).fetchall():
                if json.loads(data)["index"] not in indexes:
                    db.execute("DELETE FROM events WHERE place = ?", (place,))
            _insert(db, job_id, ending)
            db.execute("UPDATE jobs SET state = 'ended' WHERE id = ?", (job_id,))
            needed = [row[0] for row in db.execute("SELECT sha256 FROM needs WHERE job = ?", (job_id,))]
            db.execute("DELETE FROM needs WHERE job = ?", (job_id,))
        for sha256 in needed:
            self._let_go(sha256)

    def forget(self, job_ids: list[str]) -> None:
        """Take ended jobs out of the file."""
        with self._transaction() as db:
            db.executemany("DELETE FROM jobs WHERE id = ?", [(job_id,) for job_id in job_ids])

    def entered(self, is_there: Callable[[ImageSaved, str], bool]) -> list[Entered]:
        """All jobs, in the order they came. For the beginning, before any other method.

        `is_there(image, sha256)` tells whether a file of that hash lies where the image says: of a job that was cut off
        the last picture may have been announced and not written. Jobs that ran are counted as cut off, and wait again.
        """
        with self._transaction() as db:
            for job_id, place, data, sha256 in db.execute(LAST_IMAGES).fetchall():
                if sha256 and not is_there(ImageSaved(**json.loads(data)), sha256):
                    db.execute("DELETE FROM events WHERE place = ?", (place,))
                    log.info("A picture of job %s had not been written when Palimpsest ended.", job_id)
            db.execute("UPDATE jobs SET state = 'waiting', cuts = cuts + 1 WHERE state = 'running'")
            rows = db.execute(
                "SELECT id, kind, created, model, request, settings, checkpoint, state, deaths, cuts "
                "FROM jobs ORDER BY place"
            ).fetchall()
            events: dict[str, list[Event]] = defaultdict(list)
            for job_id, name, data in db.execute("SELECT job, name, data FROM events ORDER BY place"):
                events[job_id].append(KEPT_EVENTS[name](**json.loads(data)))
            needed = [row[0] for row in db.execute("SELECT sha256 FROM needs")]
        if self._pictures is not None:
            for sha256 in needed:
                self._pictures.hold(sha256)
        found: dict[str, Picture] = {}
        return [self._entered(row, tuple(events[row[0]]), found) for row in rows]

    def close(self) -> None:
        """Let go of the file. Nothing may follow."""
        with self._lock:
            self._db.close()

    def _entered(self, row: tuple[Any, ...], events: tuple[Event, ...], found: dict[str, Picture]) -> Entered:
        job_id, kind, created, model, request_text, settings_text, checkpoint_text, state, deaths, cuts = row
        ended = state == "ended"
        request, reason = None, ""
        try:
            asked = json.loads(request_text)
            request = _request(
                model, _without_pictures(asked) if ended else asked, lambda sha256: self._picture(sha256, found)
            )
        except WebuiError as error:
            reason = str(error)
        known = {name: value for name, value in json.loads(settings_text).items() if name in Settings.model_fields}
        try:
            settings = Settings().overridden(known)
        except WebuiError as error:
            settings, reason = Settings(), str(error)
        told = json.loads(checkpoint_text)
        checkpoint = Checkpoint(**(told | {"path": Path(told["path"])}))
        return Entered(
            job_id,
            kind,
            created,
            request,
            settings,
            checkpoint,
            events,
            ended,
            deaths,
            cuts,
            reason,
        )

    def _picture(self, sha256: str, found: dict[str, Picture]) -> Picture:
        if sha256 not in found:
            if self._pictures is None:
                raise WebuiError(f"There is no source picture {sha256[:12]!r} any more.", status=404)
            found[sha256] = self._pictures.get(sha256)
        return found[sha256]

    def _let_go(self, sha256: str) -> None:
        if self._pictures is not None:
            self._pictures.let_go(sha256)

    def _flush(self, db: sqlite3.Connection, job_id: str) -> None:
        for event in self._buffered.pop(job_id, ()):
            _insert(db, job_id, event)

    def _withdraw(self, db: sqlite3.Connection, job_id: str, index: int) -> None:
        db.execute(f"DELETE FROM events {OF_INDEX}", (job_id, index))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on the disk when it is left."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise WebuiError(
                        f"The job cannot be kept in {self._path or 'memory'}: {error}.",
                        "Free some space on the disk, or make the folder writable.",
                        status=507,
                    ) from error
                raise


OF_INDEX = "WHERE job = ? AND name = 'ImageSaved' AND json_extract(data, '$.index') = ?"
# The newest image of each job that has not ended, if nothing came after it.
LAST_IMAGES = """
SELECT e.job, e.place, e.data, e.sha256 FROM events e JOIN jobs j ON j.id = e.job
WHERE j.state != 'ended' AND e.name = 'ImageSaved'
AND e.place = (SELECT MAX(place) FROM events WHERE job = e.job)
"""


def lies_in(outputs: Outputs) -> Callable[[ImageSaved, str], bool]:
    """For `Ledger.entered`: whether a picture was written, and not another one under its name."""

    def is_there(image: ImageSaved, sha256: str) -> bool:
        try:
            return sha256_of(outputs.locate(image.path).read_bytes()) == sha256
        except (WebuiError, OSError):
            return False

    return is_there


def sha256_of(data: bytes) -> str:
    """As `Ledger.announce` wants it."""
    return hashlib.sha256(data).hexdigest()


def _opened(path: Path | None) -> sqlite3.Connection:
    """The database, its tables made; a damaged file is put aside and a new one begun."""
    if path is None:
        return _connected(":memory:")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _connected(str(path))
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise WebuiError(
                f"The folder {path.parent} is used by another Palimpsest that runs.",
                "End that one, or start this one with another --data-dir.",
            ) from error
        raise WebuiError(f"The queue cannot be kept in {path}: {error}.", "Make the folder writable.") from error
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        log.warning("The queue in %s is damaged (%s); it is put aside as %s.", path, error, aside.name)
        path.replace(aside)
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
        return _connected(str(path))
    except OSError as error:
        raise WebuiError(
            f"The queue cannot be kept in {path}: {error.strerror or error}.", "Make the folder writable."
        ) from error


def _connected(name: str) -> sqlite3.Connection:
    db = sqlite3.connect(name, timeout=SECONDS_FOR_LOCK, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # one process alone, and no file of shared memory
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a commit survives the loss of power
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN EXCLUSIVE")
        db.execute(f"PRAGMA user_version = {LAYOUT}")
        db.execute("COMMIT")
        db.executescript(TABLES)
        fault = db.execute("PRAGMA quick_check").fetchone()[0]
        if fault != "ok":
            raise sqlite3.DatabaseError(fault)
    except BaseException:
        db.close()
        raise
    return db


def _insert(db: sqlite3.Connection, job_id: str, event: Event, sha256: str | None = None) -> None:
    db.execute(
        "INSERT INTO events (job, name, data, sha256) VALUES (?, ?, ?, ?)",
        (job_id, type(event).__name__, json.dumps(asdict(event), ensure_ascii=False), sha256),
    )


def _checkpoint_text(checkpoint: Checkpoint) -> str:
    return json.dumps(
        {
            "name": checkpoint.name,
            "path": str(checkpoint.path),
            "hash": checkpoint.hash,
            "defaults": dict(checkpoint.defaults),
        }
    )


def _request_text(request: GenerationRequest, keep: Callable[[Picture], object]) -> str:
    def never(sha256: str) -> Picture:
        raise AssertionError(f"writing reads no picture {sha256}")

    return json.dumps(request.model_dump(mode="json", context=ByName(keep, never)), ensure_ascii=False)


def _request(model: str, asked: dict[str, Any], find: Callable[[str], Picture]) -> GenerationRequest:
    """Raises WebuiError where a picture is gone, or where another version wrote what this one does not know."""
    classes = {cls.__name__: cls for cls in _subclasses(GenerationRequest)}
    if model not in classes:
        raise WebuiError(f"The job was entered by another version of Palimpsest: it has no {model}.")
    try:
        return classes[model].model_validate(asked, context=ByName(lambda picture: None, find))
    except ValidationError as error:
        count = error.error_count()
        raise WebuiError(f"The job was entered by another version of Palimpsest ({count} fields differ).") from error


def _without_pictures(asked: dict[str, Any]) -> dict[str, Any]:
    """A job that has ended does not need them, and they may be gone."""

    def is_picture(value: Any) -> bool:
        return isinstance(value, str) and PICTURE.fullmatch(value) is not None

    return {
        name: value
        for name, value in asked.items()
        if not is_picture(value) and not (isinstance(value, list) and any(map(is_picture, value)))
    }


def _subclasses(cls: type[GenerationRequest]) -> Iterator[type[GenerationRequest]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _subclasses(sub)
