"""Running jobs: one after another, on one thread, each to its end, whatever happens."""

import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from modules.base import logs
from modules.base.errors import WebuiError
from modules.base.events import (
    EngineState,
    Event,
    Failed,
    FileSaved,
    Finished,
    ImageDone,
    LargeImageDone,
    Parked,
    Staged,
    Stepped,
    Stop,
    Warned,
)
from modules.jobs.job import Job
from modules.jobs.line import INTERRUPTED, Line
from modules.jobs.loader import Choice, EngineWorker, Loader
from modules.jobs.recovery import (
    DEATHS_OF_A_BATCH,
    DEATHS_OF_LOADING,
    DiedLoading,
    DiedRunning,
    failed_by,
    first_batch,
    keep,
    with_parked,
)
from modules.jobs.saving import SavePicture, Saves
from modules.jobs.workers.process import EngineDied
from modules.processing.kinds.kind import Work
from modules.store.job_folders import JobFolders
from modules.store.job_store import JobStore

log = logging.getLogger(__name__)

LOADING = "loading "  # prefix of the stages in which a checkpoint is loaded


class _Ended(Exception):
    """The job ended because it was interrupted while its checkpoint was loading."""


class Runner:
    """Runs the jobs of `line` on `engine`, entirely on the queue's thread.

    `changed` is called after the waiting or running jobs have changed, `file_saved` when a job has made a model file.
    """

    def __init__(
        self, engine: EngineWorker, line: Line, loader: Loader, job_store: JobStore, save: SavePicture,
        changed: Callable[[], None], file_saved: Callable[[], None], folders: JobFolders | None = None,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._line = line
        self._loader = loader
        self._job_store = job_store
        self._save = save
        self._changed = changed
        self._file_saved = file_saved
        self._folders = folders
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="save")

    def serve(self) -> None:
        """Runs waiting jobs, and loads pending checkpoints in between, until the line is closed."""
        line, loader = self._line, self._loader
        while True:
            with line.changed:
                line.changed.wait_for(
                    lambda: line.closing or line.waiting or loader.pending or loader.is_releasing or self._engine.died
                )
                if line.closing:
                    return
            if self._engine.died:
                loader.bury()
            with line.changed:
                job = line.take()
            if job:
                keep(self._job_store.begin, job.id)
                self._changed()
                with logs.about_job(job.id):
                    self._carry_out(job)
            else:
                loader.idle()

    def close(self) -> None:
        """Waits until all returned pictures are saved."""
        self._saver.shutdown()

    def _carry_out(self, job: Job) -> None:
        """Runs `job` to its end, whatever happens."""
        begun = time.monotonic()
        saves = Saves(job, self._save, self._saver, self._job_store, lambda: self._engine.ask(Stop.INTERRUPT))
        try:
            ending, death = self._outcome(job, saves)
        except _Ended:
            return
        handed_over = time.monotonic()
        failure = saves.finish()
        if death and not failure and self._handed_back(job, death):
            return
        ending = failure or with_parked(job, ending)
        now = time.monotonic()
        if isinstance(ending, Finished):
            ending = replace(ending, seconds=now - begun, timings={**ending.timings, "saving": now - handed_over})
        keep(self._job_store.end, job.id, ending, job.images)
        if self._folders is not None:
            self._folders.remove(job.id)
        with self._line.changed:
            forgotten = self._line.end(job, ending)
        if forgotten:
            keep(self._job_store.forget, forgotten)
        self._changed()

    def _outcome(self, job: Job, saves: Saves) -> tuple[Finished | Failed, EngineDied | None]:
        """How the run of `job` ended, and the death of the engine process if that ended it. Raises _Ended."""
        try:
            return self._load_for(job) or self._run(job, saves), None
        except EngineDied as death:
            if self._line.interrupted is job:  # the engine was killed because it did not react to the interrupt
                return INTERRUPTED, death
            return failed_by(death), death
        except WebuiError as error:  # its source file is missing
            return Failed(error.message, error.hint, error.field), None
        except _Ended:
            raise
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("job %s failed (id %s)", job.id, trace_id)
            return Failed(f"The job ended with an internal error (id {trace_id} in the log)."), None

    def _handed_back(self, job: Job, death: EngineDied) -> bool:
        """Whether the job whose engine process died waits again, for the next process or the next start."""
        line = self._line
        if line.interrupted is job:
            return False
        if line.closing:
            keep(self._job_store.hand_back, job.id)
            with line.changed:
                line.running = None
            job.park()
            return True
        if isinstance(death, DiedRunning) and self._deaths_of(job) >= DEATHS_OF_A_BATCH:
            return not death.of_file and self._parked(job, death)
        if isinstance(death, DiedLoading) and death.times >= DEATHS_OF_LOADING:
            return False
        warned = Warned(f"{death.message} The job is resumed at its first unsaved picture.")
        self._job_store.note(job.id, warned)
        keep(self._job_store.hand_back, job.id)
        self._put_back(job, warned)
        return True

    def _parked(self, job: Job, death: DiedRunning) -> bool:
        """Skips the batch that crashed the engine process twice; returns whether the job has others to make."""
        if job.results.is_whole:
            return False
        parked = Parked(max(first_batch(job), death.batch), death.message)
        keep(self._job_store.park, job.id, parked)
        if parked.batch + 1 >= job.results.batches:
            job.append(parked)
            return False
        self._put_back(job, parked)
        return True

    def _put_back(self, job: Job, why: Event) -> None:
        with self._line.changed:
            self._line.put_back(job, why)
        self._changed()

    def _deaths_of(self, job: Job) -> int:
        try:
            return self._job_store.count_death(job.id)
        except WebuiError as error:
            log.error("%s The job is not retried.", error)
            return DEATHS_OF_A_BATCH

    def _load_for(self, job: Job) -> Failed | None:
        """Loads the job's checkpoint; None if it succeeds. Raises EngineDied, and _Ended if the job has ended since."""
        if not job.kind.needs_checkpoint:
            return None
        state, name = self._loader.state, job.checkpoint.name
        if state.state == "ready" and state.checkpoint == name:
            return None
        with self._line.changed:
            if self._line.interrupted is job:
                return None  # so the run does not start
            self._line.loading_for = job
            job.append(Staged(f"{LOADING}{name}"))
        try:
            state = self._loader.load(Choice(job.checkpoint, job.settings, job.resources.vae))
        finally:
            self._require_held(job)
        if state.state == "ready":
            return None
        return Failed(state.message or f"{name} could not be loaded.", field="sd_model_checkpoint")

    def _require_held(self, job: Job) -> None:
        """Loading for `job` is over. Raises _Ended if the job was ended in the meantime."""
        with self._line.changed:
            is_held, self._line.loading_for = self._line.loading_for is job, None
        if not is_held:
            raise _Ended

    def _run(self, job: Job, saves: Saves) -> Finished | Failed:
        """Raises EngineDied, after scheduling the checkpoint to be loaded again."""
        with self._line.changed:
            if self._line.interrupted is job:
                return INTERRUPTED
            first = first_batch(job)
            if first >= job.results.batches:  # interrupted after its last picture
                return Finished(0.0, {})
            folder = self._folders.of(job.id) if self._folders is not None and job.is_kept else None
            events = self._engine.run(Work(job.kind, job.request, job.settings, job.resources, first, folder))
        ending: Finished | Failed | None = None
        loading, batch = job.checkpoint.name, first  # what the process is loading; "" once the checkpoint is loaded
        try:
            for event in events:
                if isinstance(event, Staged):
                    loading = event.stage.removeprefix(LOADING) if event.stage.startswith(LOADING) else ""
                elif isinstance(event, Stepped):
                    loading, batch = "", event.batch
                if isinstance(event, EngineState):
                    self._loader.set_state(event)
                elif isinstance(event, ImageDone | LargeImageDone):
                    saves.add(event)
                elif isinstance(event, Finished | Failed):
                    ending = event
                else:
                    self._job_store.note(job.id, event)
                    job.append(event)
                    if isinstance(event, FileSaved):
                        self._file_saved()
        except EngineDied as death:
            choice = Choice(job.checkpoint, job.settings, job.resources.vae) if job.kind.needs_checkpoint else None
            self._loader.died_running(death, choice)
            if loading:  # counted per job: other jobs may load this checkpoint without the file that crashes it
                died = self._loader.died_loading(f"{loading} {job.id}")
                raise DiedLoading(death, loading, died) from death
            raise DiedRunning(death, batch) from death
        self._loader.has_run()
        return ending or Failed("The engine ended the job without a result.", "Run it again; the log may say why.")
