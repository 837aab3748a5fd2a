"""Many clients at once: every job is finished once, in the order of acceptance."""

import threading
from pathlib import Path

from modules.base.events import Finished, ImageSaved
from modules.jobs.job import Job
from modules.jobs.queue import JobQueue
from modules.jobs.workers.process import EngineProcess
from modules.processing.kinds.registry import BUILT_IN
from modules.store.job_store import JobStore
from tests.jobs.conftest import FACTORY, save, submit

CLIENTS = 64


def test_64_clients_submit_at_once(tmp_path: Path) -> None:
    queue = JobQueue(EngineProcess(FACTORY), save, job_store=JobStore(tmp_path / "jobs.sqlite"))
    together = threading.Barrier(CLIENTS)
    jobs: dict[int, Job] = {}
    order: list[str] = []
    queue.listeners.add(lambda: order.extend(job.id for job in queue.current()[:1] if job.id not in order))

    def client(number: int) -> None:
        together.wait()
        jobs[number] = submit(queue, "steps 1", seed=1000 + number)
        for _ in jobs[number].follow():
            pass

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.close()

    job_store = JobStore(tmp_path / "jobs.sqlite")
    entered = job_store.stored(lambda image, sha256: True, BUILT_IN.requests)
    job_store.close()
    assert sorted(job.id for job in jobs.values()) == sorted(job.id for job in entered)
    assert [job.id for job in entered] == order  # accepted, and run
    for number, job in jobs.items():
        events = [entry.event for entry in job.entries()]
        assert sum(isinstance(event, Finished) for event in events) == 1
        assert [event.seed for event in events if isinstance(event, ImageSaved)] == [1000 + number]
