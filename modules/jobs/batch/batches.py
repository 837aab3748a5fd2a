"""Batches: many files through one form, each a job of its own, on the server and not in a page.

A batch gives the queue two jobs at a time, one that runs and one that waits, so that other people's jobs come between
and no more than two source pictures are in memory, whatever the batch holds.
"""

import hashlib
import json
import logging
import math
import random
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol

from PIL import Image
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from modules.base.errors import WebuiError
from modules.base.events import Failed, ImageDone, ImageSaved
from modules.base.fields import Strict, params
from modules.base.picture import Picture
from modules.images.geometry import Size, scaled
from modules.jobs.batch.files import Entry, FileSet
from modules.jobs.batch.journal import Begun, Journals, Taken, Told
from modules.jobs.batch.results import Done, Results, numbered
from modules.jobs.batch.wording import Own, Where, WordBook
from modules.jobs.job import Job
from modules.jobs.listeners import Listeners
from modules.jobs.saving import SavePicture, save_source
from modules.processing.estimate import is_source_large
from modules.processing.options import NOTED, effective, told
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import SEED_RANGE, Img2ImgRequest
from modules.schema.settings import Settings
from modules.store.job_store import sha256_of
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures

log = logging.getLogger(__name__)

CELL = 8  # pixels; the result is cut to a multiple of it
LEAST, MOST = 64, 4096  # pixels of a result's side, as a request takes them
AHEAD = 1  # jobs that wait in the queue behind the one that runs
REMEMBERED_BATCHES = 20  # that have ended
REMEMBERED_TIMES = 16  # of files, averaged for the estimate
ALIKE = 5  # files in a row that fail in the engine with the same sentence, before the batch is stopped
KEPT_SOURCES = 512 << 20  # bytes of source pictures kept for the page's comparison: a large batch would drive out all
MASK_ENDINGS = ("", "_mask", "-mask", ".mask")
TRACE = re.compile(r"\(id \w+")  # of our own errors, another each time
BLANK = Picture.from_image(Image.new("RGB", (CELL, CELL)))  # stands for a source while a form is looked at

Status = Literal["waiting", "running", "finished", "stopped", "failed"]
Outcome = Literal["waiting", "running", "done", "kept", "failed", "left out", "skipped"]
SETTLED: tuple[Outcome, ...] = ("done", "kept", "failed", "left out", "skipped")


class BatchOptions(Strict):
    """How a batch is made, beside the form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: tuple[Where, ...] = Field(default=("text", "csv"), description="Where a file's own prompt comes from.")
    words_mode: Literal["append", "replace"] = Field(
        default="append", description="Whether a file's own prompt stands behind the form's or in its place."
    )
    own: tuple[Own, ...] = Field(default=(), description="Fields that are taken from a file's metadata.")
    masks_for: Literal["auto", "all", "name"] = Field(
        default="auto",
        description="auto takes a single mask for all, unless it has the name of one of several pictures.",
    )
    unmasked: Literal["leave out", "whole"] = Field(
        default="leave out", description="What becomes of a picture without a mask, where there are masks by name."
    )
    large_sources: Literal["as asked", "only masked"] = Field(
        default="as asked",
        description="only masked works on the mask alone where the whole picture would become much smaller.",
    )
    size: Literal["form", "source"] = Field(
        default="form", description="The form's, or each source's own. The caps hold for both; proportions stay."
    )
    max_side: int | None = Field(default=None, ge=LEAST, le=MOST, description="Pixels of the result's longer side.")
    max_megapixels: float | None = Field(default=None, gt=0, le=16, description="Of the result.")
    output: str = Field(default="batch", description="A folder inside outputs.")
    skip_finished: bool = Field(default=True, description="Pass over what the output folder's manifest calls done.")


@dataclass(frozen=True)
class FileState:
    """One file of a batch. `pictures` are its results, `earlier` the names of those a run before has made.

    `source` is its id under /v1/pictures, if it was kept there.
    """

    index: int
    name: str
    outcome: Outcome = "waiting"
    sentence: str = ""
    notes: tuple[str, ...] = ()
    pictures: tuple[ImageSaved, ...] = ()
    earlier: tuple[str, ...] = ()
    source: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """All results, as `Outputs.locate` takes them."""
        return (*self.earlier, *(picture.path for picture in self.pictures))


class Queue(Protocol):
    """What batches need of the queue; `JobQueue` is one."""

    def submit(
        self,
        kind: Literal["img2img"],
        request: Img2ImgRequest,
        settings: Settings,
        checkpoint: Checkpoint,
        job_id: str = "",
    ) -> Job: ...
    def job(self, job_id: str) -> Job: ...


class OwnSaves:
    """Saves a job's pictures in the job's own way where it has one, else by `otherwise`. Safe from any thread."""

    def __init__(self, otherwise: SavePicture) -> None:
        self.otherwise = otherwise
        self._lock = threading.Lock()
        self._own: dict[str, SavePicture] = {}

    def __call__(self, job: Job, done: ImageDone) -> ImageSaved:
        with self._lock:
            save = self._own.get(job.id, self.otherwise)
        return save(job, done)

    def submit(self, submit: Callable[[], Job], save: SavePicture) -> Job:
        """Submit a job that has `save` for its own before its first picture can come."""
        with self._lock:
            job = submit()
            self._own[job.id] = save
        return job

    def own(self, job_id: str, save: SavePicture) -> None:
        """A job that is to come has `save` for its own."""
        with self._lock:
            self._own[job_id] = save

    def forget(self, job: Job) -> None:
        self.forget_id(job.id)

    def forget_id(self, job_id: str) -> None:
        with self._lock:
            self._own.pop(job_id, None)


@dataclass(frozen=True)
class Materials:
    """What a batch is made of. `form` are the values of an Img2ImgRequest without pictures.

    `brought` are the fields of `Begun` that tell where files and masks came from, to find them again after a restart.
    """

    form: Mapping[str, Any]
    files: FileSet
    masks: FileSet
    options: BatchOptions
    settings: Settings
    catalog: Catalog
    brought: Mapping[str, Any] = field(default_factory=dict)


class Batch:
    """A batch on its way. Its state may be read from any thread; `listeners` are called after each change.

    `settled` is the log: indices of files in the order in which they came to an end.
    """

    def __init__(
        self,
        materials: Materials,
        results: Results,
        seeds: Mapping[str, int],
        journals: Journals,
        past: Told | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = past.begun.id if past else secrets.token_hex(8)
        self.created = past.begun.created if past else time.time()
        self.seeds = past.begun.seeds if past else seeds
        self.taken = past.taken if past else {}
        self.is_parked = False
        self.journal = journals.of(self.id)
        self.options = materials.options
        self.folder = results.folder
        self.listeners = Listeners()
        self.materials = materials
        self.results = results
        self.words = WordBook(materials.files, materials.options.words, materials.options.own)
        self.notes: tuple[str, ...] = tuple(self.words.notes) + _passed_over(materials)
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._status: Status = "waiting"
        self._message = ""
        self._files = [FileState(index, entry.name) for index, entry in enumerate(materials.files.pictures)]
        self._settled: list[int] = []
        self._current: tuple[int, Job] | None = None
        self._skipped: set[str] = set()  # ids of jobs
        self._stopping = past is not None and past.is_stopping
        self._began: float | None = None
        self._ended: float | None = None
        self._times: deque[float] = deque(maxlen=REMEMBERED_TIMES)  # seconds from one made file to the next
        self._marked: float | None = None
        if past is None:
            self.journal.begin(_begun(self, materials))
        else:
            self._remember(past)

    def _remember(self, past: Told) -> None:
        for values in past.files:
            file = _file_state(values)
            if file is None or file.index not in range(len(self._files)) or file.index in self._settled:
                continue
            if self._files[file.index].name == file.name and file.outcome in SETTLED:
                self._files[file.index] = file
                self._settled.append(file.index)
        if past.ending is not None:
            self._status, self._message = _status(past.ending[0]), past.ending[1]
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
        """The file that is being made, and its job."""
        with self._lock:
            return self._current

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def files(self) -> tuple[FileState, ...]:
        with self._lock:
            return tuple(self._files)

    def settled(self, after: int = 0) -> tuple[FileState, ...]:
        """The files that have come to an end, in that order, without the first `after`."""
        with self._lock:
            return tuple(self._files[index] for index in self._settled[after:])

    def pictures(self) -> tuple[str, ...]:
        """The results so far, as `Outputs.locate` takes them, in the order of the files."""
        with self._lock:
            return tuple(path for file in self._files for path in file.paths)

    def summary(self) -> dict[str, Any]:
        """Where the batch stands, as JSON-able values."""
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
        """Make no further files; the one that is being made is ended. What is saved stays. Returns at once."""
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
        """Palimpsest ends, and the batch with it until Palimpsest is started again. Its jobs stay in the queue."""
        self.is_parked = True
        self.listeners.call()

    def skip(self) -> None:
        """End the file that is being made and go on with the next. Returns at once."""
        with self._lock:
            current = self._current
            if current:
                self._skipped.add(current[1].id)
        if current:
            current[1].interrupt()

    # What follows is called by the thread that carries the batch out.

    def begin(self) -> None:
        with self._lock:
            self._status = "running"
            self._began = self._marked = self._clock()
        self.listeners.call()

    def take_up(self, index: int, job: Job) -> None:
        """`job` makes the file now."""
        with self._lock:
            self._current = (index, job)
            self._files[index] = replace(self._files[index], outcome="running")
            stopping = self._stopping
        if stopping:
            job.interrupt()
        self.listeners.call()

    def settle(self, index: int, outcome: Outcome, sentence: str = "", **more: Any) -> None:
        """The file `index` has come to its end."""
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
        """The file `index` is not made: the batch is stopped before its end."""
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
            # Nothing is measured but the running picture: the others may take as long as it does.
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


@dataclass(frozen=True)
class _Ready:
    """A file whose job is in the queue."""

    index: int
    name: str
    key: str
    job: Job
    notes: tuple[str, ...]
    source: str


class Batches:
    """Takes batches, carries them out one after the other, remembers the last twenty. Safe from any thread."""

    def __init__(
        self,
        queue: Queue,
        saves: OwnSaves,
        outputs: Outputs,
        pictures: Pictures,
        draw: random.Random | None = None,
        journals: Journals | None = None,
    ) -> None:
        self.outputs = outputs
        self.journals = journals or Journals()
        self._queue = queue
        self._saves = saves
        self._pictures = pictures
        self._draw = draw or random.SystemRandom()
        self._lock = threading.Lock()
        self._batches: dict[str, Batch] = {}
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._taken_up: list[tuple[Batch, _Run, Callable[[str], None]]] = []
        self._closing = False

    def start(
        self, materials: Materials, prepare: Callable[[str], None] = lambda batch_id: None,
        on_end: Callable[[str], None] = lambda batch_id: None,
    ) -> Batch:  # fmt: skip
        """Begin a batch. `prepare` is called with its id before it begins, `on_end` after it has ended.

        Raises WebuiError for what is wrong with the form, the options or the files as a whole.
        """
        # As in A1111, all files begin with the same seed.
        seeds = {name: self._draw.randrange(SEED_RANGE) for name in ("seed", "subseed")}
        results = Results(self.outputs, materials.options.output)
        batch = Batch(_checked(materials), results, seeds, self.journals)
        try:
            prepare(batch.id)
            with self._lock:
                if self._closing:
                    raise WebuiError("Palimpsest is shutting down.", "Start it again.", status=503)
                self._add(batch)
                self._runner.submit(self._carry_out, batch, on_end)
        except BaseException:
            batch.journal.forget()
            raise
        return batch

    def take_up(self, past: Told, materials: Materials, on_end: Callable[[str], None] = lambda batch_id: None) -> Batch:
        """A batch of an earlier run, as it was. One that had not ended is carried on by `go_on`.

        To be called before the queue takes up its jobs: those of the batch are to be saved as the batch's from their
        first picture on. Raises WebuiError where the batch is none that this version could go on with.
        """
        batch = Batch(materials, Results(self.outputs, materials.options.output), {}, self.journals, past)
        with self._lock:
            self._add(batch)
        if not batch.ended:
            run = _Run(batch, self._queue, self._saves, self._pictures)
            run.expect()
            self._taken_up.append((batch, run, on_end))
        return batch

    def go_on(self) -> None:
        """Carry on what `take_up` has brought, in its order; the queue has its jobs again."""
        for batch, run, on_end in self._taken_up:
            log.info("Batch %s goes on: %d of %d files are settled.", batch.id, len(batch.settled()), batch.total)
            self._runner.submit(self._carry_out, batch, on_end, run)
        self._taken_up.clear()

    def _add(self, batch: Batch) -> None:
        self._batches[batch.id] = batch
        ended = [batch_id for batch_id, old in self._batches.items() if old.ended]
        for batch_id in ended[:-REMEMBERED_BATCHES]:
            self._batches.pop(batch_id).journal.forget()

    def batch(self, batch_id: str) -> Batch:
        """Raises WebuiError (404) if there is none, or none any more."""
        with self._lock:
            batch = self._batches.get(batch_id)
        if batch is None:
            raise WebuiError(
                f"There is no batch {batch_id[:40]!r}.",
                f"The last {REMEMBERED_BATCHES} that ended are remembered. A new run passes over finished files.",
                "id",
                status=404,
            )
        return batch

    def batches(self) -> tuple[Batch, ...]:
        """All that are remembered, newest first."""
        with self._lock:
            return tuple(reversed(self._batches.values()))

    def close(self) -> None:
        """Let all batches be, to go on with after the next start. To be called before the queue is closed: jobs of a
        batch stay there, and what the engine hands over until then is saved as the batch's."""
        with self._lock:
            self._closing = True
        for batch in self.batches():
            batch.park()
        self._runner.shutdown()

    def _carry_out(self, batch: Batch, on_end: Callable[[str], None], run: "_Run | None" = None) -> None:
        """Run `batch` to its end, whatever happens."""
        if batch.is_parked:
            return
        try:
            (run or _Run(batch, self._queue, self._saves, self._pictures)).go()
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("batch %s failed (id %s)", batch.id, trace_id)
            batch.end("failed", f"The batch ended by an error of Palimpsest itself (id {trace_id} in the log).")
        finally:
            if batch.ended:
                on_end(batch.id)


class _Run:
    """One batch being carried out."""

    def __init__(self, batch: Batch, queue: Queue, saves: OwnSaves, pictures: Pictures) -> None:
        self._batch = batch
        self._materials = batch.materials
        self._queue = queue
        self._saves = saves
        self._pictures = pictures
        self._masks = _Masks(batch.materials)
        self._kept_bytes = 0
        self._alike: list[str] = []  # the sentences of the last files, as far as they failed in the engine

    def expect(self) -> None:
        """Have the jobs that an earlier run has put into the queue saved as the batch's, once the queue has them."""
        entries = self._materials.files.pictures
        for taken in self._unsettled():
            self._saves.own(taken.job, self._saving(entries[taken.index].name))

    def go(self) -> None:
        batch = self._batch
        batch.begin()
        waiting = deque(self._found_again())
        trouble = ""
        known = {file.index for file in batch.settled()} | {ready.index for ready in waiting}
        for index, entry in enumerate(self._materials.files.pictures):
            if index in known:
                continue
            if batch.is_stopping or batch.is_parked or trouble:
                break
            ready = self._made_ready(index, entry)
            if ready:
                waiting.append(ready)
            while len(waiting) > AHEAD and not trouble and not batch.is_parked:
                trouble = self._see_through(waiting.popleft())
        while waiting and not batch.is_parked:
            if batch.is_stopping or trouble:
                waiting[0].job.interrupt()
            trouble = self._see_through(waiting.popleft()) or trouble
        if batch.is_parked:
            return
        if trouble:
            batch.end("failed", trouble)
        elif batch.is_stopping and len(batch.settled()) < batch.total:
            batch.end("stopped", "Stopped; run it again to go on, finished files are passed over.")
        else:
            batch.end("finished")

    def _unsettled(self) -> list[Taken]:
        """The jobs of an earlier run whose files are not settled, in their order."""
        settled = {file.index for file in self._batch.settled()}
        return [taken for index, taken in sorted(self._batch.taken.items()) if index not in settled]

    def _found_again(self) -> list[_Ready]:
        """Those of them that the queue has; a file whose job never came there is made like any other."""
        found: list[_Ready] = []
        for taken in self._unsettled():
            try:
                job = self._queue.job(taken.job)
            except WebuiError:
                self._saves.forget_id(taken.job)
                continue
            name = self._materials.files.pictures[taken.index].name
            found.append(_Ready(taken.index, name, taken.key, job, taken.notes, taken.source))
        return found

    def _made_ready(self, index: int, entry: Entry) -> _Ready | None:
        """Put the file's job into the queue; None if the file is settled without one."""
        batch = self._batch
        try:
            return self._job_for(index, entry)
        except WebuiError as error:
            if error.status == 503:  # Palimpsest ends
                batch.park()
            else:
                batch.settle(index, "failed", str(error))
        except _LeftOut as reason:
            batch.settle(index, "left out", str(reason))
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("file %s of batch %s failed (id %s)", entry.name, batch.id, trace_id)
            batch.settle(index, "failed", f"{entry.name}: an error of Palimpsest itself (id {trace_id} in the log).")
        return None

    def _job_for(self, index: int, entry: Entry) -> _Ready | None:
        materials, options, batch = self._materials, self._materials.options, self._batch
        data = entry.read()
        if not data:
            raise WebuiError(f"{entry.name}: the file is empty (0 bytes).")
        # Only its header is read until it is clear that the file has to be made at all.
        try:
            picture = Picture.checked_before(data, hashlib.sha256(data).hexdigest())
        except WebuiError:
            picture = Picture.from_bytes(data, entry.name)  # which names it
        words = batch.words.words(entry, picture, materials.settings, materials.catalog)
        mask, notes = self._masks.of(entry)
        values = words.over(materials.form, options.words_mode == "append")
        request = Img2ImgRequest.parse({**values, "init_images": (picture,), "mask": mask})
        request, alone = _masked_alone(sized(request, options), options)
        settings = materials.settings.overridden(request.override_settings)
        checkpoint = materials.catalog.checkpoint(settings.sd_model_checkpoint)
        vae = materials.catalog.vae_for(settings.sd_vae, checkpoint)
        key = key_of(request, settings, checkpoint, vae.name if vae else "")
        done = batch.results.finished(entry.name, key) if options.skip_finished else None
        if done is not None:
            batch.settle(index, "kept", "It was finished before.", earlier=done.pictures)
            return None
        picture = Picture.from_bytes(data, entry.name)
        request, fitted = _fitted(request, picture, options)
        seeds = {name: seed for name, seed in batch.seeds.items() if getattr(request, name) == -1}
        request = request.model_copy(update=seeds)
        source = self._keep_source(request.init_images[0])
        taken = Taken(index, secrets.token_hex(8), key, (*picture.notes, *words.notes, *notes, *alone, *fitted), source)
        batch.journal.take(taken)  # first: a job of which the batch knew nothing would be nobody's after a crash
        self._saves.own(taken.job, self._saving(entry.name))
        try:
            job = self._queue.submit("img2img", request, settings, checkpoint, taken.job)
        except BaseException:
            self._saves.forget_id(taken.job)
            raise
        return _Ready(index, entry.name, key, job, taken.notes, source)

    def _see_through(self, ready: _Ready) -> str:
        """Wait for the file's job and settle the file. A sentence if the batch cannot go on."""
        batch, job = self._batch, ready.job
        batch.take_up(ready.index, job)
        self._wait_for(job)
        if not job.ended:  # Palimpsest ends: its saver is still needed
            return ""
        self._saves.forget(job)
        ending = job.entries()[-1].event
        pictures = job.images
        if job.status == "failed":
            job.request = _without_pictures(job.request)  # a hundred failed ones would be kept with their sources
        if isinstance(ending, Failed):
            sentence = " ".join(filter(None, (ending.message, ending.hint)))
            batch.settle(ready.index, "failed", sentence, pictures=pictures, notes=ready.notes, source=ready.source)
            plain = TRACE.sub("", sentence)
            self._alike = [*self._alike, plain] if self._alike[-1:] == [plain] else [plain]
            if len(self._alike) < ALIKE:
                return ""
            return f"{ALIKE} files in a row failed alike, the others were not tried: {sentence}"
        if job.status != "finished":
            if batch.was_skipped(job):
                batch.settle(ready.index, "skipped", "Skipped.", pictures=pictures, source=ready.source)
            else:  # interrupted, here or from elsewhere
                batch.leave(ready.index)
                batch.stop()
            return ""
        self._alike = []
        sentence = ""
        if pictures:
            try:
                batch.results.note(Done(ready.name, ready.key, tuple(picture.path for picture in pictures)))
            except WebuiError as error:
                sentence = str(error)
        batch.settle(ready.index, "done", sentence, pictures=pictures, notes=ready.notes, source=ready.source)
        return ""

    def _wait_for(self, job: Job) -> None:
        """Returns when `job` has ended, or Palimpsest does."""
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

    def _saving(self, name: str) -> SavePicture:
        """Saves a job's pictures under the name of its source, the first of them free or as those before were named."""
        results = self._batch.results
        base = ""

        def save(job: Job, done: ImageDone) -> ImageSaved:
            nonlocal base
            pictures = job.request.images
            save_source(results.outputs, job)
            image = Image.frombytes(done.mode, (done.width, done.height), done.pixels)

            def announce(path: str, data: bytes) -> None:
                job.announce(done.saved(path), sha256_of(data))

            base = base or _base_of(job.images, pictures)
            while True:
                base = base or results.free_name(name, pictures)
                free = numbered(base, done.index % pictures, pictures) + done.suffix
                try:
                    return done.saved(results.save(image, free, done.infotext, job.settings, announce))
                except FileExistsError:
                    base = ""  # somebody was quicker

        return save

    def _keep_source(self, picture: Picture) -> str:
        """Have the page find the source beside its result; "" where that would drive out other people's pictures."""
        self._kept_bytes += len(picture.data)
        if self._kept_bytes > KEPT_SOURCES:
            return ""
        self._pictures.put(picture)
        return picture.sha256


class _LeftOut(Exception):
    """A file that is not made, and why."""


class _Masks:
    """Which mask a picture has. Masks are read when they are needed; one for all is read once."""

    def __init__(self, materials: Materials) -> None:
        self._options = materials.options
        self._masks = materials.masks.pictures
        self._by_key = {entry.key: entry for entry in reversed(self._masks)}
        self._by_stem = {entry.stem: entry for entry in reversed(self._masks)}
        self._is_one = self._one_for_all(materials.files)
        self._one: Picture | None = None

    def of(self, entry: Entry) -> tuple[Picture | None, tuple[str, ...]]:
        """The picture's mask, and sentences about it. Raises _LeftOut, or WebuiError if it cannot be read."""
        if not self._masks:
            return None, ()
        if self._is_one:
            self._one = self._one or self._read(self._masks[0])
            return self._one, ()
        found = self._named(entry)
        if found is not None:
            return self._read(found), ()
        if self._options.unmasked == "whole":
            return None, ("There is no mask of its name: it was redrawn whole.",)
        raise _LeftOut("There is no mask of its name.")

    def _one_for_all(self, files: FileSet) -> bool:
        if self._options.masks_for != "auto":
            return self._options.masks_for == "all"
        if len(self._masks) != 1:
            return False
        return len(files.pictures) == 1 or all(self._named(entry) is None for entry in files.pictures)

    def _named(self, entry: Entry) -> Entry | None:
        """The mask of the picture's name, in the same folder or in any."""
        for names, name in ((self._by_key, entry.key), (self._by_stem, entry.stem)):
            for ending in MASK_ENDINGS:
                if name + ending in names:
                    return names[name + ending]
        return None

    def _read(self, entry: Entry) -> Picture:
        return Picture.from_bytes(entry.read(), f"the mask {entry.name}")


def within(size: Size, max_side: int | None, max_megapixels: float | None) -> Size:
    """`size` in whole cells, scaled down in its proportions until it keeps the caps.

    >>> within(Size(4000, 3000), 1024, None)
    Size(width=1024, height=768)
    """
    side = min(max_side or MOST, MOST)
    shares = [1.0, side / max(size)]
    if max_megapixels is not None:
        shares.append(math.sqrt(max_megapixels * 1e6 / (size.width * size.height)))
    share = min(shares)
    # A hair more, so that a side that comes out at 767.9999 is 768.
    cells = [max(LEAST, int(pixels * share + 1e-6) // CELL * CELL) for pixels in size]
    return Size(*cells)


def sized(request: Img2ImgRequest, options: BatchOptions) -> Img2ImgRequest:
    """The request with the size its result shall have."""
    source = Size(request.init_images[0].width, request.init_images[0].height)
    if options.size == "source":
        asked = source
    elif request.resize_by is not None:
        asked = scaled(source, request.resize_by)
    else:
        asked = Size(request.width, request.height)
    size = within(asked, options.max_side, options.max_megapixels)
    is_capped = options.max_side is not None or options.max_megapixels is not None
    if options.size == "form" and (not is_capped or size == _whole_cells(asked)):
        return request  # as A1111 makes it
    update: dict[str, Any] = {"width": size.width, "height": size.height, "resize_by": None}
    if options.size == "source":
        update["resize_mode"] = 0  # the proportions are the source's but for a few pixels
    return request.model_copy(update=update)


def _masked_alone(request: Img2ImgRequest, options: BatchOptions) -> tuple[Img2ImgRequest, tuple[str, ...]]:
    """The request, a large source's mask worked on alone where the options say so, and a sentence about that."""
    is_whole = request.mask is not None and request.inpaint_full_res == 0
    if not is_whole or options.large_sources == "as asked" or options.size == "source" or not is_source_large(request):
        return request, ()
    source = request.init_images[0]
    note = f"Only the masked part was worked on, so that the rest keeps its {source.width}x{source.height} pixels."
    return request.model_copy(update={"inpaint_full_res": 1}), (note,)


def key_of(request: Img2ImgRequest, settings: Settings, checkpoint: Checkpoint, vae: str = "") -> str:
    """The hash of everything that makes a file's pictures: source, mask, request, settings, checkpoint, another `vae`.

    Of the settings those count that the pictures' text would tell: the others change no pixel, of this request's at
    least.
    """
    pictures = {"init_images", "mask", "latent_mask", "override_settings"}
    acting = effective(request, settings)
    names = sorted(told(request, settings, acting, NOTED))
    made_of = {
        "source": [picture.sha256 for picture in request.init_images],
        "mask": [picture.sha256 if picture else "" for picture in (request.mask, request.latent_mask)],
        "request": request.model_dump(exclude=pictures),
        "settings": {name: getattr(acting, name) for name in names},
        "checkpoint": checkpoint.name,
        **({"vae": vae} if vae else {}),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()


def _whole_cells(size: Size) -> Size:
    return Size(size.width // CELL * CELL, size.height // CELL * CELL)


def _fitted(request: Img2ImgRequest, picture: Picture, options: BatchOptions) -> tuple[Img2ImgRequest, tuple[str, ...]]:
    """The request with its checked source, and a mask of the source's size.

    Where only the masked part is redrawn, the result is as large as the source: there the caps scale the source.
    """
    mask = request.mask
    notes: list[str] = []
    if mask is not None and (mask.width, mask.height) != (picture.width, picture.height):
        notes.append(
            f"The mask ({mask.width}x{mask.height}) was brought to the picture's size "
            f"({picture.width}x{picture.height})."
        )
        mask = _resized(mask, Size(picture.width, picture.height))
    source = Size(picture.width, picture.height)
    if mask is not None and request.inpaint_full_res == 1:
        size = within(source, options.max_side, options.max_megapixels)
        if max(size) < max(source) and (options.max_side or options.max_megapixels):
            picture, mask = _resized(picture, size), _resized(mask, size)
            notes.append(f"The picture was scaled down to {size.width}x{size.height}.")
    return request.model_copy(update={"init_images": (picture,), "mask": mask}), tuple(notes)


def _resized(picture: Picture, size: Size) -> Picture:
    return Picture.from_image(picture.open().resize(size, Image.Resampling.LANCZOS))


def _without_pictures(request: Any) -> Any:
    return request.model_copy(update={"init_images": (), "mask": None, "latent_mask": None})


def _checked(materials: Materials) -> Materials:
    """Raises WebuiError for a form that no file could be made with, before anything begins."""
    if not materials.files.pictures:
        raise WebuiError("There are no pictures in what was brought.", "Choose PNG, JPEG or WebP files.", "files")
    unknown = [name for name in ("init_images", "mask", "latent_mask") if materials.form.get(name)]
    if unknown:
        raise WebuiError(f"request: {unknown[0]} is each file's own in a batch.", "Leave it out.", unknown[0])
    form = {name: value for name, value in materials.form.items() if name in params(Img2ImgRequest) or value}
    request = Img2ImgRequest.parse({**form, "init_images": (BLANK,)})
    settings = materials.settings.overridden(request.override_settings)
    materials.catalog.checkpoint(settings.sd_model_checkpoint)
    materials.catalog.vae(settings.sd_vae)
    return replace(materials, form=form)


def _passed_over(materials: Materials) -> tuple[str, ...]:
    others = materials.files.others
    if not others:
        return ()
    shown: Sequence[str] = others[:5]
    return (f"Passed over, no pictures: {', '.join(shown)}{' …' * (len(others) > len(shown))}.",)


def _base_of(images: Sequence[ImageSaved], pictures: int) -> str:
    """The name that a job's pictures have in common, as those that are saved tell it; "" if none is."""
    for image in (image for image in images if not image.suffix):
        path = PurePosixPath(image.path)
        return str(path.with_suffix("")).removesuffix("" if pictures == 1 else f"-{image.index + 1}")
    return ""


def _begun(batch: Batch, materials: Materials) -> Begun:
    return Begun(
        batch.id,
        batch.created,
        tuple(entry.name for entry in materials.files.pictures),
        dict(materials.form),
        materials.options.model_dump(mode="json"),
        materials.settings.model_dump(mode="json", exclude_defaults=True),
        dict(batch.seeds),
        **materials.brought,
    )


FILE_STATE = TypeAdapter(FileState)


def _file_state(values: Mapping[str, Any]) -> FileState | None:
    """What `asdict` made of it, read from JSON; None for anything else."""
    try:
        return FILE_STATE.validate_python(values)
    except ValidationError as error:
        log.warning("What became of a file of a batch cannot be read: %s", error.errors()[0]["msg"])
        return None


def _status(name: str) -> Status:
    return "stopped" if name == "stopped" else "failed" if name == "failed" else "finished"
