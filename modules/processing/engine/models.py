"""The checkpoints of one job, prepared for its passes: with their VAEs and LoRAs, and with tiling if it is on."""

from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

from modules.base.errors import WebuiError
from modules.networks.model import Family, Model
from modules.networks.model_cache import Loaded, ModelCache, Stamps
from modules.networks.previews import PreviewMap
from modules.processing.engine.job import Job
from modules.prompts.lora_arguments import Window
from modules.schema.catalog import Checkpoint
from modules.schema.families import Shown


class JobModels:
    """Takes checkpoints from the cache for one job. Callers keep no reference beyond their work."""

    def __init__(self, cache: ModelCache, job: Job, wrapped: ExitStack) -> None:
        self._cache = cache
        self._job = job
        self._wrapped = wrapped  # until the job ends
        self._wrapping: set[str] = set()  # hashes of the models that tile
        self._stamps = Stamps()

    def is_loaded(self, checkpoint: Checkpoint) -> bool:
        return checkpoint in self._cache

    def first(self, index: int) -> Model:
        """The model that a pass starts with."""
        return self.take(self._job.files.of_pass(index), index)

    def last(self, index: int, is_refined: bool) -> Model:
        """The model that a pass ends with, which may be the refiner."""
        refiner = self._job.files.refiner
        return self.take(refiner, index) if is_refined and refiner is not None else self.first(index)

    def take(self, checkpoint: Checkpoint, index: int) -> Model:
        """A checkpoint prepared for the pass `index`: with its LoRAs, VAE and tiling."""
        job = self._job
        with job.ear.deaf():  # weights are changed completely or not at all
            loaded = self._loaded(checkpoint)
            loras = tuple(timed.lora for timed in job.files.loras[index])
            model = loaded.model.with_loras(self._cache.with_loras(loaded, loras).loras)
            loaded.hypernetworks.change(job.files.hypernetworks[index])
        for note in (*loaded.patch.notes, *loaded.hypernetworks.notes):
            job.findings.note(note)
        # Two checkpoints may share a VAE from a file; only the first wraps it.
        if job.settings.tiling and model.hash not in self._wrapping:
            self._wrapping.add(model.hash)
            self._wrapped.enter_context(model.tiled())
        return model

    def previews(self, checkpoint: Checkpoint) -> PreviewMap:
        return self._loaded(checkpoint).previews

    def lay_over_loras(self, index: int, checkpoint: Checkpoint, step: int) -> None:
        """Merge only the LoRAs that act in a step, if some do not act in every step of the pass."""
        loras = self._job.files.loras[index]
        if all(timed.window == Window() for timed in loras):
            return
        acting = tuple(
            lora if window.start <= step < window.stop else replace(lora, unet=0.0) for lora, window in loras
        )
        self._cache.with_loras(self._loaded(checkpoint), acting)

    def _loaded(self, checkpoint: Checkpoint) -> Loaded:
        return self._cache.take(checkpoint, self._job.files.vae_of(checkpoint), self._stamps)


class Origin(NamedTuple):
    """What is known of the model that made the latents, without keeping it in memory."""

    family: Family
    name: str
    shown: Shown


def require_same_family(origin: Origin, other: Model, label: str, field: str) -> None:
    """Raises WebuiError if `other` cannot use the latents of `origin`."""
    if origin.family.name != other.family.name:
        raise WebuiError(
            f"{label}: {other.name} is a {other.family.label} checkpoint, {origin.name} a {origin.family.label} one. "
            "Latents of one family mean nothing to the other.",
            f"Choose a {origin.family.label} checkpoint.",
            field,
        )
