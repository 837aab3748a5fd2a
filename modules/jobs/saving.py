"""Saves finished pictures, in the web process, while the engine makes the next one."""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

from PIL import Image

from modules.base import logs
from modules.base.errors import WebuiError
from modules.base.events import Failed, ImageDone, ImageSaved, LargeImageDone, PictureDone
from modules.jobs.job import Job
from modules.store.job_store import JobStore, sha256_of
from modules.store.metadata import PARAMETERS, Encoded, as_file
from modules.store.outputs import Outputs

log = logging.getLogger(__name__)

SavePicture = Callable[[Job, PictureDone], ImageSaved]
Names = Callable[[Job, PictureDone], Iterator[str]]  # in order, relative to the outputs folder, no extension
LargeSaved = Callable[[Path, bytes], None]  # called with a large picture's file and a reduced copy of the picture

UNSAVED = 8  # pictures that may wait; after that the engine waits too, so that a slow disk costs time, not memory


class Saver:
    """Turns a finished picture into a file: encodes it, announces it to the job store, writes it. Nothing else does.

    Pictures from the page are numbered, as in A1111; a batch provides `names`. A1111's API calls the two halves
    separately, because its client may want only the bytes.
    """

    def __init__(self, outputs: Outputs, names: Names | None = None, large_saved: LargeSaved = lambda *_: None) -> None:
        self.outputs = outputs
        self.large_saved = large_saved
        self._names = names or self._numbered

    def __call__(self, job: Job, done: PictureDone) -> ImageSaved:
        if isinstance(done, LargeImageDone):
            return self.published(job, done)
        return self.written(job, done, self.encoded(job, done))

    def published(self, job: Job, done: LargeImageDone) -> ImageSaved:
        """Moves a file that the engine has written to the outputs folder. Raises WebuiError if the disk refuses."""
        self.keep_source(job)

        def announce(path: str) -> None:
            job.announce(done.saved(path), done.sha256)

        path = self.outputs.publish(self._names(job, done), Path(done.path), done.format, announce)
        self.large_saved(self.outputs.locate(path), done.small)
        return done.saved(path)

    def encoded(self, job: Job, done: ImageDone) -> Encoded:
        """The picture as a file's bytes, in the format of the job's settings."""
        image = Image.frombytes(done.mode, (done.width, done.height), done.pixels)
        texts = dict(done.texts) if job.settings.samples_format == "png" else {}
        infotext = texts.pop(PARAMETERS, "") if texts else done.infotext
        return as_file(image, infotext, job.settings, texts)

    def written(self, job: Job, done: ImageDone, file: Encoded) -> ImageSaved:
        """Writes the picture to the outputs folder, after its source. Raises WebuiError if the disk refuses."""
        self.keep_source(job)

        def announce(path: str, data: bytes) -> None:
            job.announce(done.saved(path), sha256_of(data))

        return done.saved(self.outputs.write(self._names(job, done), file, announce))

    def keep_source(self, job: Job) -> None:
        """Saves the source of a job before its first picture, if the settings say so."""
        if job.settings.save_init_img and not job.images:
            for picture in job.kind.sources(job.request):
                self.outputs.save_source(picture, job.settings)

    def _numbered(self, job: Job, done: PictureDone) -> Iterator[str]:
        return self.outputs.numbered(job.kind.name, done.seed, done.sheet, done.suffix)


class JobSavers:
    """Chooses the saver of each job: a registered one, or `default`. Safe to use from any thread."""

    def __init__(self, default: Saver) -> None:
        self.default = default
        self._lock = threading.Lock()
        self._savers: dict[str, SavePicture] = {}  # by the job's id

    def __call__(self, job: Job, done: PictureDone) -> ImageSaved:
        with self._lock:
            save = self._savers.get(job.id, self.default)
        return save(job, done)

    def submit(self, submit: Callable[[], Job], save: SavePicture) -> Job:
        """Submits a job that is saved by `save`, which is registered before its first picture can arrive."""
        with self._lock:
            job = submit()
            self._savers[job.id] = save
        return job

    def set(self, job_id: str, save: SavePicture) -> None:
        """`save` saves the job with this id, which may not have been submitted yet."""
        with self._lock:
            self._savers[job_id] = save

    def forget(self, job_id: str) -> None:
        """Removes the job's saver, because the job is over or will never be submitted."""
        with self._lock:
            self._savers.pop(job_id, None)


class Saves:
    """The pictures of one run, saved in order on `executor`'s single thread, and recorded in job store and log.

    Pictures that an earlier run has saved are not saved again. After the first failure nothing more is saved,
    `on_failure` is called once, and `finish` returns the reason.
    """

    def __init__(
        self, job: Job, save: SavePicture, executor: Executor, job_store: JobStore, on_failure: Callable[[], None]
    ) -> None:
        self._job = job
        self._there = {image.index for image in job.images}
        self._job_store = job_store
        self._save = save
        self._executor = executor
        self._on_failure = on_failure
        self._waiting: deque[Future[None]] = deque()
        self.failure: Failed | None = None

    def add(self, done: PictureDone) -> None:
        if done.index in self._there:
            return
        self._waiting.append(self._executor.submit(self._save_about, done))
        if len(self._waiting) > UNSAVED:
            self._waiting.popleft().result()

    def finish(self) -> Failed | None:
        """Waits until all pictures are saved; returns None, or the failure."""
        while self._waiting:
            self._waiting.popleft().result()
        return self.failure

    def _save_about(self, done: PictureDone) -> None:
        with logs.about_job(self._job.id):  # this is not the job's thread
            self._save_one(done)

    def _save_one(self, done: PictureDone) -> None:
        if self.failure is not None:
            return
        try:
            saved = self._save(self._job, done)
            self._job_store.saved(self._job.id, saved)
        except WebuiError as error:
            self.failure = Failed(error.message, error.hint, error.field)
        except OSError as error:
            self.failure = Failed(
                f"Picture {done.index + 1} could not be saved: {error.strerror or error}.",
                "Free some disk space, or make the outputs folder writable; pictures saved earlier are kept.",
            )
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("saving picture %d of job %s failed (id %s)", done.index, self._job.id, trace_id)
            self.failure = Failed(f"Picture {done.index + 1} could not be saved (id {trace_id} in the log).")
        else:
            self._job.append(saved)
        if self.failure is not None:
            self._on_failure()
