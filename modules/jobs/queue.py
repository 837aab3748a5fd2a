"""Jobs in the order they came, run one at a time on the engine process by one thread."""

import contextlib
import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from modules.catalog import Checkpoint
from modules.errors import WebuiError
from modules.events import EngineState, Event, Failed, Finished, ImageDone, Queued, Staged, Stop
from modules.infotext import Kind
from modules.jobs.job import Job
from modules.jobs.listeners import Listeners
from modules.jobs.saving import SavePicture, Saves
from modules.jobs.worker import EngineDied
from modules.request import GenerationRequest
from modules.settings import Settings

log = logging.getLogger(__name__)

REMEMBERED_JOBS = 100  # that have ended
DEATHS_IN_A_ROW = 2  # of the engine process, outside of runs, before it is left alone until somebody asks again


class Engine(Protocol):
    """What the queue needs of an engine process; `worker.EngineProcess` is one."""

    listeners: Listeners

    @property
    def died(self) -> bool: ...
    def bury(self) -> EngineDied: ...
    def load(self, checkpoint: Checkpoint, settings: Settings) -> Iterator[EngineState]: ...
    def run(
        self, request: GenerationRequest, settings: Settings, checkpoint: Checkpoint
    ) -> Iterator[Event | EngineState]: ...
    def ask(self, stop: Stop) -> None: ...
    def close(self) -> None: ...


class JobQueue:
    """Takes jobs, runs them, remembers the last hundred. Its methods may be called from any thread.

    `save` makes a file of a finished picture; what it raises (a full disk) ends the job with that reason. `listeners`
    are called when the engine's state, the jobs waiting or the job running change.

    If the engine process dies, the job that ran fails with a sentence, the process is started again with the same
    checkpoint and the next job runs. If it dies twice in a row without having run a job, its state is failed, and it is
    started again only when a checkpoint is chosen or a job comes.
    """

    def __init__(self, engine: Engine, save: SavePicture, draw: random.Random | None = None) -> None:
        self.listeners = Listeners()
        self._engine = engine
        self._save = save
        self._draw = draw or random.SystemRandom()
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._changed = threading.Condition()  # guards what follows
        self._jobs: dict[str, Job] = {}  # oldest first
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._interrupted: Job | None = None  # the running job, once somebody wants it to end
        self._wanted: tuple[Checkpoint, Settings] | None = None  # to be loaded when no job waits
        self._loaded: tuple[Checkpoint, Settings] | None = None
        self._deaths = 0
        self._death_of = ""  # the checkpoint that was loaded or loading when the process last died
        self._state = EngineState("starting")
        self._closing = False
        self._runner = threading.Thread(target=self._serve, name="job runner", daemon=True)
        engine.listeners.add(self._wake)

    def submit(self, kind: Kind, request: GenerationRequest, settings: Settings, checkpoint: Checkpoint) -> Job:
        """Put a job at the end of the queue, its seeds drawn. Raises WebuiError if a setting it overrides is wrong."""
        settings = settings.overridden(request.override_settings)
        job = Job(kind, request.resolved(self._draw), settings, checkpoint, self._ask)
        with self._changed:
            if self._closing:
                raise WebuiError("Palimpsest is shutting down.", "Start it again.", status=503)
            job.append(Queued(len(self._waiting) + (self._running is not None)))
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._start()
        self.listeners.call()
        return job

    def job(self, job_id: str) -> Job:
        """Raises WebuiError with status 404 if there is none, or none any more."""
        with self._changed:
            job = self._jobs.get(job_id)
        if job is None:
            raise WebuiError(f"There is no job {job_id!r}.", "Jobs are forgotten at a restart.", "id", status=404)
        return job

    def jobs(self) -> tuple[Job, ...]:
        """All that are remembered, newest first."""
        with self._changed:
            return tuple(reversed(self._jobs.values()))

    def current(self) -> tuple[Job, ...]:
        """The running job, then those that wait, in order."""
        with self._changed:
            return (*((self._running,) if self._running else ()), *self._waiting)

    def state(self) -> EngineState:
        """What the engine process last said of itself."""
        with self._changed:
            return self._state

    def select_checkpoint(self, checkpoint: Checkpoint, settings: Settings) -> None:
        """Load `checkpoint` as soon as no job waits, and start the engine process if it is not there yet."""
        with self._changed:
            self._wanted = (checkpoint, settings)
            self._deaths = 0
            self._start()

    def interrupt(self) -> None:
        """End the running job at its next step; nothing happens if none runs."""
        with self._changed:
            running = self._running
        if running:
            running.interrupt()

    def skip(self) -> None:
        """End the running job's batch; nothing happens if none runs."""
        with self._changed:
            running = self._running
        if running:
            running.skip()

    def close(self) -> None:
        """End the engine process and all jobs. Pictures the engine has handed over are saved first."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            started = self._runner.ident is not None
            for job in self._waiting:
                job.append(Finished(0.0, {}, interrupted=True))
            self._waiting.clear()
            self._changed.notify_all()
        self._engine.close()
        if started:
            self._runner.join()
        self._saver.shutdown()
        self._set_state(EngineState("stopped"))

    # What follows runs on the runner thread, but for _start, _wake and _ask.

    def _start(self) -> None:
        if self._runner.ident is None:
            self._runner.start()
        self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _ask(self, job: Job, stop: Stop) -> None:
        """A person wants `job` to stop. What has ended stays as it is."""
        with self._changed:
            if job is self._running:
                if stop == Stop.INTERRUPT:
                    self._interrupted = job
                self._engine.ask(stop)
                return
            if stop != Stop.INTERRUPT or job not in self._waiting:
                return
            self._waiting.remove(job)
            job.append(Finished(0.0, {}, interrupted=True))
            self._tell_positions()
            self._forget_oldest()
        self.listeners.call()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._waiting or self._wanted or self._engine.died)
                if self._closing:
                    return
            if self._engine.died:
                self._note_death(self._engine.bury(), self._loaded)
            self._serve_one()

    def _serve_one(self) -> None:
        """Run the next job; where none waits, load what is wanted."""
        with self._changed:
            job = self._running = self._waiting.popleft() if self._waiting else None
            wanted = None
            if job:
                self._interrupted = None
                job.append(Staged("starting"))
                self._tell_positions()
            else:
                wanted, self._wanted = self._wanted, None
        if job:
            self.listeners.call()
            self._carry_out(job)
        elif wanted:
            with contextlib.suppress(EngineDied):  # noted already
                self._load(*wanted)

    def _carry_out(self, job: Job) -> None:
        """Run `job` to its end, whatever happens."""
        begun = time.monotonic()
        saves = Saves(job, self._save, self._saver, on_failure=lambda: self._engine.ask(Stop.INTERRUPT))
        try:
            ending = self._load_for(job) or self._run(job, saves)
        except EngineDied as death:
            ending = Finished(0.0, {}, interrupted=True) if self._closing else Failed(death.message, death.hint)
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("job %s failed (id %s)", job.id, trace_id)
            ending = Failed(f"The job ended by an error of Palimpsest itself (id {trace_id} in the log).")
        handed_over = time.monotonic()
        ending = saves.finish() or ending
        now = time.monotonic()
        if isinstance(ending, Finished):
            ending = replace(ending, seconds=now - begun, timings={**ending.timings, "saving": now - handed_over})
        with self._changed:
            job.append(ending)
            self._running = None
            self._tell_positions()
            self._forget_oldest()
        self.listeners.call()

    def _load_for(self, job: Job) -> Failed | None:
        """Have the job's checkpoint ready; None if it is. Raises EngineDied."""
        state = self.state()
        if state.state == "ready" and state.checkpoint == job.checkpoint.name:
            return None
        job.append(Staged(f"loading {job.checkpoint.name}"))
        state = self._load(job.checkpoint, job.settings)
        if state.state == "ready":
            return None
        return Failed(state.message or f"{job.checkpoint.name} could not be loaded.", field="sd_model_checkpoint")

    def _load(self, checkpoint: Checkpoint, settings: Settings) -> EngineState:
        """The state after loading. Raises EngineDied, once it is noted."""
        state = self.state()
        # Why it is started again stays to be read until the process is there and says something of its own.
        state = EngineState("loading", checkpoint.name, message=state.message if state.state == "starting" else "")
        self._set_state(state)
        try:
            for state in self._engine.load(checkpoint, settings):
                self._set_state(state)
        except EngineDied as death:
            self._note_death(death, (checkpoint, settings))
            raise
        if state.state == "ready":
            self._loaded = checkpoint, settings
        elif state.state != "failed":
            state = EngineState("failed", checkpoint.name, message=f"{checkpoint.name} was not loaded.")
            self._set_state(state)
        return state

    def _run(self, job: Job, saves: Saves) -> Finished | Failed:
        """Raises EngineDied, once what the process had loaded is wanted again."""
        with self._changed:
            if self._interrupted is job:
                return Finished(0.0, {}, interrupted=True)
            events = self._engine.run(job.request, job.settings, job.checkpoint)
        ending: Finished | Failed | None = None
        try:
            for event in events:
                if isinstance(event, EngineState):
                    self._set_state(event)
                elif isinstance(event, ImageDone):
                    saves.add(event)
                elif isinstance(event, Finished | Failed):
                    ending = event
                else:
                    job.append(event)
        except EngineDied as death:
            with self._changed:
                self._wanted = self._wanted or (job.checkpoint, job.settings)
            self._set_state(EngineState("starting", job.checkpoint.name, message=death.message))
            raise
        self._deaths = 0
        return ending or Failed("The engine ended the job without a word.", "Run it again; the log may tell why.")

    def _note_death(self, death: EngineDied, loaded: tuple[Checkpoint, Settings] | None) -> None:
        """The process died while it was loading or had nothing to do: want the same again, but not for ever."""
        name = loaded[0].name if loaded else ""
        with self._changed:
            self._deaths = self._deaths + 1 if name == self._death_of else 1
            self._death_of = name
            again = self._deaths < DEATHS_IN_A_ROW
            if again:
                self._wanted = self._wanted or loaded
        self._set_state(EngineState("starting" if again else "failed", name, message=f"{death.message} {death.hint}"))

    def _set_state(self, state: EngineState) -> None:
        with self._changed:
            self._state = state
        self.listeners.call()

    def _tell_positions(self) -> None:
        for ahead, job in enumerate(self._waiting, start=1 if self._running else 0):
            if job.ahead != ahead:
                job.append(Queued(ahead))

    def _forget_oldest(self) -> None:
        ended = [job_id for job_id, job in self._jobs.items() if job.ended]
        for job_id in ended[:-REMEMBERED_JOBS]:
            del self._jobs[job_id]
