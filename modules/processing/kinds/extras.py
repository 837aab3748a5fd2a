"""One picture upscaled, without a model: A1111's Extras as a job."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Failed, Finished, ImageDone, Staged, Started, Stepped, Stop
from modules.base.fields import Strict
from modules.base.picture import Picture
from modules.images.geometry import Size
from modules.infotext.grammar import compose
from modules.processing.kinds.kind import JobKind, Names, Work
from modules.processing.upscale import require_room, upscaled
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.upscalers import NONE, named, of_pictures
from modules.store.metadata import read


class ExtrasRequest(Strict):
    """The fields of A1111's extra-single-image that are about upscaling."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Picture | None = Field(default=None, description="The picture.")
    resize_mode: int = Field(
        default=0,
        ge=0,
        le=1,
        description="0 upscales by upscaling_resize, 1 to a size.",
    )
    upscaling_resize: float = Field(default=2.0, gt=0, le=64, description="Upscaling factor.")
    upscaling_resize_w: int = Field(default=512, ge=1, le=32_768, description="Width of the result, in resize mode 1.")
    upscaling_resize_h: int = Field(default=512, ge=1, le=32_768, description="Height of the result, in resize mode 1.")
    upscaling_crop: bool = Field(default=True, description="In resize mode 1: crop the result to the exact size.")
    upscaler_1: str = Field(
        default="Lanczos", max_length=200, description="Name of an upscaler of pictures; None changes nothing."
    )
    upscaler_2: str = Field(default=NONE, max_length=200, description="Second upscaler, blended over the first.")
    extras_upscaler_2_visibility: float = Field(default=0.0, ge=0, le=1, description="Opacity of the second upscaler.")


class _Interrupted(Exception):
    """Raised out of an upscaler's work."""


@dataclass(frozen=True)
class Extras(JobKind[ExtrasRequest]):
    """Computed in the engine process, so that the web process keeps answering."""

    def parse(self, values: dict[str, Any]) -> ExtrasRequest:
        request = super().parse(values)
        if request.image is None:
            raise WebuiError("image: there is no picture.", "Send one.", "image")
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
        image = request.image.open()

        def hear() -> None:
            if should_stop():
                raise _Interrupted

        yield Started(1, 1, 1, *image.size, seed=0)
        yield Staged("upscaling")
        pairs: dict[str, object] = {}
        try:
            hear()
            rows = of_pictures(engine.upscalers(work.resources.catalog, hear))
            first, second = (named(getattr(request, field), rows, field) for field in ("upscaler_1", "upscaler_2"))
            if first.name != NONE:
                image, pairs = upscaled(request, image, first, second)
        except _Interrupted:
            yield Finished(time.monotonic() - begun, {}, interrupted=True)
            return
        except WebuiError as error:
            yield Failed(error.message, error.hint, error.field)
            return
        text = ", ".join(filter(None, (read(request.image).infotext, compose("", "", pairs))))
        yield Stepped(0, 1, 1)
        pixels = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
        yield ImageDone(0, 0, *pixels.size, infotext=text, pixels=pixels.tobytes())
        yield Finished(time.monotonic() - begun, {"upscaling": time.monotonic() - begun})


EXTRAS = Extras("extras", "Extras", ExtrasRequest, source_field="image", needs_checkpoint=False)
