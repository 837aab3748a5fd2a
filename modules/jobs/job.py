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
)
from modules.base.picture_fields import without_pictures
from modules.jobs.listeners import Listeners
from modules.jobs.progress import Progress, ProgressFold, Status
from modules.processing.kinds.kind import JobKind, Results
from modules.schema.catalog import Checkpoint
from modules.schema.resources import NO_RESOURCES, Resources
from modules.schema.settings import Settings

# Of these only the last is kept: an older one tells nothing more, and previews are large.
SUPERSEDED = (Previewed, Queued)


class LogEntry(NamedTuple):
    """An event, its number in the log (from 1, with gaps where one was superseded), its time on the job's clock."""

    number: int
    at: float
    event: Event


Announce = Callable[[ImageSaved, str], None]


@dataclass(frozen=True)
class JobSpec:
    """What a job is to do. `request` is one of the kind's, `resources` are the files that it names."""

    kind: JobKind[Any]
    request: Any
    settings: Settings
    resources: Resources = NO_RESOURCES


class Past(NamedTuple):
    """What was kept of a job when Palimpsest ended. `lost` says what of it cannot be read any more, "" if all can."""

    id: str
    created: float
    events: tuple[Event, ...]
    lost: str = ""


class Job:
    """A request on its way: threads append to its log, any number of followers read it, from the start if they like.

    `request` has its seeds drawn, so that the same job can be run again. `ask` is called when a person wants the job
    to stop or to skip a batch; the queue answers it.

    `announce` is told of each picture, and of the sha256 of its file, before that is written.

    A job of an earlier run of Palimpsest comes with its `past`. Its entries are numbered beyond all numbers that run
    can have given, so that a follower who comes back misses none.
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
        self.lost = past.lost if past else ""  # why it cannot be made again
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
        """Add to the log and wake the followers. Nothing may follow a `Finished` or `Failed`."""
        assert not isinstance(event, ImageDone), "the event log holds no pixels: save the picture, then log ImageSaved"
        with self._changed:
            assert not self.ended, f"job {self.id} has already ended; got {event}"
            self._add(event, self._clock())
            if self.status in ("finished", "interrupted"):
                self.release_pictures()
            self._changed.notify_all()
        self.listeners.call()

    def park(self) -> None:
        """Palimpsest ends, and the job with it until Palimpsest is started again: let the followers go."""
        with self._changed:
            self.is_parked = True
            self._changed.notify_all()
        self.listeners.call()

    def entries(self, after: int = 0) -> list[LogEntry]:
        """What the log holds beyond number `after`, without waiting."""
        with self._changed:
            return self._log[bisect.bisect_right(self._log, after, key=lambda entry: entry.number) :]

    def follow(self, after: int = 0) -> Iterator[tuple[int, Event]]:
        """The log beyond number `after`, then each event as it comes, to the end of the job. Waits in between.

        Ends without an ending where Palimpsest ends.
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
        """The one that the job begins with; NO_CHECKPOINT for a kind that needs none."""
        return self.resources.checkpoint

    @property
    def results(self) -> Results:
        """What the job makes."""
        return self.kind.results(self.request, self.settings)

    @property
    def images(self) -> tuple[ImageSaved, ...]:
        """The pictures that are saved so far."""
        return tuple(entry.event for entry in self.entries() if isinstance(entry.event, ImageSaved))

    @property
    def parked(self) -> tuple[Parked, ...]:
        """The batches that ended the engine process and are left out."""
        return tuple(entry.event for entry in self.entries() if isinstance(entry.event, Parked))

    @property
    def left_out(self) -> int:
        """How many batches, from the first, belong to another job."""
        return max((entry.event.batches for entry in self.entries() if isinstance(entry.event, LeftOut)), default=0)

    def interrupt(self) -> None:
        """End the job at the next step, or take it out of the queue; pictures that are saved stay. Returns at once."""
        self._ask(self, Stop.INTERRUPT)

    def skip(self) -> None:
        """End the batch that is being made and go on with the next. Returns at once."""
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
        """Let go of the pictures in the request: a hundred remembered jobs with a photograph each would hold gigabytes.

        A failed one that can be run again needs them.
        """
        self.request = without_pictures(self.request)
