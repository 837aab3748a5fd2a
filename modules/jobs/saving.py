"""Finished pictures become files, in the web process, while the engine makes the next one."""

import logging
import secrets
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

from PIL import Image

from modules.base import logs
from modules.base.errors import WebuiError
from modules.base.events import Failed, ImageDone, ImageSaved
from modules.jobs.job import Job
from modules.schema.request import Img2ImgRequest
from modules.store.job_store import JobStore, sha256_of
from modules.store.outputs import Outputs

log = logging.getLogger(__name__)

SavePicture = Callable[[Job, ImageDone], ImageSaved]

UNSAVED = 8  # pictures that may wait; then the engine waits too, so that a slow disk costs time and not memory


def save_to(outputs: Outputs) -> SavePicture:
    """Saves each picture in `outputs`, in the format its job's settings name."""

    def save(job: Job, done: ImageDone) -> ImageSaved:
        save_source(outputs, job)
        image = Image.frombytes(done.mode, (done.width, done.height), done.pixels)

        def announce(path: Path, data: bytes) -> None:
            job.announce(done.saved(outputs.relative(path)), sha256_of(data))

        path = outputs.save(image, job.kind, done.seed, done.infotext, job.settings, announce, done.sheet, done.suffix)
        return done.saved(outputs.relative(path))

    return save


def save_source(outputs: Outputs, job: Job) -> None:
    """Keep the source of a job before its first picture, where the settings say so."""
    if job.settings.save_init_img and isinstance(job.request, Img2ImgRequest) and not job.images:
        for picture in job.request.init_images:
            outputs.save_source(picture, job.settings)


class Saves:
    """The pictures of one run, saved in order on `executor`'s one thread and told to job store and log of the job.

    What an earlier run of the job has saved is not saved again. After the first failure nothing more is saved,
    `on_failure` is called once, and `finish` tells the reason.
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

    def add(self, done: ImageDone) -> None:
        if done.index in self._there:
            return
        self._waiting.append(self._executor.submit(self._save_about, done))
        if len(self._waiting) > UNSAVED:
            self._waiting.popleft().result()

    def finish(self) -> Failed | None:
        """Wait for all; None if all are saved."""
        while self._waiting:
            self._waiting.popleft().result()
        return self.failure

    def _save_about(self, done: ImageDone) -> None:
        with logs.about_job(self._job.id):  # another thread than the job's
            self._save_one(done)

    def _save_one(self, done: ImageDone) -> None:
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
                "Make room on the disk, or make the outputs folder writable; pictures saved before are kept.",
            )
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("saving picture %d of job %s failed (id %s)", done.index, self._job.id, trace_id)
            self.failure = Failed(f"Picture {done.index + 1} could not be saved (id {trace_id} in the log).")
        else:
            self._job.append(saved)
        if self.failure is not None:
            self._on_failure()
