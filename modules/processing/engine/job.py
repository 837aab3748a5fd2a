"""What the batches of one job share, and what is learned while it runs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from modules.base.errors import WebuiError
from modules.base.events import Stop
from modules.extension.loading import ExtensionCall
from modules.infotext.keys import EXTENSIONS
from modules.networks.files.embeddings import embedding_hash
from modules.networks.files.listing import HashCache
from modules.networks.model import Model
from modules.networks.parts import Ear
from modules.processing.clock import Stopwatch
from modules.processing.denoise.prompts import PromptSet
from modules.processing.engine.job_files import JobFiles
from modules.processing.engine.kept_latents import KeptLatents
from modules.processing.engine.scene import NoiseOf
from modules.processing.plan import Plan
from modules.schema.catalog import Embedding
from modules.schema.request import GenerationRequest
from modules.schema.resources import NO_RESOURCES, Resources
from modules.schema.settings import EXACT, Settings
from modules.schema.upscalers import UPSCALERS, Upscaler

ShouldStop = Callable[[], Stop]


@dataclass(frozen=True)
class Job:
    """A running request. `given` are the settings without the request's overrides, `settings` the effective ones.

    `latents` are kept on the disk between sampling and decoding; `noise` replaces the noise that is added to a source;
    `extensions` are those that the request names; `upscalers` are all that exist; `resources` are the files that
    admission found; `findings` grow while the job runs.
    """

    request: GenerationRequest
    given: Settings
    settings: Settings
    plan: Plan
    files: JobFiles
    should_stop: ShouldStop
    ear: Ear
    clock: Stopwatch
    latents: KeptLatents
    noise: NoiseOf | None = None
    extensions: tuple[ExtensionCall, ...] = ()
    upscalers: tuple[Upscaler, ...] = UPSCALERS
    resources: Resources = NO_RESOURCES
    findings: "Findings" = field(default_factory=lambda: Findings())

    @property
    def is_exact(self) -> bool:
        return self.settings.compatibility == EXACT


class Findings:
    """What a running job finds out, for the infotext and for the user.

    `noted` are settings that had an effect, `pairs` the infotext's entries about LoRAs, embeddings and checkpoints.
    """

    def __init__(self) -> None:
        self.noted: set[str] = set()
        self.pairs: dict[str, str] = {}
        self._notes: dict[str, bool] = {}  # whether it was reported
        self._words: dict[Embedding, None] = {}

    def note(self, sentence: str) -> None:
        """Add a sentence for the user, once."""
        self._notes.setdefault(sentence, False)

    def unreported(self) -> list[str]:
        """The notes not reported yet; they then count as reported."""
        new = [note for note, is_reported in self._notes.items() if not is_reported]
        self._notes.update(dict.fromkeys(new, True))
        return new

    def extensions(self, calls: Sequence[ExtensionCall]) -> None:
        """The infotext's entries about extensions: their arguments, nested under their names."""
        if calls:
            values = {each.name: each.arguments.model_dump(mode="json") for each in calls}
            self.pairs[EXTENSIONS] = json.dumps(values, ensure_ascii=False)

    def loras(self, hashes: Mapping[str, str]) -> None:
        if hashes:
            self.pairs["Lora hashes"] = ", ".join(f"{name}: {digits}" for name, digits in hashes.items())

    def prompts(self, prompts: PromptSet, model: Model, hashes: HashCache) -> None:
        """The infotext's entry about embeddings; names are written without the characters of its own syntax."""
        self.noted.update(prompts.noted)
        for word in prompts.unusable:
            self.note(f"The embedding {word.name!r} has no effect: {word.unusable_with(model.text_width)}")
        self._words.update(dict.fromkeys(prompts.words))
        try:
            digits = [(word.name, embedding_hash(word, hashes)) for word in self._words if not word.within]
        except OSError as error:
            raise WebuiError(f"prompt: an embedding is missing: {error.strerror or error}.", "", "prompt") from error
        if digits:
            written = [f"{name.replace(':', '').replace(',', '')}: {each}" for name, each in digits]
            self.pairs["TI hashes"] = ", ".join(written)
