"""Jobs by the names that clients of A1111's API give them (`force_task_id`)."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from modules.base.errors import WebuiError
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue

REMEMBERED = 1000  # names, the newest


class Tasks:
    """Task names of jobs; thread-safe. If a name is reused, it means the newer job, as in A1111."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self._ids: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # name -> ids of jobs
        self._stopped: dict[str, str] = {}  # id of the running job -> "interrupted" or "skipped"

    def name(self, task_id: str, jobs: Sequence[Job]) -> None:
        with self._lock:
            self._ids[task_id] = tuple(job.id for job in jobs)
            self._ids.move_to_end(task_id)
            while len(self._ids) > REMEMBERED:
                self._ids.popitem(last=False)

    def jobs(self, task_id: str) -> tuple[Job, ...]:
        """The remembered jobs with this name or id."""
        with self._lock:
            ids = self._ids.get(task_id, (task_id,))
        found: list[Job] = []
        for job_id in ids:
            try:
                found.append(self._queue.job(job_id))
            except WebuiError:
                continue
        return tuple(found)

    def name_of(self, job: Job) -> str:
        """The name of a job; its id if it has none."""
        with self._lock:
            return next((name for name, ids in reversed(self._ids.items()) if job.id in ids), job.id)

    def stopping(self, job: Job | None, how: str) -> None:
        """Record that a client has asked to interrupt or skip the running job."""
        with self._lock:
            self._stopped = {job.id: how} if job else {}

    def stopped(self, job: Job | None) -> str:
        """How a client has asked the running job to stop; "" if none has."""
        with self._lock:
            return self._stopped.get(job.id, "") if job else ""

    def running(self) -> Job | None:
        return next((job for job in self._queue.current() if job.status == "running"), None)
