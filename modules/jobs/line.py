"""The line of jobs: waiting, running, and recently finished."""

import threading
from collections import deque

from modules.base.events import Event, Finished, Queued, Staged
from modules.jobs.job import Job

REMEMBERED_JOBS = 100  # ended jobs


class Line:
    """Jobs in order. Hold `changed` to read or change it, and notify it after a change."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.jobs: dict[str, Job] = {}  # oldest first
        self.waiting: deque[Job] = deque()
        self.running: Job | None = None
        self.interrupted: Job | None = None  # the running job, once someone has interrupted it
        self.loading_for: Job | None = None  # the running job, while its checkpoint is loaded
        self.closing = False

    def add(self, job: Job) -> None:
        """Adds `job` behind all others."""
        job.append(Queued(len(self.waiting) + (self.running is not None)))
        self.jobs[job.id] = job
        self.waiting.append(job)

    def take(self) -> Job | None:
        """The job that has waited longest, now running; None if none is waiting."""
        job = self.running = self.waiting.popleft() if self.waiting else None
        if job:
            self.interrupted = None
            job.append(Staged("starting"))
            self.announce_positions()
        return job

    def put_back(self, job: Job, why: Event) -> None:
        """The running job waits again, before all others."""
        job.append(why)
        job.append(Queued(0))
        self.waiting.appendleft(job)
        self.running = None
        self.announce_positions()

    def remove(self, job: Job) -> bool:
        """Removes a job that is waiting or whose checkpoint is being loaded; returns whether it was one of these."""
        if job is self.loading_for:
            self.running = self.loading_for = None
        elif job in self.waiting:
            self.waiting.remove(job)
        else:
            return False
        self.announce_positions()
        return True

    def end(self, job: Job, ending: Event) -> list[str]:
        """`job` is over. Returns the ids of jobs that are no longer remembered."""
        job.append(ending)
        if job is self.running:
            self.running = None
        self.announce_positions()
        return self.forget_oldest()

    def announce_positions(self) -> None:
        """Tells each waiting job how many are ahead of it."""
        for ahead, job in enumerate(self.waiting, start=1 if self.running else 0):
            if job.ahead != ahead:
                job.append(Queued(ahead))

    def forget_oldest(self) -> list[str]:
        """The ids of jobs that are no longer remembered."""
        ended = [job_id for job_id, job in self.jobs.items() if job.ended]
        forgotten = ended[:-REMEMBERED_JOBS]
        for job_id in forgotten:
            del self.jobs[job_id]
        return forgotten


INTERRUPTED = Finished(0.0, {}, interrupted=True)  # before anything was made
