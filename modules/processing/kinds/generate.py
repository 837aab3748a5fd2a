"""Pictures made by a model: txt2img and img2img."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from modules.base.events import EngineState, Event, Stop
from modules.processing.kinds.kind import JobKind, Names, Results, Work
from modules.processing.kinds.resolve import resolved
from modules.processing.memory import require_memory
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings

Generation = TypeVar("Generation", bound=GenerationRequest)


@dataclass(frozen=True)
class Generate(JobKind[Generation], Generic[Generation]):
    """Made by the engine's own `run`."""

    def parse(self, values: dict[str, Any]) -> Generation:
        return self.request.parse(values)

    def drawn(self, request: Generation, draw: random.Random) -> Generation:
        return request.resolved(draw)

    def overrides(self, request: Generation) -> dict[str, Any]:
        return dict(request.override_settings)

    def admitted(self, request: Generation, settings: Settings, names: Names) -> tuple[Generation, Resources]:
        request, resources = resolved(names.scripted(request), settings, names)
        require_memory(request, resources.checkpoint.sizes.rule)
        return request, resources

    def results(self, request: Generation, settings: Settings) -> Results:
        """A script's pictures come from each other, and only the script knows how many there are."""
        is_masked = isinstance(request, Img2ImgRequest) and (request.mask is not None or request.is_outpainted)
        suffixes = ("", *settings.beside) if is_masked else ("",)
        return Results(request.images, request.batch_size, suffixes, is_whole=bool(request.script_name))

    def first_batches(self, request: Generation, count: int) -> Generation:
        return request.model_copy(update={"n_iter": count})

    def run(self, engine: Any, work: Work, should_stop: Callable[[], Stop]) -> Iterator[Event | EngineState]:
        return engine.run(work.request, work.settings, work.resources, should_stop, first_batch=work.first_batch)


TXT2IMG = Generate("txt2img", "txt2img", Txt2ImgRequest)
IMG2IMG = Generate("img2img", "img2img", Img2ImgRequest, source_field="init_images")
