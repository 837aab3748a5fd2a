"""One job: its request, and the log of its events."""

import bisect
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from modules.base.events import (
    ENDINGS,
    Event,
    Finished,
    ImageDone,
    ImageSaved,
    LeftOut,
    Parked,
    Previewed,
    Queued,
    Stop,
    Unkept,
)
from modules.base.picture_fields import without_pictures
from modules.jobs.listeners import Listeners
from modules.jobs.progress import Progress, ProgressFold, Status
from modules.processing.kinds.kind import JobKind, Results
from modules.schema.catalog import Checkpoint
from modules.schema.resources import NO_RESOURCES, Resources
from modules.schema.settings import Settings

# Only the last event of these types is kept: older ones add nothing, and previews are large.
SUPERSEDED = (Previewed, Queued)


class LogEntry(NamedTuple):
    """An event, its number in the log (from 1, with gaps for superseded events), its time in seconds on the job's
    clock."""

    number: int
    at: float
    event: Event


Announce = Callable[[ImageSaved, str], None]


@dataclass(frozen=True)
class JobSpec:
    """What a job does. `request` belongs to the kind, `resources` are the files that the request names."""

    kind: JobKind[Any]
    request: Any
    settings: Settings
    resources: Resources = NO_RESOURCES


class Past(NamedTuple):
    """What was stored about a job when Palimpsest stopped. `lost` says what can no longer be read, "" if nothing."""

    id: str
    created: float
    events: tuple[Event, ...]
    lost: str = ""


class Job:
    """A submitted request and its event log: threads append to it, any number of subscribers read it from any point.

    `request` has its seeds drawn, so that the same job can be run again. `ask` is called when a user stops the job or
    skips a batch; the queue handles it.
    `announce` is called with each picture and the sha256 of its file before the file is written.

    A job from an earlier run of Palimpsest has a `past`. Its new entries are numbered above all numbers of that run, so
    that a returning subscriber misses none.
    """

    def __init__(
        self,
        spec: JobSpec,
        ask: Callable[["Job", Stop], None],
        clock: Callable[[], float] = time.monotonic,
        past: Past | None = None,
        announce: Announce = lambda image, sha256: None,
        job_id: str = "",
    ) -> None:
        self.id = past.id if past else job_id or secrets.token_hex(8)
        self.kind = spec.kind
        self.request = spec.request
        self.settings = spec.settings
        self.resources = spec.resources
        self.created = past.created if past else time.time()
        self.is_resumed = past is not None
        self.lost = past.lost if past else ""  # why it cannot be run again
        self.is_parked = False
        self.listeners = Listeners()
        self.announce = announce
        self._ask = ask
        self._clock = clock
        self._changed = threading.Condition()
        self._log: list[LogEntry] = []
        self._last_number = int(time.time() * 1000) if past else 0
        self._fold = ProgressFold()
        now = clock()
        for event in past.events if past else ():
            self._add(event, now + event.seconds if isinstance(event, Finished) else now)

    def append(self, event: Event) -> None:
        """Adds to the log and wakes the subscribers. Nothing may follow a `Finished` or `Failed`."""
        assert not isinstance(event, ImageDone), "the event log holds no pixels: save the picture, then log ImageSaved"
        with self._changed:
            assert not self.ended, f"job {self.id} has already ended; got {event}"
            self._add(event, self._clock())
            if self.status in ("finished", "interrupted"):
                self.release_pictures()
            self._changed.notify_all()
        self.listeners.call()

    def park(self) -> None:
        """Palimpsest is shutting down and the job pauses until the next start: releases the subscribers."""
        with self._changed:
            self.is_parked = True
            self._changed.notify_all()
        self.listeners.call()

    def entries(self, after: int = 0) -> list[LogEntry]:
        """The entries of the log after number `after`, without waiting."""
        with self._changed:
            return self._log[bisect.bisect_right(self._log, after, key=lambda entry: entry.number) :]

    def follow(self, after: int = 0) -> Iterator[tuple[int, Event]]:
        """The entries of the log after number `after`, then each event as it comes, to the end of the job.

        Ends without a final event if Palimpsest shuts down.
        """
        while True:
            with self._changed:
                while not self.ended and not self.is_parked and self._last_number <= after:
                    self._changed.wait()
                entries, ended = self.entries(after), self.ended or self.is_parked
            for entry in entries:
                after = entry.number
                yield entry.number, entry.event
            if ended:
                return

    def progress(self) -> Progress:
        with self._changed:
            return self._fold.progress(self._clock())

    @property
    def status(self) -> Status:
        return self._fold.status

    @property
    def ended(self) -> bool:
        return bool(self._log) and isinstance(self._log[-1].event, ENDINGS)

    @property
    def ahead(self) -> int:
        """How many jobs run before this one; 0 once it runs."""
        if self.status != "queued":
            return 0
        return next((e.event.ahead for e in reversed(self.entries()) if isinstance(e.event, Queued)), 0)

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that the job starts with; NO_CHECKPOINT for a kind that needs none."""
        return self.resources.checkpoint

    @property
    def results(self) -> Results:
        """What the job makes."""
        return self.kind.results(self.request, self.settings)

    @property
    def images(self) -> tuple[ImageSaved, ...]:
        """The pictures saved so far."""
        return tuple(entry.event for entry in self.entries() if isinstance(entry.event, ImageSaved))

    @property
    def parked(self) -> tuple[Parked, ...]:
        """The batches that crashed the engine process and were skipped."""
        return tuple(entry.event for entry in self.entries() if isinstance(entry.event, Parked))

    @property
    def is_kept(self) -> bool:
        """Whether the results are saved to disk; otherwise they only go to a waiting client."""
        return not any(isinstance(entry.event, Unkept) for entry in self.entries())

    @property
    def left_out(self) -> int:
        """How many of the first batches belong to another job."""
        return max((entry.event.batches for entry in self.entries() if isinstance(entry.event, LeftOut)), default=0)

    def interrupt(self) -> None:
        """Stops the job at the next step, or removes it from the queue; saved pictures are kept. Returns at once."""
        self._ask(self, Stop.INTERRUPT)

    def skip(self) -> None:
        """Skips to the next batch. Returns at once."""
        self._ask(self, Stop.SKIP)

    def _add(self, event: Event, at: float) -> None:
        self._last_number += 1
        if isinstance(event, SUPERSEDED):
            self._drop_last(type(event))
        self._log.append(LogEntry(self._last_number, at, event))
        self._fold.add(event, at)

    def _drop_last(self, kind: type) -> None:
        for index in range(len(self._log) - 1, -1, -1):
            if isinstance(self._log[index].event, kind):
                del self._log[index]
                return

    def release_pictures(self) -> None:
        """Releases the pictures in the request: a hundred remembered jobs with a photo each would hold gigabytes.

        A failed job that can be retried keeps them.
        """
        self.request = without_pictures(self.request)
