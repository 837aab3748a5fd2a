"""The objects that routes use. Each owns its state and is thread-safe."""

import logging
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from modules.api.card_index import CardIndex
from modules.api.catalog_holder import CatalogHolder
from modules.api.sse import Places
from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.clip.chunks import TokenCount, Vocabulary
from modules.extension.loading import Extensions
from modules.extension.loading import load as load_extensions
from modules.fetching.fetcher import Fetcher
from modules.flags.flags import Flags
from modules.infotext.grammar import Infotext
from modules.infotext.parse import parse
from modules.infotext.read import ParsedFields, to_fields
from modules.jobs.admission import Admission
from modules.jobs.batch.intake import BatchIntake
from modules.jobs.downloads import Downloads
from modules.jobs.job import Job, JobSpec
from modules.jobs.learned import Learner
from modules.jobs.limits import JobLimits
from modules.jobs.queue import JobQueue, Submission
from modules.jobs.saving import JobSavers
from modules.networks.files.cards import CardFiles
from modules.prompts.style_book import StyleBook
from modules.schema.catalog import Checkpoint
from modules.schema.settings import Settings
from modules.store.history import History
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures
from modules.store.speeds import Speeds
from modules.store.thumbnails import Thumbnails

log = logging.getLogger(__name__)

CHECKPOINT = "sd_model_checkpoint"


class CountsTokens(Protocol):
    """Counts the tokens of a prompt; `reader` finds the words of embeddings in it."""

    def __call__(self, prompt: str) -> TokenCount: ...

    def reader(self) -> tuple[ClipBPE, Vocabulary]: ...


class SettingsHolder:
    """The current settings and the file that stores them.

    A selected checkpoint takes effect immediately; it is saved once it has been loaded.
    """

    def __init__(self, settings: Settings, path: Path) -> None:
        self.refusals = 0  # how often a selection was reverted
        self._current = settings
        self._path = path
        self._lock = threading.Lock()
        self._kept_checkpoint = settings.sd_model_checkpoint

    @property
    def current(self) -> Settings:
        return self._current

    def change(self, values: dict[str, Any]) -> Settings:
        """Apply and save `values`.

        Raises WebuiError if one is invalid or the file cannot be written; then nothing changes.
        """
        with self._lock:
            changed = self._current.overridden(values)
            before = self._kept_checkpoint
            if not changed.sd_model_checkpoint:  # "" means the first checkpoint that can be loaded
                self._kept_checkpoint = ""
            try:
                self._save(changed)
            except WebuiError:
                self._kept_checkpoint = before
                raise
            self._current = changed
            return changed

    def loaded(self, name: str) -> None:
        """The checkpoint `name` was loaded: save it if it is the selected one. Raises WebuiError if saving fails."""
        with self._lock:
            if self._current.sd_model_checkpoint == name != self._kept_checkpoint:
                before, self._kept_checkpoint = self._kept_checkpoint, name
                try:
                    self._save(self._current)
                except WebuiError:
                    self._kept_checkpoint = before
                    raise

    def refused(self, name: str) -> None:
        """The checkpoint `name` could not be loaded: if it is the selected one, restore the previous one."""
        with self._lock:
            if self._current.sd_model_checkpoint == name != self._kept_checkpoint:
                self._current = self._current.overridden({CHECKPOINT: self._kept_checkpoint})
                self.refusals += 1

    def _save(self, settings: Settings) -> None:
        try:
            settings.overridden({CHECKPOINT: self._kept_checkpoint}).save(self._path)
        except OSError as error:
            raise WebuiError(
                f"The settings cannot be saved in {self._path}: {error.strerror or error}.",
                "Free some disk space, or make the folder writable.",
                status=507,
            ) from error


def models_in(parsed: Infotext) -> tuple[str, ...]:
    """The names and hashes of the models in an infotext."""
    named = (f"{parsed.pairs.get(kind, '')} [{parsed.pairs.get(f'{kind} hash', '')}]" for kind in ("Model", "VAE"))
    return (*named, *(parsed.pairs.get(key, "") for key in ("Model hash", "VAE hash", "Refiner", "Hires checkpoint")))


@dataclass(frozen=True)
class Services:
    """The objects that routes use. `count_tokens` counts tokens as the text encoder does, for the prompt's counter."""

    queue: JobQueue
    catalog: CatalogHolder
    settings: SettingsHolder
    outputs: Outputs
    pictures: Pictures
    flags: Flags
    count_tokens: CountsTokens
    intake: BatchIntake
    savers: JobSavers
    history: History
    limits: JobLimits = field(default_factory=JobLimits)
    streams: Places = field(default_factory=Places)
    extensions: Extensions = field(default_factory=load_extensions)
    card_files: CardFiles = field(default_factory=CardFiles)
    borrowed_styles: tuple[Path, ...] = ()  # styles.csv files of other programs
    speeds: Speeds = field(default_factory=Speeds)

    def __post_init__(self) -> None:
        self.queue.listeners.add(self._learn)
        self.queue.listeners.add(self._learner.look)
        self.queue.file_listeners.add(self._look)
        self.catalog.listeners.add(self.queue.listeners.call)  # clients that follow the state learn of new names

    def look_on(self) -> None:
        """From now on, examine models and the files beside them in the background."""
        self.catalog.begin()
        self.cards.begin()

    def _look(self) -> None:
        """A job has made a model file: scan again, in a new thread, because thousands of files take a while."""
        threading.Thread(target=self.catalog.refresh, name="new file", daemon=True).start()

    def _learn(self) -> None:
        state = self.queue.state()
        if state.state == "ready":
            self.catalog.learn(state.checkpoint)
            try:
                self.settings.loaded(state.checkpoint)
            except WebuiError as error:
                log.warning("%s", error)
        if state.state == "failed":
            self.settings.refused(state.checkpoint)

    @property
    def models_revision(self) -> int:
        """A number that increases when the lists of models change, and when a selection is reverted."""
        return self.catalog.revision + self.settings.refusals

    @cached_property
    def _learner(self) -> Learner:
        return Learner(self.queue, self.speeds, lambda: self.catalog.current, self.outputs.locate)

    @cached_property
    def styles(self) -> StyleBook:
        return StyleBook(self.flags.data_dir, self.borrowed_styles)

    @cached_property
    def admission(self) -> Admission:
        """Turns requests into jobs."""
        return Admission(self.catalog, self.extensions, self.styles.styles)

    @cached_property
    def cards(self) -> CardIndex:
        """The cards of all models."""
        return CardIndex(self.catalog, self.card_files)

    @cached_property
    def thumbnails(self) -> Thumbnails:
        """Small copies of pictures: of cards, of the history, and of results that are too large for the page."""
        return Thumbnails(self.flags.data_dir / "cache" / "thumbnails")

    @cached_property
    def downloads(self) -> Downloads:
        """Downloads model files from the hub."""
        return Downloads(Fetcher(self.flags.models_dir, self.flags.offline), self._look)

    def select_checkpoint(self, checkpoint: Checkpoint, settings: Settings) -> None:
        """Tell the engine to load `checkpoint` as soon as no job waits."""
        self.queue.select_checkpoint(self.admission.choice(checkpoint, settings))

    def submit(self, client: str, spec: JobSpec, is_kept: bool = True) -> Job:
        """Queue a job of `client` (see clients.py); `is_kept` is as in `Submission`.

        Raises WebuiError, and Busy if the client has too many jobs.
        """
        return self.limits.submit(client, lambda: self.queue.submit(spec, Submission(is_kept=is_kept)))

    def retry(self, client: str, job_id: str) -> list[Job]:
        """Queue jobs for the missing pictures of a failed job. Raises WebuiError, and Busy if `client` has too many."""
        return self.queue.retry(job_id, lambda put: self.limits.submit(client, put), self.admission.readmitted)

    def read_infotext(self, text: str) -> ParsedFields:
        """Parse an infotext into request fields, with its models resolved to installed files."""
        parsed = parse(text)
        catalog = self.catalog.knowing(*models_in(parsed))
        return to_fields(parsed, settings=self.settings.current, catalog=catalog)

    def with_vae(self, values: dict[str, Any]) -> dict[str, Any]:
        """`values` with the VAE's name spelled as in the list; the current VAE is accepted even if it is missing.

        Raises WebuiError for a VAE that is not installed.
        """
        name = values.get("sd_vae")
        if not isinstance(name, str) or not name.strip() or name == self.settings.current.sd_vae:
            return values
        return {**values, "sd_vae": self.admission.vae_choice(name)}
