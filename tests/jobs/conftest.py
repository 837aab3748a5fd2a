"""A queue over a real engine process, with the engine of `fake_engine`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from modules.base.events import ImageSaved, PictureDone
from modules.jobs.job import Job, JobSpec
from modules.jobs.queue import JobQueue
from modules.jobs.saving import SavePicture
from modules.jobs.workers.process import EngineProcess
from modules.processing.kinds.generate import TXT2IMG
from modules.schema.catalog import Checkpoint
from modules.schema.request import Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.jobs.fake_engine import number

FACTORY = "tests.jobs.fake_engine:create"
CHECKPOINT = Checkpoint("good", Path("good.safetensors"))

MakeQueue = Callable[..., JobQueue]


def named(name: str) -> Checkpoint:
    return Checkpoint(name, Path(f"{name}.safetensors"))


def save(job: Job, done: PictureDone) -> ImageSaved:
    return ImageSaved(done.index, done.seed, done.width, done.height, done.infotext, f"{done.index}.png")


def submit(queue: JobQueue, prompt: str, checkpoint: Checkpoint = CHECKPOINT, **values: object) -> Job:
    values = {"n_iter": number(prompt, "images", 1), "seed": 5, **values}
    return queue.submit(
        JobSpec(TXT2IMG, Txt2ImgRequest.parse({"prompt": prompt, **values}), Settings(), Resources(checkpoint))
    )


@pytest.fixture
def make_queue() -> Iterator[MakeQueue]:
    """Makes queues that are closed at the end of the test."""
    with ExitStack() as stack:

        def make(save: SavePicture = save, factory: str = FACTORY, **options: str) -> JobQueue:
            queue = JobQueue(EngineProcess(factory, options), save)
            stack.callback(queue.close)
            return queue

        yield make


@pytest.fixture
def queue(make_queue: MakeQueue) -> JobQueue:
    return make_queue()
