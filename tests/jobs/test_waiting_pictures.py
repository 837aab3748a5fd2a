"""A waiting job holds the names of its pictures, not their bytes."""

import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from modules.base.events import EngineState, Event, Failed, Finished, ImageSaved, PictureDone, Stop
from modules.base.picture import Picture
from modules.jobs.job import Job, JobSpec
from modules.jobs.listeners import Listeners
from modules.jobs.queue import JobQueue
from modules.jobs.workers.process import EngineDied
from modules.processing.kinds.generate import IMG2IMG
from modules.processing.kinds.kind import Work
from modules.schema.catalog import Checkpoint, Vae
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.store.job_store import JobStore
from modules.store.pictures import Pictures

CHECKPOINT = Checkpoint("a.safetensors", Path("a.safetensors"))
SOURCE = Picture.from_image(Image.new("RGB", (32, 24), "red"))
MASK = Picture.from_image(Image.new("L", (32, 24), 255))
REQUEST = Img2ImgRequest.parse({"init_images": [SOURCE], "mask": MASK, "latent_mask": MASK, "seed": 1})


class Held:
    """An engine that reads the source when allowed to, as an engine process does."""

    died = False

    def __init__(self) -> None:
        self.listeners = Listeners()
        self.may_run = threading.Event()
        self.sources: list[bytes] = []

    def bury(self) -> EngineDied:
        return EngineDied("")

    def load(self, checkpoint: Checkpoint, settings: Settings, vae: Vae | None) -> Iterator[EngineState]:
        yield EngineState("ready", checkpoint.name)

    def run(self, work: Work) -> Iterator[Event | EngineState]:
        request = work.request
        self.may_run.wait()
        assert isinstance(request, Img2ImgRequest)
        self.sources += [picture.data for picture in request.init_images]
        yield Finished(0.0, {})

    def release(self) -> None: ...
    def ask(self, stop: Stop) -> None: ...
    def close(self) -> None:
        self.may_run.set()


def save(job: Job, done: PictureDone) -> ImageSaved:
    return done.saved("")


def opened(folder: Path, engine: Held) -> JobQueue:
    return JobQueue(engine, save, job_store=JobStore(folder / "jobs.sqlite", Pictures(folder / "pictures")))


def contents(job: Job) -> list[bytes | Path]:
    assert isinstance(job.request, Img2ImgRequest)
    masks = [picture for picture in (job.request.mask, job.request.latent_mask) if picture is not None]
    return [picture.content for picture in (*job.request.init_images, *masks)]


def ended(job: Job) -> Event:
    return list(job.follow())[-1][1]


def test_waiting_jobs_hold_no_bytes_and_a_restart_changes_nothing(tmp_path: Path) -> None:
    engine = Held()
    queue = opened(tmp_path, engine)
    jobs = [queue.submit(JobSpec(IMG2IMG, REQUEST, Settings(), Resources(CHECKPOINT))) for _ in range(4)]
    assert all(isinstance(content, Path) for job in jobs for content in contents(job))
    assert all(len(contents(job)) == 3 for job in jobs)
    engine.may_run.set()
    assert isinstance(ended(jobs[0]), Finished)
    assert engine.sources[0] == SOURCE.data
    engine.may_run.clear()
    last = queue.submit(JobSpec(IMG2IMG, REQUEST, Settings(), Resources(CHECKPOINT)))
    queue.close()

    engine = Held()
    again = opened(tmp_path, engine)
    again.resume(lambda image, sha256: False)
    waiting = [job for job in again.jobs() if not job.ended]
    assert all(isinstance(content, Path) for job in waiting for content in contents(job))
    engine.may_run.set()
    assert isinstance(ended(again.job(last.id)), Finished)
    again.close()


def test_a_source_that_is_gone_when_its_turn_comes_is_told(tmp_path: Path) -> None:
    engine = Held()
    queue = opened(tmp_path, engine)
    job = queue.submit(JobSpec(IMG2IMG, REQUEST, Settings(), Resources(CHECKPOINT)))
    for path in (tmp_path / "pictures").iterdir():
        path.unlink()
    engine.may_run.set()
    ending = ended(job)
    assert isinstance(ending, Failed)
    assert ending.message.startswith(f"The source picture '{SOURCE.sha256[:12]}' can no longer be read")
    assert ending.field == "init_images"
    queue.close()
