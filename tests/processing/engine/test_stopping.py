"""Stop requests take effect in the middle of computations, and leave the engine unchanged."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.base.events import EngineState, Event, Finished, ImageDone, Staged, Stepped, Stop
from modules.base.picture import Picture
from modules.networks import parts
from modules.processing.engine import Engine, create_engine
from modules.processing.engine import engine as engine_module
from modules.schema.catalog import Checkpoint
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from tests.tiny import write_tiny_checkpoint

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 4, "seed": 7, "subseed": 1}
PIXELS = np.random.default_rng(3).integers(0, 255, (64, 64, 3), dtype=np.uint8)
SOURCE = Picture.from_image(Image.fromarray(PIXELS, "RGB"))


class Person:
    """Requests `stop` once `is_time` is true of the events so far and of the number of checks since the last one."""

    def __init__(self, stop: Stop, is_time: Callable[[list[Event | EngineState], int], bool]) -> None:
        self.events: list[Event | EngineState] = []
        self.listened = 0
        self._stop, self._is_time, self._has_asked = stop, is_time, False

    def should_stop(self) -> Stop:
        self.listened += 1
        if self._has_asked:
            return Stop.INTERRUPT if self._stop is Stop.INTERRUPT else Stop.NONE
        self._has_asked = self._is_time(self.events, self.listened)
        return self._stop if self._has_asked else Stop.NONE

    def follow(self, events: Iterator[Event | EngineState]) -> list[Event | EngineState]:
        for event in events:
            self.events.append(event)
            self.listened = 0
        return self.events


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny.safetensors")
    return Checkpoint(path.stem, path)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return create_engine("cpu", "full", str(tmp_path_factory.mktemp("cache")), "extensions")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small job, split into parts like a large one."""
    monkeypatch.setattr(engine_module, "is_large", lambda *_: True)
    monkeypatch.setattr(parts, "LARGE", 1e6)
    monkeypatch.setattr(parts, "PIECE", 5e5)


def pictures(events: list[Event | EngineState]) -> list[bytes]:
    return [event.pixels for event in events if isinstance(event, ImageDone)]


def requested(engine: Engine, checkpoint: Checkpoint, request: GenerationRequest, person: Person) -> list[Any]:
    return person.follow(engine.run(request, Settings(), Resources(checkpoint), person.should_stop))


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("stage", ["encoding", "sampling", "decoding"])
def test_an_interrupt_is_heard_inside_a_computation(engine: Engine, checkpoint: Checkpoint, stage: str) -> None:
    request = Img2ImgRequest(init_images=(SOURCE,), denoising_strength=0.5, n_iter=2, **SMALL)
    person = Person(Stop.INTERRUPT, lambda events, listened: Staged(stage) in events and listened == 20)
    events = requested(engine, checkpoint, request, person)
    assert isinstance(events[-1], Finished)
    assert events[-1].interrupted
    assert pictures(events) == []
    assert events[-2] == (Staged(stage) if stage != "sampling" else events[-2])
    again = list(engine.run(request, Settings(), Resources(checkpoint), lambda: Stop.NONE))
    assert len(pictures(again)) == 2


@pytest.mark.usefixtures("large")
def test_a_skip_inside_a_step_costs_its_batch_alone_and_the_others_stay_as_they_are(
    engine: Engine, checkpoint: Checkpoint
) -> None:
    request = Txt2ImgRequest(prompt="a cat", n_iter=3, **SMALL)
    undisturbed = pictures(list(engine.run(request, Settings(), Resources(checkpoint), lambda: Stop.NONE)))
    person = Person(Stop.SKIP, lambda events, listened: Stepped(1, 2, 4) in events and listened == 20)
    events = requested(engine, checkpoint, request, person)
    assert pictures(events) == [undisturbed[0], undisturbed[2]]
    assert isinstance(events[-1], Finished)
    assert not events[-1].interrupted


def test_a_job_in_parts_makes_the_same_picture(
    engine: Engine, checkpoint: Checkpoint, request: pytest.FixtureRequest
) -> None:
    job = Img2ImgRequest(init_images=(SOURCE,), prompt="a cat", denoising_strength=0.7, **SMALL)
    whole = pictures(list(engine.run(job, Settings(), Resources(checkpoint), lambda: Stop.NONE)))
    request.getfixturevalue("large")
    assert pictures(list(engine.run(job, Settings(), Resources(checkpoint), lambda: Stop.NONE))) == whole


def test_the_walk_back_of_a_script_hears_an_interrupt(engine: Engine, checkpoint: Checkpoint, tmp_path: Path) -> None:
    values = {"script_name": "img2img alternative test", "script_args": ["", True, True, "a", "", True, 50, True]}
    request = Img2ImgRequest(init_images=(SOURCE,), **values, **SMALL).resolved(random.Random(0))
    person = Person(Stop.INTERRUPT, lambda events, listened: Staged("sampling") in events and listened == 5)
    events = requested(engine, checkpoint, request, person)
    assert isinstance(events[-1], Finished)
    assert events[-1].interrupted
    assert not [event for event in events if isinstance(event, Stepped)]
    assert person.listened <= 6  # of 50 steps
