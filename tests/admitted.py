"""Runs requests through admission, with the files of some folders, and straight to an engine, without a queue."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Failed, Stop
from modules.clip.bpe import ClipBPE
from modules.infotext.recipe import Recipe
from modules.networks.files.control import find_control_models
from modules.networks.files.embeddings import EmbeddingFiles
from modules.networks.files.hypernetworks import find_hypernetworks
from modules.networks.files.listing import HashCache, find_checkpoints, find_vaes
from modules.networks.files.loras import LoraFiles
from modules.processing.engine import Engine
from modules.processing.kinds.resolve import CatalogNames, resolved
from modules.processing.kinds.words import WordReader
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.request import GenerationRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings


@dataclass
class Folders:
    """Folders that are scanned before each job, as the web process does when one of their files has changed."""

    cache: Path
    checkpoints: tuple[Path, ...] = ()
    loras: tuple[Path, ...] = ()
    embeddings: tuple[Path, ...] = ()
    vaes: tuple[Path, ...] = ()
    hypernetworks: tuple[Path, ...] = ()
    control_models: tuple[Path, ...] = ()
    reader: WordReader = field(default_factory=lambda: WordReader(ClipBPE()))

    def catalog(self) -> Catalog:
        hashes = HashCache(self.cache / "hashes.json")
        return Catalog(
            tuple(find_checkpoints(self.checkpoints, hashes)),
            LoraFiles(self.loras).found(hashes),
            EmbeddingFiles(self.embeddings).found(),
            find_vaes(self.vaes, self.checkpoints, hashes),
            find_hypernetworks(self.hypernetworks),
            control_models=find_control_models(self.control_models),
        )

    def resources(self, catalog: Catalog, recipe: Recipe) -> Resources:
        """The files of a picture that is to be made again."""
        return resolved(recipe.request, recipe.settings, CatalogNames(catalog, self.reader), recipe.checkpoint)[1]

    def run(
        self,
        engine: Engine,
        request: GenerationRequest,
        settings: Settings,
        checkpoint: Checkpoint,
        should_stop: Callable[[], Stop] = lambda: Stop.NONE,
        first_batch: int = 0,
    ) -> Iterator[Event | EngineState]:
        """The events of a job that starts with `checkpoint`; a request that admission refuses counts as failed."""
        try:
            own = settings.overridden(request.override_settings)
            request, resources = resolved(request, own, CatalogNames(self.catalog(), self.reader), checkpoint)
        except WebuiError as error:
            yield Failed(error.message, error.hint, error.field)
            return
        yield from engine.run(request, settings, resources, should_stop, first_batch)
