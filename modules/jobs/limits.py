"""How many jobs one client may have in the queue at a time."""

import threading
from collections.abc import Callable
from typing import TypeVar

from modules.base.errors import Busy
from modules.flags.flags import MAX_QUEUED_JOBS
from modules.jobs.job import Job

Queued = TypeVar("Queued", bound=Job)

SECONDS_TO_RETRY = 5


class JobLimits:
    """Counts the queued and running jobs of each client; more than `most` are rejected with 429."""

    def __init__(self, most: int = MAX_QUEUED_JOBS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._jobs: dict[Job, str] = {}  # the client of each job

    def submit(self, client: str, queue: Callable[[], Queued]) -> Queued:
        """The job made by `queue`. Raises Busy if `client` has too many jobs."""
        with self._lock:
            self._jobs = {job: owner for job, owner in self._jobs.items() if not (job.ended or job.is_parked)}
            waiting = sum(owner == client for owner in self._jobs.values())
            if waiting >= self._most:
                raise Busy(
                    f"You have {waiting} jobs queued or running; the limit is {self._most}.",
                    "Wait until some have finished, or start Palimpsest with a larger --max-queued-jobs.",
                    retry_after=SECONDS_TO_RETRY,
                )
            job = queue()
            self._jobs[job] = client
            return job
