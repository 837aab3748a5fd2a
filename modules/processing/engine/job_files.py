"""The files of a job as admission found them, sorted by the passes that use them. No folder is read here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from modules.base.errors import WebuiError
from modules.networks.files.embeddings import bundled_in
from modules.networks.files.headers import stamp_of
from modules.networks.files.listing import HashCache, weights_of
from modules.networks.files.loras import LoraRequest, lora_hash
from modules.networks.hypernetworks import HypernetworkRequest
from modules.processing.plan import Plan
from modules.prompts.lora_arguments import Window
from modules.prompts.tags import NetworkTag
from modules.schema.catalog import Catalog, Checkpoint, Embedding, Vae
from modules.schema.request import GenerationRequest
from modules.schema.resources import Resources
from modules.schema.settings import EXACT, Settings


@dataclass(frozen=True)
class JobFiles:
    """What a job works with, resolved.

    checkpoint: of the first pass.  second: of the second pass, None for the same.  refiner: takes over at the fraction
    `switch_at` of a pass; None is at once.  vaes: replace the checkpoints' own, by the checkpoints' paths.  loras: of
    each pass, with the steps in which each acts.  lora_hashes: by the names in the prompt.  hypernetworks: of each
    pass.  notes: a sentence for each LoRA or hypernetwork that is missing and that A1111 would leave out, and for each
    file that was replaced after admission.
    """

    checkpoint: Checkpoint
    second: Checkpoint | None = None
    refiner: Checkpoint | None = None
    switch_at: float | None = None
    vaes: dict[Path, Vae] = field(default_factory=dict[Path, Vae])
    loras: tuple[tuple["TimedLora", ...], ...] = ()
    lora_hashes: dict[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    hypernetworks: tuple[tuple[HypernetworkRequest, ...], ...] = ()

    def of_pass(self, index: int) -> Checkpoint:
        """The checkpoint that a pass begins with."""
        return self.checkpoint if index == 0 or self.second is None else self.second

    def vae_of(self, checkpoint: Checkpoint) -> Vae | None:
        return self.vaes.get(checkpoint.path)


class TimedLora(NamedTuple):
    """A LoRA, and the steps of its pass in which it acts."""

    lora: LoraRequest
    window: Window


def job_files(
    request: GenerationRequest, plan: Plan, settings: Settings, resources: Resources, hashes: HashCache
) -> JobFiles:
    """The files that `plan` needs, as admission found them.

    Raises WebuiError for an unknown name, with the closest match, and for a LoRA whose file is gone.
    """
    found: dict[str, str] = {}
    missing: dict[str, None] = {}
    loras = _lora_requests(plan, settings, resources.catalog, hashes, found, missing)
    hypernetworks = _hypernetwork_requests(plan, resources.catalog, missing)
    return JobFiles(
        resources.checkpoint,
        resources.hires_checkpoint,
        resources.refiner,
        request.refiner_switch_at,
        _vaes(resources),
        loras,
        found,
        (*missing, *_replaced(resources)),
        hypernetworks,
    )


def offered_embeddings(files: JobFiles, installed: Sequence[Embedding]) -> tuple[Embedding, ...]:
    """The embeddings that a job's prompts may name: the installed ones, and those inside its LoRAs.

    Of two with the same name the installed one is used, as in A1111.
    """
    found = {embedding.name.casefold(): embedding for embedding in installed}
    for path in dict.fromkeys(timed.lora.stamp.path for timed in (one for each in files.loras for one in each)):
        try:
            bundled = bundled_in(path)
        except (WebuiError, OSError):
            continue  # merging the LoRA reports the error
        for embedding in bundled:
            found.setdefault(embedding.name.casefold(), embedding)
    return (*installed, *(each for each in found.values() if each.within))


def _vaes(resources: Resources) -> dict[Path, Vae]:
    """The VAEs that replace the checkpoints' own, by the checkpoints' paths."""
    pairs = (
        (resources.checkpoint, resources.vae),
        (resources.refiner, resources.refiner_vae),
        (resources.hires_checkpoint, resources.hires_vae),
    )
    return {checkpoint.path: vae for checkpoint, vae in pairs if checkpoint is not None and vae is not None}


def _replaced(resources: Resources) -> Iterator[str]:
    """A sentence for each file that was replaced after admission. A missing file is reported when it is loaded."""
    for file in resources.files:
        path = weights_of(file.path)
        if path.exists() and _size_and_time(path) != (file.size, file.changed):
            yield f"{file.name} was replaced after the job was submitted: the picture is made with the new file."


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _hypernetwork_requests(
    plan: Plan, catalog: Catalog, missing: dict[str, None]
) -> tuple[tuple[HypernetworkRequest, ...], ...]:
    """The hypernetworks of each pass; missing ones are left out, as in A1111."""
    passes: list[tuple[HypernetworkRequest, ...]] = []
    for each in plan.passes:
        found: list[HypernetworkRequest] = []
        for tag in each.hypernetworks:
            file = catalog.hypernetwork(tag.name)
            if file is None or not file.path.exists():
                why = "there is no hypernetwork of this name. The tag was removed."
                missing[f"<hypernet:{tag.name[:100]}> has no effect: {why}"] = None
            else:
                found.append(HypernetworkRequest(tag.name, stamp_of(file.path), tag.multiplier))
        passes.append(tuple(found))
    return tuple(passes)


def _lora_requests(
    plan: Plan,
    settings: Settings,
    catalog: Catalog,
    hashes: HashCache,
    found: dict[str, str],
    missing: dict[str, None],
) -> tuple[tuple[TimedLora, ...], ...]:
    """The LoRAs of each pass. A missing one is an error, unless the setting says to leave it out as A1111 does."""

    def timed(tag: NetworkTag) -> TimedLora | None:
        try:
            lora = catalog.lora(tag.name)
        except WebuiError as error:
            if settings.compatibility != EXACT:
                raise
            missing[f"{error.message} The picture is made without it."] = None
            return None
        try:
            found[tag.name] = lora_hash(lora, hashes)
            named = LoraRequest(tag.name, stamp_of(lora.path), tag.te, tag.unet, tag.dyn_dim, tag.blocks)
            return TimedLora(named, tag.window)
        except WebuiError as error:
            raise WebuiError(f"prompt: the LoRA {tag.name!r}: {error.message}", error.hint, "prompt") from error
        except OSError as error:
            raise WebuiError(
                f"prompt: the LoRA {tag.name!r} cannot be read: {error.strerror or error}.", "", "prompt"
            ) from error

    return tuple(tuple(filter(None, map(timed, each.loras))) for each in plan.passes)
