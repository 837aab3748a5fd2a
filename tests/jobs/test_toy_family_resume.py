"""A job of a family other than Stable Diffusion is finished after the web process ended in the middle of it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.base.events import EngineState, Event, ImageDone, ImageSaved
from modules.base.picture import Picture
from modules.extension.loading import load as load_extensions
from modules.jobs.job import Job, JobSpec
from modules.jobs.queue import JobQueue
from modules.jobs.saving import Saver
from modules.jobs.workers.process import EngineProcess
from modules.networks.device import choose_placement
from modules.networks.families import FAMILIES
from modules.processing.engine import Engine
from modules.processing.kinds.generate import IMG2IMG
from modules.schema.catalog import Checkpoint
from modules.schema.request import Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.store.job_store import JobStore, is_saved_in
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures
from tests.toy_family import TOY, write_toy_checkpoint

FACTORY = "tests.jobs.test_toy_family_resume:create"
SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 4, "seed": 5, "subseed": 1, "prompt": "a cat", "n_iter": 3}


class GatedEngine(Engine):
    """Pauses after a picture until the file `gate` exists, so that a test can stop it between two."""

    gate = Path()

    def run(self, *args: Any, **more: Any) -> Iterator[Event | EngineState]:
        for event in super().run(*args, **more):
            yield event
            while isinstance(event, ImageDone) and not self.gate.exists():
                time.sleep(0.005)


def create(cache: str, gate: str) -> GatedEngine:
    place = choose_placement(use_cpu=True, precision="full")
    engine = GatedEngine(place, Path(cache), load_extensions(None), families=(TOY, *FAMILIES))
    engine.gate = Path(gate)
    return engine


def opened(folder: Path) -> JobQueue:
    outputs = Outputs(folder / "outputs")
    store = JobStore(folder / "jobs.sqlite", Pictures(folder / "pictures"))
    engine = EngineProcess(FACTORY, {"cache": str(folder), "gate": str(folder / "gate")})
    queue = JobQueue(engine, Saver(outputs), job_store=store)
    queue.resume(is_saved_in(outputs))
    return queue


def made(folder: Path, job: Job) -> list[bytes]:
    files = [folder / "outputs" / image.path for image in job.images]
    return [np.asarray(Image.open(file)).tobytes() for file in files]


SOURCE = Picture.from_image(Image.linear_gradient("L").resize((64, 64)).convert("RGB"))
REQUEST = Img2ImgRequest(init_images=(SOURCE,), denoising_strength=0.7, **SMALL)


@pytest.mark.slow
def test_the_rest_of_a_job_is_made_after_a_restart_as_if_nothing_had_happened(tmp_path: Path) -> None:
    path = write_toy_checkpoint(tmp_path / "toy.safetensors")
    spec = JobSpec(IMG2IMG, REQUEST, Settings(live_previews_enable=False), Resources(Checkpoint(path.name, path)))

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    (whole / "gate").touch()
    queue = opened(whole)
    undisturbed = queue.submit(spec)
    list(undisturbed.follow())
    queue.close()

    queue = opened(cut)
    job = queue.submit(spec)
    next(event for _, event in job.follow() if isinstance(event, ImageSaved))
    queue.close()
    assert len(job.images) == 1
    (cut / "gate").touch()
    queue = opened(cut)
    again = queue.job(job.id)
    list(again.follow())
    queue.close()
    assert (again.status, again.is_resumed) == ("finished", True)
    assert [image.index for image in again.images] == [0, 1, 2]
    assert made(cut, again) == made(whole, undisturbed)
    assert len(set(made(cut, again))) == 3
