"""Downloads as separate jobs: one at a time, outside the queue, so that no painting job waits for them."""

import logging
import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from modules.base import logs
from modules.base.errors import Busy, WebuiError
from modules.base.events import EngineState, Event, Failed, FileSaved, Finished, Queued, Stop
from modules.fetching.fetcher import Fetcher
from modules.fetching.order import FetchRequest
from modules.jobs.job import Job, JobSpec
from modules.processing.kinds.kind import JobKind, Results, Work
from modules.schema.resources import NO_RESOURCES
from modules.schema.settings import Settings

log = logging.getLogger(__name__)

MOST_WAITING: Final = 50
REMEMBERED: Final = 100  # finished downloads


@dataclass(frozen=True)
class Fetch(JobKind[FetchRequest]):
    """A model file from the hub. `run` gets a Fetcher instead of an engine."""

    def results(self, request: FetchRequest, settings: Settings) -> Results:
        return Results(is_whole=True)

    def run(self, engine: Any, work: Work, should_stop: Callable[[], Stop]) -> Iterator[Event | EngineState]:
        return engine.run(work.request, should_stop)


FETCH: Final = Fetch("fetch", "Download", FetchRequest, needs_checkpoint=False)


class Downloads:
    """Accepts downloads and runs them in order on one thread. Safe to use from any thread.

    `on_file` is called when a file is complete. Downloads that are waiting or running when Palimpsest ends are not
    resumed automatically; the partial file stays, and the next download of it continues from there.
    """

    def __init__(self, fetcher: Fetcher, on_file: Callable[[], None]) -> None:
        self.fetcher = fetcher
        self._on_file = on_file
        self._lock = threading.Lock()  # guards the fields below
        self._jobs: dict[str, Job] = {}
        self._stopped: set[str] = set()
        self._thread: threading.Thread | None = None
        self._waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()

    def submit(self, request: FetchRequest) -> Job:
        """Queues a download. Raises WebuiError for a request that would be refused, Busy if too many are waiting."""
        self.fetcher.require(request)
        with self._lock:
            left = [job for job in self._jobs.values() if not job.ended]
            if len(left) >= MOST_WAITING:
                raise Busy(f"{len(left)} downloads wait already.", "Wait until some of them are done.", 10)
            job = Job(JobSpec(FETCH, request, Settings()), self._ask)
            job.append(Queued(len(left)))
            self._jobs[job.id] = job
            over = [each.id for each in self._jobs.values() if each.ended]
            for job_id in over[: max(0, len(self._jobs) - REMEMBERED)]:
                del self._jobs[job_id]
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="downloads", daemon=True)
                self._thread.start()
        self._waiting.put(job)
        return job

    def job(self, job_id: str) -> Job:
        """Raises WebuiError with status 404 for an unknown or forgotten download."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise WebuiError(f"There is no download {job_id[:100]!r}.", "", "id", status=404)
        return job

    def jobs(self) -> tuple[Job, ...]:
        """All remembered downloads, newest first."""
        with self._lock:
            return tuple(reversed(self._jobs.values()))

    def _ask(self, job: Job, stop: Stop) -> None:
        with self._lock:
            self._stopped.add(job.id)

    def _serve(self) -> None:
        while True:
            job = self._waiting.get()
            with logs.about_job(job.id):
                self._run(job)

    def _run(self, job: Job) -> None:
        """Runs `job` to its end, whatever happens."""

        def should_stop() -> Stop:
            return Stop.INTERRUPT if job.id in self._stopped else Stop.NONE

        if should_stop():
            job.append(Finished(0.0, {}, interrupted=True))
            return
        try:
            for event in FETCH.run(self.fetcher, Work(FETCH, job.request, job.settings, NO_RESOURCES), should_stop):
                assert not isinstance(event, EngineState)
                job.append(event)
                if isinstance(event, FileSaved):
                    self._on_file()
        except WebuiError as error:
            job.append(Failed(error.message, error.hint, error.field))
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("download %s failed (id %s)", job.id, trace_id)
            job.append(Failed(f"The download ended with an internal error (id {trace_id} in the log)."))
