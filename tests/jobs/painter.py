"""An engine for tests of batches: in this process, without a model, and it can be held."""

import threading
import time
from collections.abc import Iterator

from PIL import ImageOps

from modules.base.events import EngineState, Event, Failed, Finished, ImageDone, Started, Stepped, Stop
from modules.jobs.listeners import Listeners
from modules.jobs.workers.process import EngineDied
from modules.processing.kinds.kind import Work
from modules.schema.catalog import Checkpoint, Vae
from modules.schema.request import Img2ImgRequest
from modules.schema.settings import Settings

STEPS = 4


class Painter:
    """Returns each source with fewer colors. `held` keeps it at its first step.

    A prompt with "sour" makes the job fail; `requests` are those it has started, with the checkpoint's name.
    """

    def __init__(self) -> None:
        self.listeners = Listeners()
        self.died = False
        self.held = threading.Event()
        self.held_from = 0  # the number of the job that is held, from 1
        self.stop = Stop.NONE
        self.closed = False
        self.pace = 0.0  # seconds per step
        self.requests: list[tuple[Img2ImgRequest, str]] = []

    def bury(self) -> EngineDied:
        raise NotImplementedError

    def load(self, checkpoint: Checkpoint, settings: Settings, vae: Vae | None) -> Iterator[EngineState]:
        yield EngineState("ready", checkpoint.name)

    def run(self, work: Work) -> Iterator[Event]:
        request = work.request
        assert isinstance(request, Img2ImgRequest)
        self.requests.append((request, work.resources.checkpoint.name))
        if len(self.requests) == self.held_from:
            self.held.set()
        self.stop = Stop.NONE
        if "sour" in request.prompt:
            yield Failed("The engine cannot make that.", "Ask for another thing.")
            return
        yield Started(request.images, request.images, STEPS, request.width, request.height, request.seed)
        while self.held.is_set() and not self.stop and not self.closed:
            time.sleep(0.005)
        for index in range(request.images):
            size = (request.width, request.height)
            image = ImageOps.posterize(request.init_images[0].rgb().resize(size), 2)
            for step in range(1, STEPS + 1):
                if self.closed:
                    raise EngineDied("The engine process was ended.")
                if self.stop:
                    yield Finished(0.0, {}, interrupted=True)
                    return
                time.sleep(self.pace)
                yield Stepped(index, step, STEPS)
            yield ImageDone(
                index, request.seed + index, *size, f"{request.prompt}\nSteps: {request.steps}", image.tobytes()
            )
        yield Finished(0.0, {})

    def release(self) -> None: ...

    def ask(self, stop: Stop) -> None:
        self.stop = stop

    def close(self) -> None:
        self.closed = True
        self.stop = Stop.INTERRUPT
