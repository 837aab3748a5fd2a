"""A process with a queue over the fake engine, for tests that kill it: `python -m tests.jobs.queue_process FOLDER`.

Resumes the jobs of FOLDER and prints "open". Then each line on stdin is a prompt to submit, and the answer is the job's
id; the answer to an empty line is "idle" once no job is left. The end of stdin closes the queue.
"""

import sys
import threading
from pathlib import Path

from modules.jobs.queue import JobQueue
from modules.jobs.saving import Saver
from modules.jobs.workers.process import EngineProcess
from modules.store.job_store import JobStore, is_saved_in
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures
from tests.jobs.conftest import FACTORY, submit


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main(folder: Path) -> None:
    outputs = Outputs(folder / "outputs")
    job_store = JobStore(folder / "jobs.sqlite", Pictures(folder / "pictures"))
    queue = JobQueue(EngineProcess(FACTORY), Saver(outputs), job_store=job_store)
    queue.resume(is_saved_in(outputs))
    say("open")
    changed = threading.Event()
    queue.listeners.add(changed.set)
    for line in sys.stdin:
        if line.strip():
            say(submit(queue, line.strip()).id)
            continue
        while queue.current():
            changed.wait()
            changed.clear()
        say("idle")
    queue.close()
    say("closed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
