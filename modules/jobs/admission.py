"""Admission: what stands between a request and the queue, for the page, A1111's API and batches alike.

The settings that a request overrides, everything that it names, its size, and its client's share of the queue: what is
wrong is refused here, in a sentence, and not in the middle of a job.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from modules.base.errors import WebuiError
from modules.extension.loading import Extensions
from modules.jobs.job import JobSpec
from modules.processing.kinds.kind import JobKind
from modules.processing.kinds.resolve import MissingNetworks
from modules.schema.catalog import Catalog, Checkpoint, Lora, Vae
from modules.schema.request import GenerationRequest
from modules.schema.settings import Settings

CHECKPOINT = "sd_model_checkpoint"

Generation = TypeVar("Generation", bound=GenerationRequest)


class CatalogSource(Protocol):
    """Where names are looked up: `knowing` waits for hashes in the names, `refresh` looks at the disk again."""

    @property
    def current(self) -> Catalog: ...
    def knowing(self, *said: str) -> Catalog: ...
    def refresh(self) -> Catalog: ...


@dataclass(frozen=True)
class FixedCatalog:
    """A catalog that stays as it is: a batch's, whose files shall all mean the same by a name."""

    current: Catalog

    def knowing(self, *said: str) -> Catalog:
        return self.current

    def refresh(self) -> Catalog:
        return self.current


NO_SCRIPTS = Extensions({}, ())


@dataclass(frozen=True)
class Admission:
    """Makes of a request what the queue takes."""

    source: CatalogSource
    scripts: Extensions = field(default=NO_SCRIPTS)

    def admitted(
        self, kind: JobKind[Any], request: Any, settings: Settings, leave_out_missing: bool = False
    ) -> JobSpec:
        """The job of `request`, under `settings` and those that it overrides; all that it names is looked up.

        Raises WebuiError with the field at fault. `leave_out_missing` takes tags of LoRAs that are not here out of the
        prompts; else they raise MissingNetworks.
        """
        settings = settings.overridden(kind.overrides(request))
        try:
            request, resources = kind.admitted(request, settings, _Names(self.source, self.scripts))
        except MissingNetworks as missing:
            if not leave_out_missing:
                raise
            request = missing.left_out(request)
            request, resources = kind.admitted(request, settings, _Names(self.source, self.scripts))
        return JobSpec(kind, request, settings, resources)

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint that `name` means. Raises WebuiError, with the nearest name, if it is not there after another
        look, and with the reason if its header shows that it cannot be loaded."""
        return _Names(self.source, self.scripts).checkpoint(name)

    def vae_choice(self, name: str) -> str:
        """The VAE `name` as the list has it. Raises WebuiError, with the nearest name, if it is not there after another
        look."""
        try:
            return self.source.knowing(name).vae_choice(name)
        except WebuiError:
            self.source.refresh()
            return self.source.knowing(name).vae_choice(name)


class _Names:
    """The names of one request. Missing LoRAs cost one more look at the disk, however many they are."""

    def __init__(self, source: CatalogSource, scripts: Extensions) -> None:
        self._source = source
        self._scripts = scripts
        self._looked = False

    @property
    def catalog(self) -> Catalog:
        return self._source.current

    def checkpoint(self, name: str) -> Checkpoint:
        try:
            return _loadable(self._source.knowing(name).checkpoint(name))
        except WebuiError:
            self._source.refresh()
            return _loadable(self._source.knowing(name).checkpoint(name))

    def vae(self, choice: str, checkpoint: Checkpoint) -> Vae | None:
        name = Admission(self._source).vae_choice(choice)
        return self._source.current.vae_for(name, checkpoint)

    def lora(self, name: str) -> Lora:
        try:
            return self._source.current.lora(name)
        except WebuiError:
            if self._looked:
                raise
        self._looked = True
        return self._source.refresh().lora(name)

    def scripted(self, request: Generation) -> Generation:
        return self._scripts.checked(request, self._source.current)


def _loadable(checkpoint: Checkpoint) -> Checkpoint:
    if checkpoint.reason:
        raise WebuiError(checkpoint.reason, field=CHECKPOINT)
    return checkpoint
