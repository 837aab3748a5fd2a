"""Jobs in the order they came, run one at a time on the engine process by one thread, kept on disk by the job store."""

import contextlib
import logging
import random
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Protocol

from modules.base import logs
from modules.base.errors import WebuiError
from modules.base.events import (
    EngineState,
    Event,
    Failed,
    Finished,
    ImageDone,
    ImageSaved,
    LeftOut,
    Parked,
    Queued,
    Staged,
    Stepped,
    Stop,
    Unkept,
    Warned,
)
from modules.infotext.grammar import Kind
from modules.jobs.job import Job, Past
from modules.jobs.listeners import Listeners
from modules.jobs.saving import SavePicture, Saves
from modules.jobs.workers.process import EngineDied
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.settings import Settings
from modules.store.job_store import Entered, JobStore

log = logging.getLogger(__name__)

REMEMBERED_JOBS = 100  # that have ended
REMEMBERED_SECONDS = 30 * 24 * 3600.0  # after they were submitted, if Palimpsest is started again
DEATHS_OF_A_BATCH = 2  # of the engine process while a job made the same batch, before that is left out
DEATHS_OF_LOADING = 4  # of the engine process in a row while it loaded a job's checkpoint, before the job has failed
CUTS_OF_A_JOB = 10  # of Palimpsest itself, likewise: most often no fault of the job, but it must not go on for ever
LOADING = "loading "  # begins the stages in which a checkpoint is loaded
DEATHS_IN_A_ROW = 2  # of the engine process, outside of runs, before it is left alone until somebody asks again


class DiedRunning(EngineDied):
    """The engine process ended while it made batch `batch`, and not while it loaded a checkpoint."""

    def __init__(self, death: EngineDied, batch: int) -> None:
        super().__init__(death.message, death.hint, death.of_file)
        self.batch = batch


class DiedLoading(EngineDied):
    """The engine process ended while it loaded `name`, for the `times`th time since that was last loaded."""

    def __init__(self, death: EngineDied, name: str, times: int) -> None:
        super().__init__(death.message, death.hint)
        self.name = name
        self.times = times


class _LetGo(Exception):
    """The job was interrupted, and so has ended, while its checkpoint was being loaded."""


class Engine(Protocol):
    """What the queue needs of an engine process; `worker.EngineProcess` is one."""

    listeners: Listeners

    @property
    def died(self) -> bool: ...
    def bury(self) -> EngineDied: ...
    def load(self, checkpoint: Checkpoint, settings: Settings) -> Iterator[EngineState]: ...
    def run(
        self, request: GenerationRequest, settings: Settings, checkpoint: Checkpoint, first_batch: int = 0
    ) -> Iterator[Event | EngineState]: ...
    def ask(self, stop: Stop) -> None: ...
    def release(self) -> None: ...
    def close(self) -> None: ...


class JobQueue:
    """Takes jobs, runs them, remembers the last hundred. Its methods may be called from any thread.

    `save` makes a file of a finished picture; what it raises (a full disk) ends the job with that reason. `listeners`
    are called when the engine's state, the jobs waiting or the job running change.

    If the engine process dies, it is started again with the same checkpoint, and the job that ran is taken up again at
    its first picture that is not saved. A batch that ends it twice is parked: the job goes on with its others, then
    fails with the reason, and `retry` makes what is missing. Dying while a checkpoint loads counts against no picture;
    where that happens four times in a row, the job fails. If it dies twice in a row without having run a job, its state
    is failed, and it is started again only when a checkpoint is chosen or a job comes.

    With a `job_store` on disk, `resume` puts the jobs of an earlier run where they were, however that ended.
    """

    def __init__(
        self, engine: Engine, save: SavePicture, draw: random.Random | None = None, job_store: JobStore | None = None
    ) -> None:
        self.listeners = Listeners()
        self._engine = engine
        self._save = save
        self._draw = draw or random.SystemRandom()
        self._job_store = job_store or JobStore()
        self._accepting = threading.Lock()  # order in the job store is order in the queue; taken before _changed
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._changed = threading.Condition()  # guards what follows
        self._jobs: dict[str, Job] = {}  # oldest first
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._interrupted: Job | None = None  # the running job, once somebody wants it to end
        self._loading_for: Job | None = None  # the running job, while its checkpoint is loaded
        self._wanted: tuple[Checkpoint, Settings] | None = None  # to be loaded when no job waits
        self._loaded: tuple[Checkpoint, Settings] | None = None
        self._refusal = ""  # why the checkpoint that was asked for last is not the one that is loaded
        self._releasing = False  # the engine process is to end when no job waits
        self._loading_deaths: Counter[str] = Counter()  # by checkpoint, since it was last loaded
        self._deaths = 0
        self._death_of = ""  # the checkpoint that was loaded or loading when the process last died
        self._state = EngineState("starting")
        self._closing = False
        self._runner = threading.Thread(target=self._serve, name="job runner", daemon=True)
        engine.listeners.add(self._wake)

    def submit(
        self,
        kind: Kind,
        request: GenerationRequest,
        settings: Settings,
        checkpoint: Checkpoint,
        job_id: str = "",
        left_out: int = 0,
        made: tuple[ImageSaved, ...] = (),
        is_kept: bool = True,
    ) -> Job:
        """Put a job at the end of the queue, its seeds drawn; when this returns it is on the disk.

        Whoever has to know the job's id before it is there draws one: `job_id`, 16 hex digits. The first `left_out`
        batches are not made: another job has them. Pictures that another job has `made` are this one's from the start
        and are not saved again. A job of which nothing `is_kept` on the disk ends with its client: the next start of
        Palimpsest does not run it.

        Raises WebuiError if a setting it overrides is wrong, or if the disk refuses.
        """
        settings = settings.overridden(request.override_settings)
        job = self._made(kind, request.resolved(self._draw), settings, checkpoint, job_id=job_id)
        with self._accepting:
            if self._closing:
                raise WebuiError("Palimpsest is shutting down.", "Start it again.", status=503)
            for event in (*([LeftOut(left_out)] if left_out else []), *([] if is_kept else [Unkept()]), *made):
                job.append(event)
                self._job_store.note(job.id, event)
            self._job_store.add(job.id, kind, job.created, job.request, settings, checkpoint)
            job.request = self._job_store.lying(job.request)  # sixty waiting photos would be gigabytes
            with self._changed:
                job.append(Queued(len(self._waiting) + (self._running is not None)))
                self._jobs[job.id] = job
                self._waiting.append(job)
                self._start()
        self.listeners.call()
        return job

    def resume(self, is_there: Callable[[ImageSaved, str], bool]) -> None:
        """Put the jobs of the job store where they were: those that waited, or ran, wait and run again in their order.

        `is_there` is asked whether a file of this sha256 lies where a picture's event says. Call it once, before the
        first job is submitted.
        """
        now = time.time()
        with self._accepting:
            entered = self._job_store.entered(is_there)
            old = [each.id for each in entered if each.ended and now - each.created > REMEMBERED_SECONDS]
            jobs = {each.id: self._made_again(each) for each in entered if each.id not in old}
            for each in entered:
                failed = _cannot_go_on(each)
                if each.id in jobs and not jobs[each.id].ended and failed:
                    jobs[each.id].append(failed)
                    self._keep(self._job_store.end, each.id, failed, jobs[each.id].images)
            with self._changed:
                self._jobs.update(jobs)
                for job in jobs.values():
                    if not job.ended:
                        job.append(Queued(len(self._waiting)))
                        self._waiting.append(job)
                count = len(self._waiting)
                old += self._forget_oldest()
                if count:
                    self._start()
            self._forget(old)
        if count:
            log.info("%d %s of the last time and run now.", count, "job waits" if count == 1 else "jobs wait")
        self.listeners.call()

    def retry(self, job_id: str, admit: Callable[[Callable[[], Job]], Job] = lambda put: put()) -> list[Job]:
        """Put what a failed job has not made at the end of the queue: a job for each batch that was parked, one more
        for what came after the last that was made. A script runs whole, and those of its pictures that are saved stay
        as they are.

        Raises WebuiError for a job that has not failed, whose sources are gone, or that the disk refuses.
        """
        job = self.job(job_id)
        if job.status != "failed":
            raise WebuiError(
                f"The job {job_id} is {job.status}; only one that has failed can be made again.", "", "id", status=409
            )
        if job.lost:
            raise WebuiError(f"The job {job_id} cannot be made again: {job.lost}", "Submit it anew.", "id", status=409)
        made = job.images if job.request.script_name else ()
        puts = [
            partial(self.submit, job.kind, request, job.settings, job.checkpoint, left_out=first, made=made)
            for request, first in missing(job)
        ]
        return [admit(put) for put in puts]

    def job(self, job_id: str) -> Job:
        """Raises WebuiError with status 404 if there is none, or none any more."""
        with self._changed:
            job = self._jobs.get(job_id)
        if job is None:
            hint = f"The last {REMEMBERED_JOBS} that ended are remembered."
            raise WebuiError(f"There is no job {job_id!r}.", hint, "id", status=404)
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
            self._refusal = ""
            self._releasing = False
            self._deaths = 0
            del self._loading_deaths[checkpoint.name]
            self._start()

    def unload(self, patience: float = 0.0) -> None:
        """End the engine process as soon as no job waits, so that all its memory is free; the next job starts another.

        Returns when that has happened, when a job runs or waits, or after `patience` seconds.
        """
        with self._changed:
            if self._runner.ident is None or self._closing:
                return
            self._wanted, self._releasing = None, True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not self._releasing or self._running or self._waiting or self._closing, patience
            )

    def interrupt(self) -> None:
        """End the running job, as soon as the engine hears it or has been ended; nothing happens if none runs."""
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
        """End the engine process. Jobs stay in the job store as they are: those that wait, and the one that runs.

        Pictures the engine has handed over are saved first; the one that was being made is made by the next run.
        """
        with self._accepting, self._changed:
            if self._closing:
                return
            self._closing = True
            started = self._runner.ident is not None
            for job in self._waiting:
                job.park()
            self._waiting.clear()
            self._changed.notify_all()
        self._engine.close()
        if started:
            self._runner.join()
        self._saver.shutdown()
        self._job_store.close()
        self._set_state(EngineState("stopped"))

    # What follows runs on the runner thread, but for _made, _made_again, _start, _wake and _ask.

    def _made(
        self,
        kind: Kind,
        request: GenerationRequest,
        settings: Settings,
        checkpoint: Checkpoint,
        past: Past | None = None,
        job_id: str = "",
    ) -> Job:
        def announce(image: ImageSaved, sha256: str) -> None:
            self._job_store.announce(job.id, image, sha256)

        job = Job(kind, request, settings, checkpoint, self._ask, past=past, announce=announce, job_id=job_id)
        return job

    def _made_again(self, entered: Entered) -> Job:
        request = entered.request or (Img2ImgRequest() if entered.kind == "img2img" else Txt2ImgRequest())
        kind: Kind = "img2img" if entered.kind == "img2img" else "txt2img"
        past = Past(entered.id, entered.created, entered.events, entered.reason)
        return self._made(kind, request, entered.settings, entered.checkpoint, past)

    def _keep(self, method: Callable[..., object], *values: object) -> None:
        """Write to the job store what is no reason to end a job when the disk refuses it."""
        try:
            method(*values)
        except WebuiError as error:
            log.error("%s After a restart this job may be told otherwise than it was.", error)

    def _start(self) -> None:
        if self._runner.ident is None:
            self._runner.start()
        self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _ask(self, job: Job, stop: Stop) -> None:
        """A person wants `job` to stop. What has ended stays as it is.

        A job whose checkpoint is still being loaded ends at once; the loading goes on, for the next one.
        """
        with self._changed:
            if job is self._loading_for and stop == Stop.INTERRUPT:
                self._running = self._loading_for = None
            elif job is self._running:
                if stop == Stop.INTERRUPT:
                    self._interrupted = job
                self._engine.ask(stop)
                return
            elif stop == Stop.INTERRUPT and job in self._waiting:
                self._waiting.remove(job)
            else:
                return
            self._tell_positions()
        ending = Finished(0.0, {}, interrupted=True)
        self._keep(self._job_store.end, job.id, ending, job.images)
        with self._changed:
            job.append(ending)
            forgotten = self._forget_oldest()
        self._forget(forgotten)
        self.listeners.call()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing or self._waiting or self._wanted or self._releasing or self._engine.died
                )
                if self._closing:
                    return
            if self._engine.died:
                self._note_death(self._engine.bury(), self._loaded)
            self._serve_one()

    def _serve_one(self) -> None:
        """Run the next job; where none waits, load what is wanted."""
        with self._changed:
            job = self._running = self._waiting.popleft() if self._waiting else None
            wanted, refusal, releasing = None, "", self._releasing and not job
            if job:
                self._interrupted = None
                job.append(Staged("starting"))
                self._tell_positions()
            elif not releasing:
                wanted, self._wanted = self._wanted, None
                refusal, self._refusal = self._refusal, ""
        if job:
            self._keep(self._job_store.begin, job.id)
            self.listeners.call()
            with logs.about_job(job.id):
                self._carry_out(job)
        elif releasing:
            self._release()
        elif wanted:
            with contextlib.suppress(EngineDied):  # noted already
                state = self._load(*wanted)
                if refusal and state.state == "ready":  # why it is not the one that was asked for last
                    self._set_state(replace(state, message=refusal))

    def _release(self) -> None:
        self._engine.release()
        with self._changed:
            self._loaded = None
            self._releasing = False
            self._changed.notify_all()
        self._set_state(EngineState("unloaded"))

    def _carry_out(self, job: Job) -> None:
        """Run `job` to its end, whatever happens."""
        begun = time.monotonic()
        saves = Saves(job, self._save, self._saver, self._job_store, lambda: self._engine.ask(Stop.INTERRUPT))
        death: EngineDied | None = None
        ending: Finished | Failed
        try:
            ending = self._load_for(job) or self._run(job, saves)
        except _LetGo:
            return
        except EngineDied as caught:
            death, ending = caught, _failed_by(caught)
            if self._interrupted is job:  # it was to end, and its engine was ended for it where it did not hear
                ending = Finished(0.0, {}, interrupted=True)
        except WebuiError as error:  # its source is gone from the disk
            ending = Failed(error.message, error.hint, error.field)
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("job %s failed (id %s)", job.id, trace_id)
            ending = Failed(f"The job ended with an internal error (id {trace_id} in the log).")
        handed_over = time.monotonic()
        failure = saves.finish()
        if death and not failure and self._handed_back(job, death):
            return
        ending = failure or _with_parked(job, ending)
        now = time.monotonic()
        if isinstance(ending, Finished):
            ending = replace(ending, seconds=now - begun, timings={**ending.timings, "saving": now - handed_over})
        self._keep(self._job_store.end, job.id, ending, job.images)
        with self._changed:
            job.append(ending)
            self._running = None
            self._tell_positions()
            forgotten = self._forget_oldest()
        self._forget(forgotten)
        self.listeners.call()

    def _handed_back(self, job: Job, death: EngineDied) -> bool:
        """Whether the job that lost its engine process waits again: for the next process, or for the next start."""
        if self._interrupted is job:
            return False
        if self._closing:
            self._keep(self._job_store.hand_back, job.id)
            with self._changed:
                self._running = None
            job.park()
            return True
        if isinstance(death, DiedRunning) and self._deaths_of(job) >= DEATHS_OF_A_BATCH:
            return not death.of_file and self._parked(job, death)
        if isinstance(death, DiedLoading) and death.times >= DEATHS_OF_LOADING:
            return False
        warned = Warned(f"{death.message} The job is taken up again at its first picture that is not saved.")
        self._job_store.note(job.id, warned)
        self._keep(self._job_store.hand_back, job.id)
        self._put_back(job, warned)
        return True

    def _parked(self, job: Job, death: DiedRunning) -> bool:
        """Leave out the batch that ended the engine process twice; whether the job has others to make."""
        if job.request.script_name:  # its pictures come from each other
            return False
        parked = Parked(max(_first_batch(job), death.batch), death.message)
        self._keep(self._job_store.park, job.id, parked)
        if (parked.batch + 1) * job.request.batch_size >= job.request.images:
            job.append(parked)
            return False
        self._put_back(job, parked)
        return True

    def _put_back(self, job: Job, why: Event) -> None:
        """The job that ran waits again, before all others."""
        with self._changed:
            job.append(why)
            job.append(Queued(0))
            self._waiting.appendleft(job)
            self._running = None
            self._tell_positions()
        self.listeners.call()

    def _deaths_of(self, job: Job) -> int:
        try:
            return self._job_store.count_death(job.id)
        except WebuiError as error:
            log.error("%s The job is not run again.", error)
            return DEATHS_OF_A_BATCH

    def _load_for(self, job: Job) -> Failed | None:
        """Have the job's checkpoint ready; None if it is. Raises EngineDied, and _LetGo if the job has ended since."""
        state = self.state()
        if state.state == "ready" and state.checkpoint == job.checkpoint.name:
            return None
        with self._changed:
            if self._interrupted is job:
                return None  # and the run does not begin
            self._loading_for = job
            job.append(Staged(f"{LOADING}{job.checkpoint.name}"))
        try:
            state = self._load(job.checkpoint, job.settings)
        finally:
            self._require_held(job)
        if state.state == "ready":
            return None
        return Failed(state.message or f"{job.checkpoint.name} could not be loaded.", field="sd_model_checkpoint")

    def _require_held(self, job: Job) -> None:
        """The loading for `job` is over. Raises _LetGo if somebody has ended the job meanwhile."""
        with self._changed:
            is_held, self._loading_for = self._loading_for is job, None
        if not is_held:
            raise _LetGo

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
            raise DiedLoading(death, checkpoint.name, self._died_loading(checkpoint.name)) from death
        if state.state == "ready":
            self._loaded = checkpoint, settings
            del self._loading_deaths[checkpoint.name]
        elif state.state != "failed":
            state = EngineState("failed", checkpoint.name, message=f"{checkpoint.name} was not loaded.")
            self._set_state(state)
        if state.state == "failed":
            self._go_back(checkpoint, state.message)
        return state

    def _died_loading(self, what: str) -> int:
        """How often the process has died while it loaded this."""
        self._loading_deaths[what] += 1
        return self._loading_deaths[what]

    def _go_back(self, refused: Checkpoint, reason: str) -> None:
        """The engine still holds what it had loaded before: that is what is ready again, if nothing else is wanted."""
        with self._changed:
            if self._loaded is not None and self._loaded[0] != refused and self._wanted is None:
                self._wanted, self._refusal = self._loaded, reason

    def _run(self, job: Job, saves: Saves) -> Finished | Failed:
        """Raises EngineDied, once what the process had loaded is wanted again."""
        with self._changed:
            if self._interrupted is job:
                return Finished(0.0, {}, interrupted=True)
            first = _first_batch(job)
            if first * job.request.batch_size >= job.request.images:  # cut off after its last picture; 0 for scripts
                return Finished(0.0, {})
            events = self._engine.run(job.request, job.settings, job.checkpoint, first)
        ending: Finished | Failed | None = None
        loading, batch = job.checkpoint.name, first  # what the process does just now; "" once it has the checkpoint
        try:
            for event in events:
                if isinstance(event, Staged):
                    loading = event.stage.removeprefix(LOADING) if event.stage.startswith(LOADING) else ""
                elif isinstance(event, Stepped):
                    loading, batch = "", event.batch
                if isinstance(event, EngineState):
                    self._set_state(event)
                elif isinstance(event, ImageDone):
                    saves.add(event)
                elif isinstance(event, Finished | Failed):
                    ending = event
                else:
                    self._job_store.note(job.id, event)
                    job.append(event)
        except EngineDied as death:
            with self._changed:
                self._wanted = self._wanted or (job.checkpoint, job.settings)
            self._set_state(EngineState("starting", job.checkpoint.name, message=death.message))
            if loading:  # counted for this job: that another loads it well says nothing of what is loaded beside it
                died = self._died_loading(f"{loading} {job.id}")
                raise DiedLoading(death, loading, died) from death
            raise DiedRunning(death, batch) from death
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

    def _forget_oldest(self) -> list[str]:
        """The ids of those that are no longer remembered; the job store is told by `_forget`, outside the lock."""
        ended = [job_id for job_id, job in self._jobs.items() if job.ended]
        forgotten = ended[:-REMEMBERED_JOBS]
        for job_id in forgotten:
            del self._jobs[job_id]
        return forgotten

    def _forget(self, job_ids: list[str]) -> None:
        if job_ids:
            self._keep(self._job_store.forget, job_ids)


def _first_batch(job: Job) -> int:
    """The first batch of which a picture is not saved. One that a person skipped stays skipped, if a later one is, and
    so does one that was parked.

    A script's pictures come from each other, and how many there are it alone knows: it begins anew, and of its pictures
    those that are saved already are not saved again.
    """
    if job.request.script_name:
        return 0
    passed = max(job.left_out, *(parked.batch + 1 for parked in job.parked), 0)
    size, count = job.request.batch_size, job.request.images
    there = {(image.index % count, image.suffix) for image in job.images}
    wanted = ("", *job.settings.beside) if is_masked(job.request) else ("",)
    saved = {index for index, _ in there if there.issuperset((index, suffix) for suffix in wanted)}
    if not saved:
        return passed
    last = max(saved) // size
    return max(passed, last + 1 if saved.issuperset(range(last * size, (last + 1) * size)) else last)


def missing(job: Job) -> list[tuple[GenerationRequest, int]]:
    """(a request that makes what `job` has not made, the batches that it leaves out): for each batch that was parked,
    and for those behind the last one that was made."""
    if job.request.script_name:
        return [(job.request, 0)]
    parts = [(job.request.model_copy(update={"n_iter": each.batch + 1}), each.batch) for each in job.parked]
    first = _first_batch(job)
    return [*parts, (job.request, first)] if first < job.request.n_iter else parts


def _failed_by(death: EngineDied) -> Failed:
    """How a job ends that lost its engine process for good."""
    if isinstance(death, DiedLoading):
        when = f"That was while {death.name} was being loaded, for the {death.times}. time."
        return Failed(death.message, f"{when} Close other programs or choose another checkpoint, then retry the job.")
    return Failed(death.message, death.hint)


def _with_parked(job: Job, ending: Finished | Failed) -> Finished | Failed:
    """The ending of a job, which has not finished if one of its batches was parked."""
    parked = job.parked
    if not parked or (isinstance(ending, Finished) and ending.interrupted):
        return ending
    if isinstance(ending, Failed) and ending.message != parked[-1].message:
        return ending
    size, count = job.request.batch_size, job.request.images
    numbers = [str(each.batch * size + place + 1) for each in parked for place in range(size)]
    which = f"picture {numbers[0]}" if len(numbers) == 1 else f"pictures {', '.join(numbers)}"
    return Failed(
        parked[-1].message,
        f"It ended {DEATHS_OF_A_BATCH} times while it made {which} of {count}, which is left out. "
        "Retry the job to make what is missing, or choose a smaller size or batch size.",
    )


def is_masked(request: GenerationRequest) -> bool:
    """Whether a mask may belong to each of its pictures."""
    return isinstance(request, Img2ImgRequest) and (request.mask is not None or request.is_outpainted)


def _cannot_go_on(entered: Entered) -> Failed | None:
    """Why a job of the last time is not run again; None if it is."""
    if entered.reason:
        return Failed(entered.reason, "Submit it again.")
    if any(isinstance(event, Unkept) for event in entered.events):
        return Failed(
            "Palimpsest was ended before the job was, and the client that waited for its pictures has lost them.",
            "Send it again; with save_images they are kept on the disk, and a job is not lost.",
        )
    if entered.deaths >= DEATHS_OF_A_BATCH:
        return Failed(
            f"The engine process ended {entered.deaths} times while it made the same picture of this job.",
            "Make the picture or the batch size smaller.",
        )
    if entered.cuts >= CUTS_OF_A_JOB:
        return Failed(
            f"Palimpsest was cut off {entered.cuts} times while it made the same picture of this job.",
            "Submit it again if that had another reason.",
        )
    return None
