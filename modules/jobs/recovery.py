"""Which parts of a job are finished or missing, and how it resumes after a crash of the engine or of Palimpsest."""

import logging
from collections.abc import Callable
from typing import Any

from modules.base.errors import WebuiError
from modules.base.events import Failed, Finished, Unkept
from modules.jobs.job import Job, JobSpec
from modules.jobs.workers.process import EngineDied
from modules.store.job_store import StoredJob

log = logging.getLogger(__name__)

DEATHS_OF_A_BATCH = 2  # crashes of the engine process during the same batch, before that batch is skipped
DEATHS_OF_LOADING = 4  # consecutive crashes while the engine process loads a job's checkpoint, before the job fails
CUTS_OF_A_JOB = 10  # crashes of Palimpsest during a job, before it fails: rarely the job's fault, but retries must end

Readmit = Callable[[JobSpec], JobSpec]


class DiedRunning(EngineDied):
    """The engine process died while making batch `batch`, not while loading a checkpoint."""

    def __init__(self, death: EngineDied, batch: int) -> None:
        super().__init__(death.message, death.hint, death.of_file)
        self.batch = batch


class DiedLoading(EngineDied):
    """The engine process died while loading `name`, for the `times`th time since its last successful load."""

    def __init__(self, death: EngineDied, name: str, times: int) -> None:
        super().__init__(death.message, death.hint)
        self.name = name
        self.times = times


def keep(method: Callable[..., object], *values: object) -> None:
    """Writes to the job store; a disk error is only logged, because it is no reason to end a job."""
    try:
        method(*values)
    except WebuiError as error:
        log.error("%s After a restart this job may be reported differently.", error)


def first_batch(job: Job) -> int:
    """The first batch with an unsaved picture.

    A batch that a person skipped stays skipped if a later one is saved, as does a parked one. A job that cannot be
    divided starts again.
    """
    results = job.results
    if results.is_whole:
        return 0
    passed = max(job.left_out, *(parked.batch + 1 for parked in job.parked), 0)
    size, count = results.batch, results.pictures
    there = {(image.index % count, image.suffix) for image in job.images}
    saved = {index for index, _ in there if there.issuperset((index, suffix) for suffix in results.suffixes)}
    if not saved:
        return passed
    last = max(saved) // size
    return max(passed, last + 1 if saved.issuperset(range(last * size, (last + 1) * size)) else last)


def missing(job: Job) -> list[tuple[Any, int]]:
    """(a request for what `job` has not made, the number of batches it leaves out): for each parked batch, and for
    those after the last finished one."""
    if job.results.is_whole:
        return [(job.request, 0)]
    parts = [(job.kind.first_batches(job.request, each.batch + 1), each.batch) for each in job.parked]
    first = first_batch(job)
    return [*parts, (job.request, first)] if first < job.results.batches else parts


def failed_by(death: EngineDied) -> Failed:
    """The ending of a job whose engine process crashed too often."""
    if isinstance(death, DiedLoading):
        when = f"It ended {death.times} times in a row while it loaded {death.name}."
        return Failed(death.message, f"{when} Close other programs or choose another checkpoint, then retry the job.")
    return Failed(death.message, death.hint)


def with_parked(job: Job, ending: Finished | Failed) -> Finished | Failed:
    """The ending of a job: a job with a parked batch has failed, even if it finished the others."""
    parked = job.parked
    if not parked or (isinstance(ending, Finished) and ending.interrupted):
        return ending
    if isinstance(ending, Failed) and ending.message != parked[-1].message:
        return ending
    size, count = job.results.batch, job.results.pictures
    numbers = [str(each.batch * size + place + 1) for each in parked for place in range(size)]
    which = f"picture {numbers[0]}" if len(numbers) == 1 else f"pictures {', '.join(numbers)}"
    return Failed(
        parked[-1].message,
        f"It ended {DEATHS_OF_A_BATCH} times while making {which} of {count}, so that batch was skipped. "
        "Retry the job to make the missing pictures, or choose a smaller size or batch size.",
    )


def readmitted(job: Job, readmit: Readmit) -> Failed | None:
    """Finds the files that a job of an earlier run names. Returns why that failed, None if it succeeded."""
    try:
        job.resources = readmit(JobSpec(job.kind, job.request, job.settings, job.resources)).resources
    except WebuiError as error:
        return Failed(error.message, error.hint, error.field)
    return None


def resume_failure(stored: StoredJob) -> Failed | None:
    """Why a job of an earlier run is not run again; None if it is."""
    if stored.reason:
        return Failed(stored.reason, "Submit it again.")
    if any(isinstance(event, Unkept) for event in stored.events):
        return Failed(
            "Palimpsest stopped before the job finished, and the client waiting for its pictures lost the connection.",
            "Send it again; with save_images, pictures are saved to disk and the job survives a restart.",
        )
    if stored.deaths >= DEATHS_OF_A_BATCH:
        return Failed(
            f"The engine process ended {stored.deaths} times while making the same picture of this job.",
            "Choose a smaller size or batch size.",
        )
    if stored.cuts >= CUTS_OF_A_JOB:
        return Failed(
            f"Palimpsest was interrupted {stored.cuts} times while making the same picture of this job.",
            "Submit it again if this had another cause.",
        )
    return None
