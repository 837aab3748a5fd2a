"""Learns from finished jobs how fast this machine enlarges, to forecast the time of the next job."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from modules.base.errors import WebuiError
from modules.base.events import Finished
from modules.images.enlarge import passes_to, scaled
from modules.images.geometry import Size
from modules.jobs.job import Job
from modules.processing.kinds.extras import EXTRAS
from modules.processing.kinds.generate import IMG2IMG
from modules.processing.upscale import scale_of
from modules.schema.catalog import Catalog
from modules.schema.request import Img2ImgRequest
from modules.schema.request.extras import ExtrasRequest
from modules.schema.upscalers import NONE, Upscaler, find
from modules.store.speeds import Run, Speeds

log = logging.getLogger(__name__)

REDRAWS: Final = ("Ultimate SD upscale", "SD upscale")  # scripts that redraw what they enlarge


class Queue(Protocol):
    """The methods of the queue that are used here."""

    def current(self) -> tuple[Job, ...]: ...
    def job(self, job_id: str) -> Job: ...


@dataclass(frozen=True)
class Expected:
    """How a job is measured: the name of its runs, and its work or the work per pixel of its result."""

    name: str
    work: float = 0.0
    work_per_pixel: float = 0.0


class Learner:
    """Records the speed of finished jobs whenever the queue has changed."""

    def __init__(
        self, queue: Queue, speeds: Speeds, catalog: Callable[[], Catalog], locate: Callable[[str], Path]
    ) -> None:
        self._queue = queue
        self._speeds = speeds
        self._catalog = catalog
        self._locate = locate
        self._lock = threading.Lock()
        self._expected: dict[str, Expected] = {}

    def look(self) -> None:
        current = self._queue.current()
        with self._lock:
            for job in current:
                if job.id not in self._expected and (expected := expected_of(job, self._catalog())) is not None:
                    self._expected[job.id] = expected
            gone = set(self._expected) - {job.id for job in current}
            ended = [(job_id, self._expected.pop(job_id)) for job_id in gone]
        for job_id, expected in ended:
            try:
                self._note(self._queue.job(job_id), expected)
            except (WebuiError, OSError) as error:  # the job is forgotten or its file is gone: skip it
                log.debug("job %s taught nothing: %s", job_id, error)

    def _note(self, job: Job, expected: Expected) -> None:
        ending = job.entries()[-1].event if job.ended else None
        if not isinstance(ending, Finished) or ending.interrupted or not job.images or job.is_resumed:
            return
        image = job.images[0]
        pixels = image.width * image.height
        work = expected.work or expected.work_per_pixel * pixels
        size = self._locate(image.path).stat().st_size
        if min(work, ending.seconds, pixels, size) > 0:
            self._speeds.note(expected.name, Run(work, ending.seconds, pixels, size))


def expected_of(job: Job, catalog: Catalog) -> Expected | None:
    """How to measure a job; None if nothing can be learned from it."""
    request: Any = job.request
    if job.kind.name == EXTRAS.name and isinstance(request, ExtrasRequest) and request.image is not None:
        row = find(request.upscaler_1, catalog.upscalers)
        is_alone = request.upscaler_2 == NONE or request.extras_upscaler_2_visibility == 0
        if row is None or row.name == NONE or not is_alone or request.denoise > 0:
            return None
        return Expected(row.name, work_of(row, Size(request.image.width, request.image.height), request))
    if job.kind.name == IMG2IMG.name and isinstance(request, Img2ImgRequest) and request.script_name in REDRAWS:
        checkpoint = job.resources.checkpoint
        return Expected(redraw_name(checkpoint.name), work_per_pixel=redraw_work(request)) if checkpoint.name else None
    return None


def work_of(row: Upscaler, size: Size, request: ExtrasRequest) -> float:
    """The number of pixels that a network reads over all its passes; without a network, the pixels that are made."""
    target = scaled(size, scale_of(request, size))
    if row.path is None:
        return target.width * target.height
    passes = passes_to(size, target, row.factor or 1)
    return sum(size.width * size.height * row.factor ** (2 * number) for number in range(passes))


def redraw_name(checkpoint: str) -> str:
    return f"redraw by {checkpoint}"


def redraw_work(request: Img2ImgRequest) -> float:
    """The number of steps that each redrawn pixel goes through."""
    return max(request.steps * request.denoising_strength, 1.0)
