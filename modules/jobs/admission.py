"""Admission: checks a request before it enters the queue, for the page, A1111's API and batches alike.

It checks the settings that the request overrides, all names in it, its size, and its client's share of the queue.
Errors are reported here, in one sentence, and not in the middle of a job.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from modules.base.errors import WebuiError
from modules.extension.loading import Extensions
from modules.jobs.job import JobSpec
from modules.jobs.loader import Choice
from modules.processing.kinds.kind import JobKind
from modules.processing.kinds.resolve import CHECKPOINT, MissingNetworks, loadable
from modules.processing.kinds.words import WordReader
from modules.prompts.schedule import Timing
from modules.prompts.style_file import Style
from modules.prompts.styles import styled
from modules.schema.catalog import Catalog, Checkpoint, ControlModel, Embedding, Lora, Vae
from modules.schema.request import GenerationRequest
from modules.schema.resources import NamedFile
from modules.schema.settings import Settings

log = logging.getLogger(__name__)

Generation = TypeVar("Generation", bound=GenerationRequest)


class CatalogSource(Protocol):
    """Where names are looked up. `look` checks whether the folders have changed, `knowing` waits for hashes in the
    names, `refresh` always reads the disk again, `complete` waits until the LoRAs' headers have been read."""

    @property
    def current(self) -> Catalog: ...
    def look(self) -> Catalog: ...
    def knowing(self, *names: str) -> Catalog: ...
    def refresh(self) -> Catalog: ...
    def complete(self) -> Catalog: ...


@dataclass(frozen=True)
class FixedCatalog:
    """A catalog that never changes: in a batch, a name must mean the same for every file."""

    current: Catalog

    def look(self) -> Catalog:
        return self.current

    def knowing(self, *names: str) -> Catalog:
        return self.current

    def refresh(self) -> Catalog:
        return self.current

    def complete(self) -> Catalog:
        return self.current


NO_SCRIPTS = Extensions({}, ())


@dataclass(frozen=True)
class Admission:
    """Turns a request into a job specification for the queue."""

    source: CatalogSource
    scripts: Extensions = field(default=NO_SCRIPTS)
    styles: Callable[[], Mapping[str, Style]] = dict[str, Style]  # the current styles, by name
    reader: WordReader = field(default_factory=WordReader)

    def admitted(
        self,
        kind: JobKind[Any],
        request: Any,
        settings: Settings,
        leave_out_missing: bool = False,
        styles: Sequence[str] = (),
    ) -> JobSpec:
        """The job for `request`, with its overrides applied to `settings`, the named `styles` applied to its prompts,
        and all names resolved.

        Raises WebuiError with the field at fault. `leave_out_missing` removes the tags of missing LoRAs from the
        prompts; otherwise they raise MissingNetworks.
        """
        settings = settings.overridden(kind.overrides(request))
        if styles:
            request = self._styled(kind, request, styles)
        self.source.look()
        try:
            request, resources = kind.admitted(request, settings, self._names())
        except MissingNetworks as missing:
            if not leave_out_missing:
                raise
            request = missing.left_out(request)
            request, resources = kind.admitted(request, settings, self._names())
        return JobSpec(kind, request, settings, replace(resources, styles=tuple(styles)))

    def readmitted(self, spec: JobSpec) -> JobSpec:
        """A job admitted before a restart or before it failed, with its names resolved to the current files.
        It keeps its checkpoint, whatever the settings say now.

        `files` stay as they were, so that the engine can report which have changed. Raises WebuiError for a missing
        file.
        """
        before = spec.resources
        at_its_place = (row for row in self.source.look().checkpoints if row.path == before.checkpoint.path)
        first = next(at_its_place, before.checkpoint)
        settings = spec.settings.overridden({CHECKPOINT: first.name})
        _, resources = spec.kind.admitted(spec.request, settings, self._names())
        files = _as_before(resources.files, before.files)
        return replace(spec, resources=replace(resources, files=files, styles=before.styles))

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint called `name`. Raises WebuiError: with the closest name if it is missing even after reading
        the disk again, with the reason if its header shows that it cannot be loaded."""
        return self._names().checkpoint(name)

    def vae_choice(self, name: str) -> str:
        """The VAE's `name` as spelled in the list. Raises WebuiError, with the closest name, if it is missing even
        after reading the disk again."""
        return self._names().vae_choice(name)

    def choice(self, checkpoint: Checkpoint, settings: Settings) -> Choice:
        """`checkpoint` and the VAE that `settings` name for it, used if the checkpoint contains none."""
        try:
            return Choice(checkpoint, settings, self.source.look().vae_for(settings.sd_vae, checkpoint))
        except WebuiError as error:
            log.warning("%s", error)
            return Choice(checkpoint, settings)

    def _styled(self, kind: JobKind[Any], request: Any, names: Sequence[str]) -> Any:
        if not isinstance(request, GenerationRequest):
            raise WebuiError(f"styles: a job of the kind {kind.title!r} has no prompt.", "Leave them out.", "styles")
        return styled(request, names, self.styles())

    def _names(self) -> "_Names":
        return _Names(self.source, self.scripts, self.reader)


def _as_before(files: Iterable[NamedFile], before: Sequence[NamedFile]) -> tuple[NamedFile, ...]:
    """`files` with the sizes and times recorded `before`, even for files that were moved."""
    by_path, by_name = {each.path: each for each in before}, {each.name: each for each in before}
    known = ((each, by_path.get(each.path) or by_name.get(each.name) or each) for each in files)
    return tuple(each._replace(size=was.size, changed=was.changed) for each, was in known)


class _Names:
    """Resolves the names of one request. The disk is read again only once, however many LoRAs are missing."""

    def __init__(self, source: CatalogSource, scripts: Extensions, reader: WordReader) -> None:
        self._source = source
        self._scripts = scripts
        self._reader = reader
        self._looked = False

    @property
    def catalog(self) -> Catalog:
        return self._source.current

    def checkpoint(self, name: str) -> Checkpoint:
        try:
            return loadable(self._source.knowing(name).checkpoint(name))
        except WebuiError:
            self._source.refresh()
            return loadable(self._source.knowing(name).checkpoint(name))

    def vae(self, choice: str, checkpoint: Checkpoint) -> Vae | None:
        name = self.vae_choice(choice)
        return self._source.current.vae_for(name, checkpoint)

    def vae_choice(self, name: str) -> str:
        try:
            return self._source.knowing(name).vae_choice(name)
        except WebuiError:
            self._source.refresh()
            return self._source.knowing(name).vae_choice(name)

    def lora(self, name: str) -> Lora:
        try:
            return self._source.current.lora(name)
        except WebuiError:
            if self._looked:
                raise
        self._looked = True
        try:
            return self._source.refresh().lora(name)
        except WebuiError:
            catalog = self._source.complete()
        try:
            return catalog.lora(name)
        except WebuiError as error:
            unread = sum(not lora.is_read for lora in catalog.loras)
            hint = f"LoRA files whose headers have not been read yet: {unread}. One may have that name; try again soon."
            raise WebuiError(error.message, hint if unread else error.hint, error.field) from error

    def control_model(self, name: str) -> ControlModel:
        try:
            return self._source.current.control_model(name)
        except WebuiError:
            return self._source.refresh().control_model(name)

    def embeddings(self, prompts: Iterable[tuple[str, Timing]], settings: Settings) -> tuple[Embedding, ...]:
        return self._reader.named(prompts, settings, self._source.current.embeddings)

    def scripted(self, request: Generation) -> Generation:
        return self._scripts.checked(request, self._source.current)
