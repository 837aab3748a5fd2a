"""The job queue: jobs run one at a time, in order, on the engine process; the job store keeps them on disk."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, ImageSaved, LeftOut, Queued, Stop, Unkept
from modules.base.picture_fields import mapped
from modules.jobs.job import Job, JobSpec, Past
from modules.jobs.line import INTERRUPTED, REMEMBERED_JOBS, Line
from modules.jobs.listeners import Listeners
from modules.jobs.loader import Choice, EngineWorker, Loader
from modules.jobs.recovery import Readmit, keep, missing, readmitted, resume_failure
from modules.jobs.runner import Runner
from modules.jobs.saving import SavePicture
from modules.processing.kinds.registry import BUILT_IN, JobKinds
from modules.schema.resources import Resources
from modules.store.job_folders import JobFolders
from modules.store.job_store import JobStore, StoredJob

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 30 * 24 * 3600.0  # since submission; older jobs are forgotten when Palimpsest starts


@dataclass(frozen=True)
class Submission:
    """How a job enters the queue.

    A caller that needs the job's id in advance draws one: `job_id`, 16 hex digits. The first `left_out` batches are not
    made, because another job has them. Pictures in `made`, from another job, belong to this one from the start and are
    not saved again. A job that saves nothing to disk (`is_kept` false) ends with its client, and is not run after a
    restart.
    """

    job_id: str = ""
    left_out: int = 0
    made: tuple[ImageSaved, ...] = ()
    is_kept: bool = True

    @property
    def events(self) -> tuple[Event, ...]:
        """The first events of the job's log."""
        left_out = (LeftOut(self.left_out),) if self.left_out else ()
        return (*left_out, *(() if self.is_kept else (Unkept(),)), *self.made)


class JobQueue:
    """Accepts jobs, runs them, remembers the last hundred. Its methods may be called from any thread.

    `save` writes a finished picture to a file; an exception from it (a full disk) ends the job with that reason.
    `listeners` are called when the engine's state, the waiting jobs or the running job change.

    If the engine process dies, it is restarted with the same checkpoint, and the running job resumes at its first
    unsaved picture. A batch that crashes it twice is parked: the job continues with the others, then fails with the
    reason, and `retry` makes what is missing. A crash while a checkpoint loads counts against no picture; after four in
    a row, the job fails.

    With a `job_store` on disk, `resume` restores the jobs of an earlier run, however that ended.
    """

    def __init__(
        self,
        engine: EngineWorker,
        save: SavePicture,
        draw: random.Random | None = None,
        job_store: JobStore | None = None,
        kinds: JobKinds = BUILT_IN,
        folders: JobFolders | None = None,
    ) -> None:
        self.kinds = kinds
        self.listeners = Listeners()
        self.file_listeners = Listeners()  # called when a job has made a model file
        self._engine = engine
        self._draw = draw or random.SystemRandom()
        self._job_store = job_store or JobStore()
        self._folders = folders
        self._accepting = threading.Lock()  # keeps job store and queue in the same order; taken before _changed
        self._line = Line()
        self._changed = self._line.changed
        self._loader = Loader(engine, self._changed, self.listeners)
        self._runner = Runner(
            engine, self._line, self._loader, self._job_store, save, self.listeners.call, self.file_listeners.call,
            folders,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._runner.serve, name="job runner", daemon=True)
        engine.listeners.add(self._wake)

    def submit(self, spec: JobSpec, how: Submission = Submission()) -> Job:  # it is frozen
        """Adds a job to the end of the queue, with its seeds drawn; it is on disk when this returns.

        Raises WebuiError if the disk refuses.
        """
        job = self._made(replace(spec, request=spec.kind.drawn(spec.request, self._draw)), job_id=how.job_id)
        with self._accepting:
            if self._line.closing:
                raise WebuiError("Palimpsest is shutting down.", "Start it again.", status=503)
            for event in how.events:
                job.append(event)
                self._job_store.note(job.id, event)
            self._job_store.add(job.id, job.kind.name, job.created, job.request, job.settings, job.resources)
            job.request = mapped(job.request, self._job_store.on_disk)  # sixty waiting photos would take gigabytes
            with self._changed:
                self._line.add(job)
                self._start()
        self.listeners.call()
        return job

    def resume(self, is_there: Callable[[ImageSaved, str], bool], readmit: Readmit = lambda spec: spec) -> None:
        """Restores the jobs of the job store: jobs that were waiting or running wait and run again in their order.

        `is_there` says whether a file with this sha256 exists where a picture's event says. `readmit` finds the files
        that a job names again; if it raises WebuiError, the job has failed. Call this once, before the first job is
        submitted.
        """
        now = time.time()
        line = self._line
        with self._accepting:
            stored = self._job_store.stored(is_there, self.kinds.requests)
            old = [each.id for each in stored if each.ended and now - each.created > REMEMBERED_SECONDS]
            jobs = {each.id: self._made_again(each) for each in stored if each.id not in old}
            for each in stored:
                if each.id not in jobs or jobs[each.id].ended:
                    continue
                failed = resume_failure(each) or readmitted(jobs[each.id], readmit)
                if failed:
                    jobs[each.id].append(failed)
                    keep(self._job_store.end, each.id, failed, jobs[each.id].images)
            with self._changed:
                line.jobs.update(jobs)
                for job in jobs.values():
                    if not job.ended:
                        job.append(Queued(len(line.waiting)))
                        line.waiting.append(job)
                if self._folders is not None:
                    self._folders.keep_only({job.id for job in line.waiting})
                count = len(line.waiting)
                old += line.forget_oldest()
                if count:
                    self._start()
            self._forget(old)
        if count:
            log.info("Resuming %d %s from the last run.", count, "job" if count == 1 else "jobs")
        self.listeners.call()

    def retry(
        self,
        job_id: str,
        admit: Callable[[Callable[[], Job]], Job] = lambda put: put(),
        readmit: Readmit = lambda spec: spec,
    ) -> list[Job]:
        """Queues the missing parts of a failed job: one job per parked batch, and one for the batches after the last
        finished one. `readmit` finds the current files that the job names.
        A job that cannot be divided runs again as a whole, and its saved pictures stay as they are. Raises WebuiError

        if the job has not failed, if its sources are missing, or if the disk refuses.
        """
        job = self.job(job_id)
        if job.status != "failed":
            raise WebuiError(
                f"The job {job_id} is {job.status}; only a failed job can be retried.", "", "id", status=409
            )
        if job.lost:
            raise WebuiError(f"The job {job_id} cannot be retried: {job.lost}", "Submit it again.", "id", status=409)
        made = job.images if job.results.is_whole else ()
        specs = [
            (readmit(JobSpec(job.kind, request, job.settings, job.resources)), Submission(left_out=first, made=made))
            for request, first in missing(job)
        ]
        return [admit(partial(self.submit, spec, how)) for spec, how in specs]

    def job(self, job_id: str) -> Job:
        """Raises WebuiError with status 404 for an unknown or forgotten job."""
        with self._changed:
            job = self._line.jobs.get(job_id)
        if job is None:
            hint = f"The last {REMEMBERED_JOBS} finished jobs are remembered."
            raise WebuiError(f"There is no job {job_id!r}.", hint, "id", status=404)
        return job

    def jobs(self) -> tuple[Job, ...]:
        """All remembered jobs, newest first."""
        with self._changed:
            return tuple(reversed(self._line.jobs.values()))

    def current(self) -> tuple[Job, ...]:
        """The running job, then the waiting ones, in order."""
        with self._changed:
            return (*((self._line.running,) if self._line.running else ()), *self._line.waiting)

    def state(self) -> EngineState:
        """The last state reported by the engine process."""
        return self._loader.state

    def select_checkpoint(self, choice: Choice) -> None:
        """Loads a checkpoint as soon as no job is waiting; starts the engine process if necessary."""
        with self._changed:
            self._loader.select(choice)
            self._start()

    def unload(self, patience: float = 0.0) -> None:
        """Ends the engine process as soon as no job is waiting, to free all its memory; the next job starts another.

        Returns once the process has ended, a job is running or waiting, or `patience` seconds have passed.
        """
        line, loader = self._line, self._loader
        with self._changed:
            if self._thread.ident is None or line.closing:
                return
            loader.pending, loader.is_releasing = None, True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not loader.is_releasing or line.running or line.waiting or line.closing, patience
            )

    def interrupt(self) -> None:
        """Stops the running job, if any. An engine that does not react in time is killed."""
        with self._changed:
            running = self._line.running
        if running:
            running.interrupt()

    def skip(self) -> None:
        """Ends the current batch of the running job, if any."""
        with self._changed:
            running = self._line.running
        if running:
            running.skip()

    def close(self) -> None:
        """Ends the engine process. Waiting and running jobs stay in the job store as they are.

        Pictures that the engine has returned are saved first; the unfinished one is made by the next run.
        """
        with self._accepting, self._changed:
            if self._line.closing:
                return
            self._line.closing = True
            started = self._thread.ident is not None
            for job in self._line.waiting:
                job.park()
            self._line.waiting.clear()
            self._changed.notify_all()
        self._engine.close()
        if started:
            self._thread.join()
        self._runner.close()
        self._job_store.close()
        self._loader.set_state(EngineState("stopped"))

    def _made(self, spec: JobSpec, past: Past | None = None, job_id: str = "") -> Job:
        def announce(image: ImageSaved, sha256: str) -> None:
            self._job_store.announce(job.id, image, sha256)

        job = Job(spec, self._ask, past=past, announce=announce, job_id=job_id)
        return job

    def _made_again(self, stored: StoredJob) -> Job:
        kind = self.kinds.kept(stored.kind)
        request = kind.request.model_construct() if stored.request is None else stored.request
        past = Past(stored.id, stored.created, stored.events, stored.reason)
        resources = Resources(stored.checkpoint, files=stored.files)
        return self._made(JobSpec(kind, request, stored.settings, resources), past)

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()
        self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _ask(self, job: Job, stop: Stop) -> None:
        """Stops `job`, or skips its batch, for a user. A finished job is not changed.

        A job whose checkpoint is still loading ends at once; loading continues for the next job.
        """
        line = self._line
        with self._changed:
            is_out = stop == Stop.INTERRUPT and line.remove(job)
            if not is_out:
                if job is line.running:
                    if stop == Stop.INTERRUPT:
                        line.interrupted = job
                    self._engine.ask(stop)
                return
        keep(self._job_store.end, job.id, INTERRUPTED, job.images)
        if self._folders is not None:
            self._folders.remove(job.id)
        with self._changed:
            forgotten = line.end(job, INTERRUPTED)
        self._forget(forgotten)
        self.listeners.call()

    def _forget(self, job_ids: list[str]) -> None:
        if job_ids:
            keep(self._job_store.forget, job_ids)
