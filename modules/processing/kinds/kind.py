"""What a job kind declares. Queue, job store, progress, workers and the routes under /v1/jobs know no kind by name.

A kind is a value that both processes import: it must not import torch when it is loaded.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Stop
from modules.base.fields import Strict, explained
from modules.base.picture import Picture
from modules.prompts.schedule import Timing
from modules.schema.catalog import Catalog, Checkpoint, ControlModel, Embedding, Lora, Vae
from modules.schema.request import GenerationRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings

Request = TypeVar("Request", bound=Strict)
Generation = TypeVar("Generation", bound=GenerationRequest)
NO_SETTINGS: dict[str, Any] = {}


@dataclass(frozen=True)
class Results:
    """What a job makes: `pictures`, in batches of `batch`.

    `suffixes` are those of the files of each picture; the picture's own is "". A job that `is_whole` cannot be
    divided: after a crash it starts again, and pictures already saved are not saved again.
    """

    pictures: int = 1
    batch: int = 1
    suffixes: tuple[str, ...] = ("",)
    is_whole: bool = False

    @property
    def batches(self) -> int:
        return math.ceil(self.pictures / self.batch)


class Names(Protocol):
    """Looks up the names in a request. Each method raises WebuiError with the closest match."""

    @property
    def catalog(self) -> Catalog: ...
    def checkpoint(self, name: str) -> Checkpoint: ...
    def vae(self, choice: str, checkpoint: Checkpoint) -> Vae | None: ...
    def lora(self, name: str) -> Lora: ...
    def control_model(self, name: str) -> ControlModel: ...
    def embeddings(self, prompts: Iterable[tuple[str, Timing]], settings: Settings) -> tuple[Embedding, ...]:
        """The embeddings used in the prompts."""
        ...

    def scripted(self, request: Generation) -> Generation:
        """`request` with its script and the script's arguments checked."""
        ...


@dataclass(frozen=True)
class JobKind(ABC, Generic[Request]):
    """A kind of job. `request` is the class that the API accepts and the job store keeps.

    Its picture fields are found by type and need a default, since pictures are dropped when the job is done.

    `name` is used in the API, in the job store and for the folder of results; `title` is shown in the job list.
    `source_field` is the field with the source pictures, "" if there is none.
    """

    name: str
    title: str
    request: type[Request]
    source_field: str = ""
    needs_checkpoint: bool = True

    def parse(self, values: dict[str, Any]) -> Request:
        """A request from raw values. Raises WebuiError about the first invalid field."""
        try:
            return self.request(**values)
        except ValidationError as error:
            raise explained(self.request, error) from error

    def drawn(self, request: Request, draw: random.Random) -> Request:
        """`request` with its random values drawn, so that the job can be repeated exactly."""
        return request

    def overrides(self, request: Request) -> dict[str, Any]:
        """The settings that the request overrides for itself."""
        return NO_SETTINGS

    def admitted(self, request: Request, settings: Settings, names: Names) -> tuple[Request, Resources]:
        """`request` with canonical names, and the files they refer to. `settings` include the request's overrides.

        Raises WebuiError for a request that cannot be run.
        """
        return request, Resources()

    def results(self, request: Request, settings: Settings) -> Results:
        """What a job with this request makes."""
        return Results()

    def first_batches(self, request: Request, count: int) -> Request:
        """A request for the first `count` batches. Only called for kinds with several batches."""
        return request

    def sources(self, request: Request) -> tuple[Picture, ...]:
        """The source pictures."""
        return getattr(request, self.source_field) if self.source_field else ()

    @abstractmethod
    def run(self, engine: Any, work: "Work", should_stop: Callable[[], Stop]) -> Iterator[Event | EngineState]:
        """Run a job in the engine process, its last event Finished or Failed. `engine` holds device and models.

        `should_stop` returns SKIP once per request to skip, INTERRUPT until the end of the run. Batches before
        `work.first_batch` were made before and are skipped.
        """


@dataclass(frozen=True)
class Work:
    """A job on its way to the engine process. `resources` are all files that it may need.

    `folder`, which need not be there yet, is the job's own: what a run leaves in it, a later run of the same job finds,
    after a crash or a restart. It is removed when the job has ended. None for a job that leaves nothing on the disk.
    """

    kind: JobKind[Any]
    request: Any
    settings: Settings
    resources: Resources
    first_batch: int = 0
    folder: Path | None = None


@dataclass(frozen=True)
class UnknownKind(JobKind[Strict]):
    """Placeholder for a kind of another version or of a missing extension, so that its jobs can be listed."""

    def run(self, engine: Any, work: Work, should_stop: Callable[[], Stop]) -> Iterator[Event | EngineState]:
        raise WebuiError(
            f"No job kind named {self.name[:40]!r} is installed.", "Install the extension it belongs to.", "kind"
        )


def unknown(name: str) -> UnknownKind:
    return UnknownKind(name, name, Strict, needs_checkpoint=False)
