"""A process with batches over the fake engine, for tests that kill it: `python -m tests.jobs.batch_process FOLDER`.

Resumes the batches in FOLDER and prints "open". Then each line on stdin is a prompt for a batch of FOLDER/inputs, and
the answer is the batch's id; the answer to an empty line is "idle" once no batch is left. The end of stdin closes
everything.
"""

import sys
import threading
from functools import partial
from pathlib import Path

from modules.jobs.batch.batch import Batch
from modules.jobs.batch.batches import Batches
from modules.jobs.batch.intake import BatchIntake, Files
from modules.jobs.batch.journal import Journals
from modules.jobs.batch.options import BatchOptions
from modules.jobs.queue import JobQueue
from modules.jobs.saving import JobSavers, Saver
from modules.jobs.workers.process import EngineProcess
from modules.schema.catalog import Catalog
from modules.schema.settings import Settings
from modules.store.job_store import JobStore, is_saved_in
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures
from tests.jobs.conftest import CHECKPOINT, FACTORY
from tests.jobs.fake_engine import number
from tests.jobs.queue_process import say

CATALOG = Catalog((CHECKPOINT,))


def _set_if_ended(batch: Batch, ended: threading.Event) -> None:
    if batch.ended:
        ended.set()


def main(folder: Path) -> None:
    outputs, pictures = Outputs(folder / "outputs"), Pictures(folder / "pictures")
    savers = JobSavers(Saver(outputs))
    queue = JobQueue(EngineProcess(FACTORY), savers, job_store=JobStore(folder / "jobs.sqlite", pictures))
    batches = Batches(queue, savers, outputs, pictures, journals=Journals(folder / "batches"))
    intake = BatchIntake.of(batches, folder, outputs.root)
    intake.reopen(CATALOG)
    queue.resume(is_saved_in(outputs))
    batches.resume_all()
    say("open")
    for line in sys.stdin:
        if line.strip():
            form = {"prompt": line.strip(), "n_iter": number(line, "images", 1), "width": 64, "height": 64, "seed": 5}
            say(intake.start(form, BatchOptions(), Settings(), CATALOG, Files(folder="inputs")).id)
            continue
        for batch in batches.batches():
            ended = threading.Event()
            batch.listeners.add(partial(_set_if_ended, batch, ended))
            if not batch.ended:
                ended.wait()
        say("idle")
    batches.close()
    queue.close()
    say("closed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
