"""The files that a job names: found and hashed once, before anything is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from modules.base.errors import WebuiError
from modules.networks.files.listing import HashCache, find_checkpoints, find_vaes
from modules.networks.files.loras import LoraFiles, LoraRequest, lora_hash, stamp_of
from modules.processing.plan import Plan
from modules.prompts.lora_arguments import Window
from modules.prompts.tags import NetworkTag
from modules.schema.catalog import OWN_VAE, Catalog, Checkpoint, Vae
from modules.schema.request import GenerationRequest, Txt2ImgRequest
from modules.schema.settings import EXACT, Settings


@dataclass(frozen=True)
class JobFiles:
    """What a job works with, resolved.

    checkpoint: of the first pass.  second: of the second pass, None for the same.  refiner: what takes over in a pass,
    from the share `switch_at` of it on; None is at once.  vaes: in place of checkpoints' own, by the checkpoints'
    paths.  loras: of each pass, with the steps that each acts in.  lora_hashes: by the names in the prompt.
    missing: a sentence for each LoRA that is not here, and that A1111 would leave out.
    """

    checkpoint: Checkpoint
    second: Checkpoint | None = None
    refiner: Checkpoint | None = None
    switch_at: float | None = None
    vaes: dict[Path, Vae] = field(default_factory=dict[Path, Vae])
    loras: tuple[tuple["TimedLora", ...], ...] = ()
    lora_hashes: dict[str, str] = field(default_factory=dict[str, str])
    missing: tuple[str, ...] = ()

    def of_pass(self, index: int) -> Checkpoint:
        """The checkpoint that a pass begins with."""
        return self.checkpoint if index == 0 or self.second is None else self.second

    def vae_of(self, checkpoint: Checkpoint) -> Vae | None:
        return self.vaes.get(checkpoint.path)


class TimedLora(NamedTuple):
    """A LoRA, and the steps of its pass in which it acts."""

    lora: LoraRequest
    window: Window


class FileFinder:
    """Finds what requests name in the folders that models lie in."""

    def __init__(
        self, hashes: HashCache, checkpoint_dirs: Sequence[Path], vae_dirs: Sequence[Path], lora_dirs: Sequence[Path]
    ) -> None:
        self._hashes = hashes
        self._checkpoint_dirs = tuple(checkpoint_dirs)
        self._vae_dirs = tuple(vae_dirs)
        self._loras = LoraFiles(lora_dirs)

    def resolve(self, request: GenerationRequest, plan: Plan, settings: Settings, checkpoint: Checkpoint) -> JobFiles:
        """Everything that `request` and its `plan` name. Raises WebuiError that suggests the nearest name."""
        second = None
        if isinstance(request, Txt2ImgRequest) and request.enable_hr:
            second = self._named(request.hr_checkpoint_name, "hr_checkpoint_name", checkpoint)
        refiner = self._named(request.refiner_checkpoint, "refiner_checkpoint", checkpoint)
        vaes = self.vaes(settings, [each for each in (checkpoint, second, refiner) if each is not None])
        hashes: dict[str, str] = {}
        missing: dict[str, None] = {}
        loras = self._lora_requests(plan, settings, hashes, missing)
        return JobFiles(checkpoint, second, refiner, request.refiner_switch_at, vaes, loras, hashes, tuple(missing))

    def checkpoint(self, name: str, beside: Checkpoint | None = None) -> Checkpoint:
        """Another checkpoint, also one in the folder of `beside`. Raises WebuiError with the nearest name."""
        folders = [*self._checkpoint_dirs, *([beside.path.parent] if beside is not None else [])]
        return Catalog(tuple(find_checkpoints(folders, self._hashes))).checkpoint(name)

    def vae(self, name: str) -> Vae | None:
        """A VAE's file by name; None for a checkpoint's own. Raises WebuiError with the nearest name."""
        return Catalog(vaes=find_vaes(self._vae_dirs, self._checkpoint_dirs, self._hashes)).vae(name)

    def vaes(self, settings: Settings, checkpoints: Sequence[Checkpoint]) -> dict[Path, Vae]:
        """The VAEs that take the places of checkpoints' own, by the checkpoints' paths."""
        if settings.sd_vae == OWN_VAE:
            return {}
        beside = [*self._checkpoint_dirs, *(checkpoint.path.parent for checkpoint in checkpoints)]
        catalog = Catalog(vaes=find_vaes(self._vae_dirs, beside, self._hashes))
        found = {checkpoint.path: catalog.vae_for(settings.sd_vae, checkpoint) for checkpoint in checkpoints}
        return {path: vae for path, vae in found.items() if vae is not None}

    def _named(self, name: str, field: str, beside: Checkpoint) -> Checkpoint | None:
        if name.strip().lower() in ("", "none"):
            return None
        try:
            return self.checkpoint(name, beside)
        except WebuiError as error:
            raise WebuiError(error.message, error.hint, field) from error

    def _lora_requests(
        self, plan: Plan, settings: Settings, hashes: dict[str, str], missing: dict[str, None]
    ) -> tuple[tuple[TimedLora, ...], ...]:
        """The LoRAs of each pass. One that is not here is an error, unless settings have A1111's way: leave it out."""
        if not any(each.loras for each in plan.passes):
            return tuple(() for _ in plan.passes)
        catalog = Catalog(loras=self._loras.found(self._hashes))

        def found(tag: NetworkTag) -> TimedLora | None:
            try:
                lora = catalog.lora(tag.name)
            except WebuiError as error:
                if settings.compatibility != EXACT:
                    raise
                missing[f"{error.message} The picture is made without it."] = None
                return None
            try:
                hashes[tag.name] = lora_hash(lora, self._hashes)
                named = LoraRequest(tag.name, stamp_of(lora.path), tag.te, tag.unet, tag.dyn_dim, tag.blocks)
                return TimedLora(named, tag.window)
            except WebuiError as error:
                raise WebuiError(f"prompt: the LoRA {tag.name!r}: {error.message}", error.hint, "prompt") from error
            except OSError as error:
                raise WebuiError(
                    f"prompt: the LoRA {tag.name!r} cannot be read: {error.strerror or error}.", "", "prompt"
                ) from error

        return tuple(tuple(filter(None, map(found, each.loras))) for each in plan.passes)
