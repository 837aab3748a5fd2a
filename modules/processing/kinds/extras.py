"""One picture upscaled and filtered, without a model: A1111's Extras as a job."""

import math
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
from modules.images.enlarge import MOST_PIXELS
from modules.images.filters import COLOR_FIXES
from modules.images.geometry import Size
from modules.infotext.grammar import compose
from modules.processing.kinds.kind import JobKind, Names, Work
from modules.processing.streamed import Streamed, require_banded, require_streamable, result_size, streamed
from modules.processing.upscale import Pairs, processed, streamed_pairs
from modules.schema.request.extras import ExtrasRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.upscalers import NONE, named, of_pictures
from modules.store.metadata import EXTRAS as SECTION
from modules.store.metadata import PARAMETERS, POSTPROCESSING, read

STEPS: Final = 1000  # of a job: its progress is reported in thousandths
PATIENCE: Final = 0.1  # seconds between two checks for an interrupt


class _Interrupted(Exception):
    """Raised inside an upscaler to stop it."""


@dataclass(frozen=True)
class Extras(JobKind[ExtrasRequest]):
    """Computed in the engine process, so that the web process keeps answering.

    A result of more than `streamed_above` pixels is made band by band; one of more than `MOST_PIXELS` can only be made
    so, as a PNG, JPEG or TIFF.
    """

    streamed_above: int = 4_000_000

    def parse(self, values: dict[str, Any]) -> ExtrasRequest:
        request = super().parse(values)
        if request.image is None:
            raise WebuiError("image: there is no picture.", "Send one.", "image")
        return request

    def overrides(self, request: ExtrasRequest) -> dict[str, Any]:
        return {"samples_format": request.samples_format} if request.samples_format in ("png", "jpg", "webp") else {}

    def admitted(self, request: ExtrasRequest, settings: Settings, names: Names) -> tuple[ExtrasRequest, Resources]:
        rows = of_pictures(names.catalog.upscalers)
        found = {field: named(getattr(request, field), rows, field) for field in ("upscaler_1", "upscaler_2")}
        size, format = _size_of(request), request.samples_format or settings.samples_format
        pixels = math.prod(result_size(request, size))
        if found["upscaler_1"].name != NONE and (pixels > MOST_PIXELS or self._is_banded(pixels, format)):
            require_streamable(request, size, format)
        if found["upscaler_1"].name != NONE and (pixels > MOST_PIXELS or format == "tiff"):
            for field, upscaler in found.items():
                require_banded(upscaler, field)
            if request.color_fix in COLOR_FIXES:
                raise WebuiError(
                    f"color_fix={request.color_fix}: it needs the whole picture in memory, up to "
                    f"{MOST_PIXELS // 10**6} megapixels, and no TIFF.",
                    "Choose None, or a smaller size.",
                    "color_fix",
                )
        update = {field: upscaler.name for field, upscaler in found.items()}
        return request.model_copy(update=update), Resources(catalog=names.catalog.without_notes)

    def sources(self, request: ExtrasRequest) -> tuple[Picture, ...]:
        return (request.image,) if request.image is not None else ()

    def _is_banded(self, pixels: int, format: str) -> bool:
        return format == "tiff" or (pixels > self.streamed_above and format != "webp")

    def _stream(self, engine: Any, work: Work) -> Streamed | None:
        """The work, if it is done band by band; None if in memory, as for a client that waits for the bytes."""
        request: ExtrasRequest = work.request
        rows = of_pictures(engine.upscalers(work.resources.catalog, lambda share: None))
        catalog = of_pictures(work.resources.catalog.upscalers)
        networks = {row.name: row for row in catalog if row.path is not None}
        first, second = (
            networks.get(getattr(request, field)) or named(getattr(request, field), rows, field)
            for field in ("upscaler_1", "upscaler_2")
        )
        format = request.samples_format or work.settings.samples_format
        is_banded = self._is_banded(math.prod(result_size(request, _size_of(request))), format)
        if work.folder is None or first.name == NONE or not is_banded or format == "webp":
            return None
        if request.color_fix in COLOR_FIXES or any(
            callable(each.function) and each.path is None for each in (first, second)
        ):
            return None
        source = request.image
        assert source is not None
        infotext, texts = texts_of(source, streamed_pairs(request, _size_of(request), first, second))
        plan = request.model_copy(update={"image": None}).model_dump_json() + source.sha256
        return Streamed(
            request, source.open, (first, second), format, infotext, texts, work.settings.jpeg_quality, plan
        )

    def run(self, engine: Any, work: Work, should_stop: Callable[[], Stop]) -> Iterator[Event | EngineState]:
        request: ExtrasRequest = work.request
        begun = time.monotonic()
        if (stream := self._stream(engine, work)) is not None:
            assert work.folder is not None
            yield from streamed(stream, engine.enlarger, work.folder, should_stop)
            return
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
    """The result with its texts."""
    infotext, texts = texts_of(source, pairs)
    pixels = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
    return ImageDone(0, 0, *pixels.size, infotext=infotext, pixels=pixels.tobytes(), texts=texts)


def texts_of(source: Picture, pairs: Pairs) -> tuple[str, dict[str, str]]:
    """(the infotext of the result, all texts of a PNG by key).

    As in A1111 a PNG keeps those of its source, and what was done stands beside them.
    """
    carried = read(source)
    text = compose("", "", pairs)
    written = compose("", "", {**pairs, "Source hash": source.sha256})
    texts = {**carried.items, **({PARAMETERS: carried.infotext} if carried.infotext else {})}
    texts |= {POSTPROCESSING: text, SECTION: written}
    return ", ".join(filter(None, (carried.infotext, written))), texts


def _size_of(request: ExtrasRequest) -> Size:
    assert request.image is not None
    return Size(request.image.width, request.image.height)


EXTRAS = Extras("extras", "Extras", ExtrasRequest, source_field="image", needs_checkpoint=False)
