"""Running a batch: its files become jobs, two of them in the queue at a time."""

import logging
import re
import secrets
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from modules.base.errors import WebuiError
from modules.base.events import Failed
from modules.base.picture import Picture
from modules.jobs.admission import Admission
from modules.jobs.batch.batch import Batch
from modules.jobs.batch.files import BatchFile
from modules.jobs.batch.journal import SubmittedFile
from modules.jobs.batch.masks import LeftOut
from modules.jobs.batch.names import SourceNames
from modules.jobs.batch.plain import PlainPreparer
from modules.jobs.batch.prepare import FilePreparer, PreparedFile
from modules.jobs.batch.results import Done
from modules.jobs.job import Job, JobSpec
from modules.jobs.queue import Submission
from modules.jobs.saving import JobSavers, Saver
from modules.processing.kinds.generate import IMG2IMG
from modules.processing.kinds.registry import BUILT_IN
from modules.store.pictures import Pictures

log = logging.getLogger(__name__)

AHEAD = 1  # jobs waiting in the queue behind the running one
ALIKE = 5  # consecutive files that fail in the engine with the same message before the batch stops
KEPT_SOURCES = 512 << 20  # bytes of sources kept for comparison: a large batch would evict all other pictures
TRACE = re.compile(r"\(id \w+")  # the id in our own error messages, different each time


class Queue(Protocol):
    """What batches need from the queue; `JobQueue` implements it."""

    def submit(self, spec: JobSpec, how: Submission) -> Job: ...
    def job(self, job_id: str) -> Job: ...


@dataclass(frozen=True)
class QueuedFile:
    """A file whose job is in the queue. `submitted` is its journal entry."""

    name: str
    job: Job
    submitted: SubmittedFile

    @property
    def index(self) -> int:
        return self.submitted.index


class BatchRun:
    """The execution of one batch."""

    def __init__(self, batch: Batch, queue: Queue, savers: JobSavers, pictures: Pictures, admission: Admission) -> None:
        self._batch = batch
        self._files = batch.materials.files.pictures
        self._queue = queue
        self._savers = savers
        self._pictures = pictures
        self._preparer = preparer_of(batch, admission)
        self._kept_bytes = 0
        self._alike: list[str] = []  # the messages of the last files, if they failed in the engine

    def expect(self) -> None:
        """Registers the jobs that an earlier run has queued, so that they are saved as the batch's."""
        for submitted in self._unsettled():
            self._savers.set(submitted.job, self._saver(self._files[submitted.index].name))

    def go(self) -> None:
        """Makes all files, one after another, and ends the batch; if Palimpsest stops first, the batch stays open."""
        batch = self._batch
        batch.begin()
        waiting = deque(self._found_again())
        trouble = ""
        known = {file.index for file in batch.settled()} | {queued.index for queued in waiting}
        for index, file in enumerate(self._files):
            if index in known:
                continue
            if batch.is_stopping or batch.is_parked or trouble:
                break
            if queued := self._queued(index, file):
                waiting.append(queued)
            while len(waiting) > AHEAD and not trouble and not batch.is_parked:
                trouble = self._see_through(waiting.popleft())
        while waiting and not batch.is_parked:
            if batch.is_stopping or trouble:
                waiting[0].job.interrupt()
            trouble = self._see_through(waiting.popleft()) or trouble
        if not batch.is_parked:
            self._end(trouble)

    def _end(self, trouble: str) -> None:
        batch = self._batch
        if trouble:
            batch.end("failed", trouble)
        elif batch.is_stopping and len(batch.settled()) < batch.total:
            batch.end("stopped", "Stopped. Run it again to continue; finished files are skipped.")
        else:
            batch.end("finished")

    def _unsettled(self) -> list[SubmittedFile]:
        """The jobs of an earlier run whose files are not finished, in order."""
        settled = {file.index for file in self._batch.settled()}
        return [submitted for index, submitted in sorted(self._batch.submitted.items()) if index not in settled]

    def _found_again(self) -> list[QueuedFile]:
        """Those unfinished jobs that are in the queue. A file whose job never got there is made like any other."""
        found: list[QueuedFile] = []
        for submitted in self._unsettled():
            try:
                job = self._queue.job(submitted.job)
            except WebuiError:
                self._savers.forget(submitted.job)
                continue
            found.append(QueuedFile(self._files[submitted.index].name, job, submitted))
        return found

    def _queued(self, index: int, file: BatchFile) -> QueuedFile | None:
        """Queues the file's job; None if the file is finished without one."""
        batch = self._batch
        try:
            prepared = self._preparer.prepared(file)
            if isinstance(prepared, PreparedFile):
                return self._submitted(index, file, prepared)
            batch.settle(index, "kept", "It was finished earlier.", earlier=prepared.pictures)
        except WebuiError as error:
            if error.status == 503:  # Palimpsest is shutting down
                batch.park()
            else:
                batch.settle(index, "failed", str(error))
        except LeftOut as reason:
            batch.settle(index, "left out", str(reason))
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("file %s of batch %s failed (id %s)", file.name, batch.id, trace_id)
            batch.settle(index, "failed", f"{file.name}: an internal error (id {trace_id} in the log).")
        return None

    def _submitted(self, index: int, file: BatchFile, prepared: PreparedFile) -> QueuedFile:
        source = self._keep_source(prepared.source)
        submitted = SubmittedFile(index, secrets.token_hex(8), prepared.key, prepared.notes, source)
        # Before the job is queued: otherwise, after a crash, the batch would not know its own job.
        self._batch.journal.submit(submitted)
        self._savers.set(submitted.job, self._saver(file.name))
        try:
            job = self._queue.submit(prepared.spec, Submission(submitted.job))
        except BaseException:
            self._savers.forget(submitted.job)
            raise
        return QueuedFile(file.name, job, submitted)

    def _see_through(self, queued: QueuedFile) -> str:
        """Waits for the file's job and records the outcome. A sentence if the batch cannot continue."""
        batch, job = self._batch, queued.job
        batch.take_up(queued.index, job)
        self._wait_for(job)
        if not job.ended:  # Palimpsest is shutting down: the job's saver is still needed
            return ""
        self._savers.forget(job.id)
        ending = job.entries()[-1].event
        if job.status == "failed":
            job.release_pictures()  # otherwise up to a hundred failed jobs would keep their sources
        if isinstance(ending, Failed):
            return self._settle_failed(queued, " ".join(filter(None, (ending.message, ending.hint))))
        if job.status == "finished":
            self._settle_done(queued)
        elif batch.was_skipped(job):
            batch.settle(queued.index, "skipped", "Skipped.", pictures=job.images, source=queued.submitted.source)
        else:  # interrupted by this batch or by someone else
            batch.leave(queued.index)
            batch.stop()
        return ""

    def _settle_failed(self, queued: QueuedFile, sentence: str) -> str:
        self._batch.settle(queued.index, "failed", sentence, **_found_in(queued))
        plain = TRACE.sub("", sentence)
        self._alike = [*self._alike, plain] if self._alike[-1:] == [plain] else [plain]
        if len(self._alike) < ALIKE:
            return ""
        return f"{ALIKE} files in a row failed with the same error; the others were not tried: {sentence}"

    def _settle_done(self, queued: QueuedFile) -> None:
        self._alike = []
        sentence = ""
        if pictures := queued.job.images:
            paths = tuple(picture.path for picture in pictures)
            try:
                self._batch.results.note(Done(queued.name, queued.submitted.key, paths))
            except WebuiError as error:
                sentence = str(error)
        self._batch.settle(queued.index, "done", sentence, **_found_in(queued))

    def _wait_for(self, job: Job) -> None:
        """Returns when `job` has ended, or Palimpsest shuts down."""
        batch = self._batch
        woken = threading.Event()
        removes = [job.listeners.add(batch.listeners.call), batch.listeners.add(woken.set)]
        try:
            while not (job.ended or job.is_parked or batch.is_parked):
                woken.wait()
                woken.clear()
        finally:
            for remove in removes:
                remove()

    def _saver(self, name: str) -> Saver:
        """Saves a job's pictures under the name of its source."""
        results = self._batch.results
        return Saver(results.outputs, SourceNames(results, name))

    def _keep_source(self, picture: Picture) -> str:
        """Stores the source for comparison with its result and returns its id; "" if that would evict other people's
        pictures."""
        self._kept_bytes += len(picture.data)
        if self._kept_bytes > KEPT_SOURCES:
            return ""
        self._pictures.put(picture)
        return picture.sha256


def preparer_of(batch: Batch, admission: Admission) -> FilePreparer | PlainPreparer:
    """The preparer that turns the files of `batch` into jobs of its kind."""
    kind = batch.materials.kind
    if kind == IMG2IMG.name:
        return FilePreparer(batch, admission)
    return PlainPreparer(BUILT_IN.named(kind), batch.materials, batch.results, admission)


def _found_in(queued: QueuedFile) -> dict[str, Any]:
    """The results and notes of a finished file."""
    return {"pictures": queued.job.images, "notes": queued.submitted.notes, "source": queued.submitted.source}
