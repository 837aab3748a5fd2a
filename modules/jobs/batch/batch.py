"""One batch: its files, its progress, and the outcome of each file."""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from modules.jobs.batch.journal import BatchStart, Journals, PastBatch
from modules.jobs.batch.materials import Materials, passed_over
from modules.jobs.batch.results import Results
from modules.jobs.batch.state import SETTLED, FileState, Outcome, Status, ended_status, file_state
from modules.jobs.batch.texts import FileTexts
from modules.jobs.job import Job
from modules.jobs.listeners import Listeners

REMEMBERED_TIMES = 16  # file times averaged for the estimate


class Batch:
    """A batch in progress. Its state may be read from any thread; `listeners` are called after each change.

    `settled` is the log: indices of files in the order in which they finished.
    """

    def __init__(
        self,
        materials: Materials,
        results: Results,
        seeds: Mapping[str, int],
        journals: Journals,
        past: PastBatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = past.begun.id if past else secrets.token_hex(8)
        self.created = past.begun.created if past else time.time()
        self.seeds = past.begun.seeds if past else seeds
        self.submitted = past.submitted if past else {}
        self.is_parked = False
        self.journal = journals.of(self.id)
        self.options = materials.options
        self.folder = results.folder
        self.listeners = Listeners()
        self.materials = materials
        self.results = results
        self.texts = FileTexts(materials.files, materials.options.words, materials.options.own)
        self.notes: tuple[str, ...] = tuple(self.texts.notes) + passed_over(materials)
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._status: Status = "waiting"
        self._message = ""
        self._files = [FileState(index, file.name) for index, file in enumerate(materials.files.pictures)]
        self._settled: list[int] = []
        self._current: tuple[int, Job] | None = None
        self._skipped: set[str] = set()  # ids of jobs
        self._stopping = past is not None and past.is_stopping
        self._began: float | None = None
        self._ended: float | None = None
        self._times: deque[float] = deque(maxlen=REMEMBERED_TIMES)  # seconds between finished files
        self._marked: float | None = None
        if past is None:
            self.journal.begin(_begun(self, materials))
        else:
            self._remember(past)

    def _remember(self, past: PastBatch) -> None:
        for values in past.files:
            file = file_state(values)
            if file is None or file.index not in range(len(self._files)) or file.index in self._settled:
                continue
            if self._files[file.index].name == file.name and file.outcome in SETTLED:
                self._files[file.index] = file
                self._settled.append(file.index)
        if past.ending is not None:
            self._status, self._message = ended_status(past.ending[0]), past.ending[1]
            self._ended = self._clock()

    @property
    def total(self) -> int:
        return len(self._files)

    @property
    def status(self) -> Status:
        return self._status

    @property
    def ended(self) -> bool:
        return self._status in ("finished", "stopped", "failed")

    @property
    def current(self) -> tuple[int, Job] | None:
        """The current file and its job."""
        with self._lock:
            return self._current

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def files(self) -> tuple[FileState, ...]:
        with self._lock:
            return tuple(self._files)

    def settled(self, after: int = 0) -> tuple[FileState, ...]:
        """The finished files in the order in which they finished, without the first `after`."""
        with self._lock:
            return tuple(self._files[index] for index in self._settled[after:])

    def pictures(self) -> tuple[str, ...]:
        """The results so far, as `Outputs.locate` takes them, in the order of the files."""
        with self._lock:
            return tuple(path for file in self._files for path in file.paths)

    def summary(self) -> dict[str, Any]:
        """The progress of the batch, as JSON values."""
        with self._lock:
            now = self._clock() if self._ended is None else self._ended
            counts = dict.fromkeys(SETTLED, 0)
            for index in self._settled:
                counts[self._files[index].outcome] += 1
            progress = self._current[1].progress() if self._current else None
            part = progress.fraction if progress else 0.0
            return {
                "id": self.id,
                "status": self._status,
                "stopping": self._stopping and not self.ended,
                "message": self._message,
                "kind": self.materials.kind,
                "created": self.created,
                "output": self.folder,
                "total": self.total,
                "settled": len(self._settled),
                "counts": {name.replace(" ", "_"): count for name, count in counts.items()},
                "fraction": min((len(self._settled) + part) / max(self.total, 1), 1.0),
                "seconds": now - self._began if self._began is not None else 0.0,
                "eta_seconds": self._eta(now, progress.eta_seconds if progress else None),
                "current": self._described_current(),
                "notes": self.notes,
            }

    def stop(self) -> None:
        """Stops the batch and its current file. Finished files are kept. Returns at once."""
        with self._lock:
            is_news = not self._stopping and not self.ended
            self._stopping = True
            current = self._current
        if is_news:
            self.journal.stop()
        if current:
            current[1].interrupt()
        self.listeners.call()

    def park(self) -> None:
        """Palimpsest is shutting down: the batch pauses until the next start. Its jobs stay in the queue."""
        self.is_parked = True
        self.listeners.call()

    def skip(self) -> None:
        """Skips to the next file. Returns at once."""
        with self._lock:
            current = self._current
            if current:
                self._skipped.add(current[1].id)
        if current:
            current[1].interrupt()

    # The methods below are called by the thread that runs the batch.

    def begin(self) -> None:
        with self._lock:
            self._status = "running"
            self._began = self._marked = self._clock()
        self.listeners.call()

    def take_up(self, index: int, job: Job) -> None:
        """`job` is now making the file."""
        with self._lock:
            self._current = (index, job)
            self._files[index] = replace(self._files[index], outcome="running")
            stopping = self._stopping
        if stopping:
            job.interrupt()
        self.listeners.call()

    def settle(self, index: int, outcome: Outcome, sentence: str = "", **more: Any) -> None:
        """The file `index` is done, with this outcome."""
        with self._lock:
            self._files[index] = replace(self._files[index], outcome=outcome, sentence=sentence, **more)
            self._settled.append(index)
            now = self._clock()
            if outcome == "done" and self._marked is not None:
                self._times.append(now - self._marked)
            self._marked = now
            if self._current and self._current[0] == index:
                self._current = None
            file = self._files[index]
        self.journal.settle(asdict(file))
        self.listeners.call()

    def leave(self, index: int) -> None:
        """The file `index` will not be made, because the batch was stopped before its end."""
        with self._lock:
            self._files[index] = replace(self._files[index], outcome="waiting")
            self._current = None

    def end(self, status: Status, message: str = "") -> None:
        with self._lock:
            self._status, self._message, self._current = status, message, None
            self._ended = self._clock()
        self.journal.end(status, message)
        self.listeners.call()

    def was_skipped(self, job: Job) -> bool:
        with self._lock:
            return job.id in self._skipped

    def _eta(self, now: float, of_current: float | None) -> float | None:
        left = self.total - len(self._settled)
        if self.ended or left == 0:
            return None
        if not self._times:
            # Only the current picture has been measured, so assume that the others take as long.
            since = now - self._marked if self._marked is not None else 0.0
            return None if of_current is None else of_current + (left - 1) * (of_current + since)
        each = sum(self._times) / len(self._times)
        first = of_current if of_current is not None else each
        return first + (left - 1) * each if self._current else left * each

    def _described_current(self) -> dict[str, Any] | None:
        if self._current is None:
            return None
        index, job = self._current
        return {"index": index, "name": self._files[index].name, "job": job.id, "progress": vars(job.progress())}


def _begun(batch: Batch, materials: Materials) -> BatchStart:
    return BatchStart(
        batch.id,
        batch.created,
        tuple(file.name for file in materials.files.pictures),
        dict(materials.form),
        materials.options.model_dump(mode="json"),
        materials.settings.model_dump(mode="json", exclude_defaults=True),
        dict(batch.seeds),
        styles=tuple((row.name, row.prompt, row.negative_prompt) for row in materials.styles.values()),
        kind=materials.kind,
        **materials.uploads,
    )
