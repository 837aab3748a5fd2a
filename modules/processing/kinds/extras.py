"""One picture upscaled and filtered, without a model: A1111's Extras as a job."""

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final

from PIL import Image

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Failed, Finished, ImageDone, Staged, Started, Stepped, Stop
from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.infotext.grammar import compose
from modules.processing.kinds.kind import JobKind, Names, Work
from modules.processing.upscale import Pairs, processed, require_room
from modules.schema.request.extras import ExtrasRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.upscalers import NONE, named, of_pictures
from modules.store.metadata import EXTRAS as SECTION
from modules.store.metadata import PARAMETERS, POSTPROCESSING, read

STEPS: Final = 1000  # of a job: its progress is reported in thousandths
PATIENCE: Final = 0.1  # seconds between two looks at whether to stop


class _Interrupted(Exception):
    """Raised out of an upscaler's work."""


@dataclass(frozen=True)
class Extras(JobKind[ExtrasRequest]):
    """Computed in the engine process, so that the web process keeps answering."""

    def parse(self, values: dict[str, Any]) -> ExtrasRequest:
        request = super().parse(values)
        if request.image is None:
            raise WebuiError("image: there is no picture.", "Send one.", "image")
        if request.upscaler_1.strip() != NONE:
            require_room(request, Size(request.image.width, request.image.height))
        return request

    def admitted(self, request: ExtrasRequest, settings: Settings, names: Names) -> tuple[ExtrasRequest, Resources]:
        rows = of_pictures(names.catalog.upscalers)
        update = {field: named(getattr(request, field), rows, field).name for field in ("upscaler_1", "upscaler_2")}
        return request.model_copy(update=update), Resources(catalog=names.catalog.without_notes)

    def sources(self, request: ExtrasRequest) -> tuple[Picture, ...]:
        return (request.image,) if request.image is not None else ()

    def run(self, engine: Any, work: Work, should_stop: Callable[[], Stop]) -> Iterator[Event | EngineState]:
        request: ExtrasRequest = work.request
        begun = time.monotonic()
        assert request.image is not None
        yield Started(1, 1, STEPS, request.image.width, request.image.height, seed=0)
        yield Staged("upscaling")
        try:
            image, pairs = yield from _with_progress(engine, work, should_stop)
        except _Interrupted:
            yield Finished(time.monotonic() - begun, {}, interrupted=True)
            return
        except WebuiError as error:
            yield Failed(error.message, error.hint, error.field)
            return
        yield Stepped(0, STEPS, STEPS)
        yield done(request.image, image, pairs)
        yield Finished(time.monotonic() - begun, {"upscaling": time.monotonic() - begun})


def _with_progress(
    engine: Any, work: Work, should_stop: Callable[[], Stop]
) -> Generator[Event, None, tuple[Image.Image, Pairs]]:
    """Works in a thread and reports its progress meanwhile. Returns the picture and what was done to it."""
    shares: SimpleQueue[float] = SimpleQueue()
    stopped = False

    def hear(share: float = 0.0) -> None:
        if share:
            shares.put(share)
        if stopped:
            raise _Interrupted

    with ThreadPoolExecutor(1, thread_name_prefix="extras") as pool:
        future = pool.submit(_made, engine, work, hear)
        step = 0
        while not future.done():
            stopped = stopped or bool(should_stop())
            try:
                share = shares.get(timeout=PATIENCE)
            except Empty:
                continue
            if round(share * STEPS) > step:
                step = round(share * STEPS)
                yield Stepped(0, step, STEPS)
    return future.result()


def _made(engine: Any, work: Work, hear: Callable[..., None]) -> tuple[Image.Image, Pairs]:
    request: ExtrasRequest = work.request
    assert request.image is not None
    rows = of_pictures(engine.upscalers(work.resources.catalog, hear))
    first, second = (named(getattr(request, field), rows, field) for field in ("upscaler_1", "upscaler_2"))
    return processed(request, request.image.open(), first, second, hear)


def done(source: Picture, image: Image.Image, pairs: Pairs) -> ImageDone:
    """The result with its texts. As in A1111 a PNG keeps those of its source, and what was done stands beside them."""
    carried = read(source)
    text = compose("", "", pairs)
    written = compose("", "", {**pairs, "Source hash": source.sha256})
    texts = {**carried.items, **({PARAMETERS: carried.infotext} if carried.infotext else {})}
    texts |= {POSTPROCESSING: text, SECTION: written}
    combined = ", ".join(filter(None, (carried.infotext, written)))
    pixels = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
    return ImageDone(0, 0, *pixels.size, infotext=combined, pixels=pixels.tobytes(), texts=texts)


EXTRAS = Extras("extras", "Extras", ExtrasRequest, source_field="image", needs_checkpoint=False)
