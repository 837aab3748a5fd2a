"""A stand-in for the engine in tests of scripts, with painted pictures instead of a network's."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Failed, Finished, ImageDone, Started, Stepped, Stop, Warned
from modules.base.picture import Picture
from modules.extension.loading import PACKAGE, Extensions, load
from modules.processing.kinds.resolve import CatalogNames
from modules.processing.kinds.words import WordReader
from modules.processing.scripts import run_script
from modules.schema.catalog import Catalog, Checkpoint, ControlModel
from modules.schema.request import GenerationRequest, Img2ImgRequest, Txt2ImgRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.schema.sizes import SD1_SIZES

HERE = Checkpoint("here", Path("here.safetensors"))
CONTROLS = tuple(ControlModel(name, Path(f"{name}.pth")) for name in ("lines", "depth"))
CATALOG = Catalog((HERE, Checkpoint("other", HERE.path)), control_models=CONTROLS)


def part_of(extension: str, name: str) -> Any:
    """A module of a bundled extension, `name`, beside its `extension.py`."""
    load()
    return importlib.import_module(f"{PACKAGE}{extension}.{name}")


def color(seed: int) -> tuple[int, int, int]:
    return (seed * 37 % 256, seed * 59 % 256, seed * 83 % 256)


@dataclass
class Stage:
    """`requested` are the requests that the script made, in order, and `noises` the sources of their noise.

    A stop goes to the run of that number.
    """

    extensions: Extensions
    requested: list[GenerationRequest] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    stops: dict[int, Stop] = field(default_factory=dict)
    noises: list[Any] = field(default_factory=list)

    def run(
        self,
        request: GenerationRequest,
        settings: Settings,
        resources: Resources,
        should_stop: Any,
        *,
        noise: Any = None,
    ) -> Iterator[Event | EngineState]:
        number = len(self.requested)
        self.requested.append(request)
        self.noises.append(noise)
        self.checkpoints.append(resources.checkpoint.name)
        stop = self.stops.get(number, Stop.NONE)
        yield Started(request.images, request.n_iter, request.steps, request.width, request.height, request.seed)
        yield Stepped(0, 1, request.steps)
        if request.prompt == "warn":
            yield Warned("something")
        if request.prompt == "fail":
            yield Failed("It went wrong.")
            return
        for i in range(0 if stop else request.images):
            image = Image.new("RGB", (request.width // 8 * 8, request.height // 8 * 8), color(request.seed + i))
            text = f"{request.prompt}\nSteps: {request.steps}, Seed: {request.seed + i}, Version: x"
            yield ImageDone(i, request.seed + i, image.width, image.height, text, image.tobytes())
        yield Finished(1.0, {"unet": 0.5}, interrupted=stop is Stop.INTERRUPT)

    def events(self, request: GenerationRequest, settings: Settings | None = None) -> list[Event | EngineState]:
        chosen = self.extensions.chosen(request)
        settings = settings or Settings()
        names = CatalogNames(CATALOG, WordReader())
        resources = Resources(HERE, catalog=CATALOG)
        return list(run_script(chosen, self.run, names, request, settings, resources, lambda: Stop.NONE, SD1_SIZES))

    def pictures(self, request: GenerationRequest) -> list[ImageDone]:
        events = self.events(request)
        assert not [event for event in events if isinstance(event, Failed)]
        return [event for event in events if isinstance(event, ImageDone)]


@pytest.fixture
def stage() -> Stage:
    return Stage(load())


def source(width: int = 96, height: int = 64) -> Picture:
    image = Image.new("RGB", (width, height), (200, 40, 90))
    image.paste((20, 160, 60), (width // 4, height // 4, width // 2, height // 2))
    return Picture.from_image(image)


def txt2img(script: str, *args: Any, **values: Any) -> Txt2ImgRequest:
    values = {"width": 64, "height": 64, "seed": 7, "subseed": 3, "steps": 4, **values}
    return Txt2ImgRequest.parse({**values, "script_name": script, "script_args": args})


def img2img(script: str, *args: Any, **values: Any) -> Img2ImgRequest:
    values = {"width": 64, "height": 64, "seed": 7, "subseed": 3, "steps": 4, "init_images": (source(),), **values}
    return Img2ImgRequest.parse({**values, "script_name": script, "script_args": args})


def refusal(action: Callable[[], object]) -> WebuiError:
    with pytest.raises(WebuiError) as caught:
        action()
    return caught.value


def opened(done: ImageDone) -> Image.Image:
    return Image.frombytes("RGB", (done.width, done.height), done.pixels)


def values_of(requests: Sequence[GenerationRequest], *names: str) -> list[Any]:
    found = [tuple(getattr(request, name) for name in names) for request in requests]
    return [each[0] for each in found] if len(names) == 1 else found
