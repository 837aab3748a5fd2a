"""Runs a script: what it yields becomes jobs of the engine, and their events become those of one job."""

import math
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from PIL import Image

from modules.base.errors import WebuiError
from modules.base.events import (
    EngineState,
    Event,
    Failed,
    Finished,
    ImageDone,
    Previewed,
    Started,
    Stepped,
    Stop,
    Warned,
)
from modules.extension.hooks import Ahead, Arguments, Keep, Request, Run, RunImage, Scene, Script, with_pairs
from modules.images.enlarge import enlarged_by_steps
from modules.images.geometry import Size
from modules.infotext.grammar import FormKind
from modules.processing.kinds.resolve import CatalogNames, resolved
from modules.processing.plan import make_plan
from modules.schema.request import GenerationRequest, Img2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.sizes import Resolution, SizeRule
from modules.schema.upscalers import UPSCALERS, Upscaler, named, of_pictures

ShouldStop = Callable[[], Stop]


class RunRequest(Protocol):
    """`Engine.run`."""

    def __call__(
        self,
        request: GenerationRequest,
        settings: Settings,
        resources: Resources,
        should_stop: ShouldStop,
        *,
        noise: Callable[[Scene], Any] | None = None,
    ) -> Iterator[Event | EngineState]: ...


class Bench:
    """`hooks.Studio`, for one job."""

    def __init__(
        self,
        settings: Settings,
        draw: random.Random,
        rule: SizeRule,
        upscalers: Sequence[Upscaler],
        trained_on: Resolution,
    ) -> None:
        self.settings = settings
        self._native = round(math.sqrt(trained_on.width * trained_on.height))
        self._rule = rule
        self._upscalers = of_pictures(upscalers)
        self.warnings: list[str] = []
        self._draw = draw

    @property
    def native(self) -> int:
        return self._native

    def seeded(self, request: Request) -> Request:
        return request.model_copy(update={"script_name": ""}).resolved(self._draw)

    def size(self, request: GenerationRequest) -> tuple[int, int]:
        plan = make_plan(self.seeded(request), self.settings, self._rule)
        if plan.canvas is not None and plan.canvas.only_masked and isinstance(request, Img2ImgRequest):
            picture = request.init_images[0]
            return picture.width, picture.height  # the region is pasted back into the whole
        return plan.last.size

    def upscaler(self, name: str, field: str) -> Upscaler:
        return named(name, self._upscalers, field)

    def enlarged(self, image: Image.Image, scale: float, upscaler: str) -> Image.Image:
        row = self.upscaler(upscaler, "script_args")
        whole = Size(int(image.width * scale), int(image.height * scale))
        return enlarged_by_steps(image, row, whole, Size(*map(self._rule.floor, whole)))

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def run_script(
    chosen: tuple[FormKind, Script, Arguments],
    run: RunRequest,
    names: CatalogNames,
    request: GenerationRequest,
    settings: Settings,
    resources: Resources,
    should_stop: ShouldStop,
    rule: SizeRule,
    upscalers: Sequence[Upscaler] = UPSCALERS,
) -> Iterator[Event | EngineState]:
    """The events of a job with a script, as `Engine.run` yields them. `names` resolves each of its requests in the
    catalog that came with the job.

    Progress covers the whole job. SKIP ends the current batch; after INTERRUPT nothing more is generated, and the
    script assembles what there is.
    """
    kind, script, arguments = chosen
    bench = Bench(
        settings.overridden(request.override_settings),
        random.Random(request.subseed),
        rule,
        upscalers,
        resources.checkpoint.sizes.native,
    )
    relay = _Relay()
    course = script.run(kind, request, arguments, bench)
    answer: tuple[RunImage, ...] | None = None
    try:
        while True:
            try:
                wish = next(course) if answer is None else course.send(answer)
            except StopIteration:
                break
            answer = ()
            for message in bench.warnings[relay.warned :]:
                yield Warned(message)
            relay.warned = len(bench.warnings)
            if isinstance(wish, Ahead):
                relay.ahead = wish
            elif isinstance(wish, Keep):
                yield relay.kept(wish)
            elif not relay.interrupted:
                child = bench.seeded(wish.request)
                child, files = _resolved(child, settings, names, resources)
                events = run(child, settings, files, should_stop, noise=wish.noise)
                made = yield from relay.child(events, wish)
                if relay.failed:
                    return
                answer = made
    except WebuiError as error:
        yield Failed(error.message, error.hint, error.field)
        return
    finally:
        course.close()
    yield Finished(sum(relay.timings.values()), relay.timings, interrupted=relay.interrupted)


def _resolved(
    child: GenerationRequest, settings: Settings, names: CatalogNames, resources: Resources
) -> tuple[GenerationRequest, Resources]:
    """A script's own request and its files; its default checkpoint is the first of the job's `resources`."""
    named = child.override_settings.get("sd_model_checkpoint")
    first = names.checkpoint(named) if named else resources.checkpoint
    child, found = resolved(child, settings.overridden(child.override_settings), names, first)
    return child, replace(found, files=resources.files)


class _Relay:
    """Combines the events of many runs into those of one job."""

    def __init__(self) -> None:
        self.ahead = Ahead(1, 1)
        self.warned = 0
        self.interrupted = False
        self.failed = False
        self.timings: dict[str, float] = {}
        self._pictures = 0
        self._batches = 0  # of the runs before
        self._started = False
        self._warnings: set[str] = set()

    def child(
        self, events: Iterator[Event | EngineState], wish: Run
    ) -> Generator[Event | EngineState, None, tuple[RunImage, ...]]:
        """The events of one run as part of the job's; returns its pictures."""
        made: list[RunImage] = []
        for event in events:
            match event:
                case Started():
                    if not self._started:
                        self._started = True
                        yield replace(event, images=self.ahead.pictures, batches=self.ahead.batches)
                case Stepped() | Previewed():
                    yield replace(event, batch=self._batches + event.batch)
                case ImageDone(suffix="-mask" | "-mask-composite"):
                    pass  # the script gets the pictures and decides which are shown
                case ImageDone():
                    done = replace(event, infotext=with_pairs(event.infotext, wish.pairs))
                    made.append(RunImage(_opened(done), done.seed, done.infotext))
                    if wish.is_kept:
                        yield replace(done, index=self._pictures, shown=wish.is_shown)
                        self._pictures += 1
                case Warned():
                    if event.message not in self._warnings:
                        self._warnings.add(event.message)
                        yield event
                case Finished():
                    self.interrupted = event.interrupted
                    for stage, seconds in event.timings.items():
                        self.timings[stage] = self.timings.get(stage, 0.0) + seconds
                case Failed():
                    self.failed = True
                    yield event
                case _:
                    yield event
        self._batches += wish.request.n_iter
        return tuple(made)

    def kept(self, wish: Keep) -> ImageDone:
        image = wish.image.convert("RGB")
        self._pictures += 1
        return ImageDone(
            self._pictures - 1, wish.seed, image.width, image.height, wish.infotext, image.tobytes(), wish.sheet
        )


def _opened(done: ImageDone) -> Image.Image:
    return Image.frombytes("RGB", (done.width, done.height), done.pixels)
