"""A cache of loaded checkpoints: as many as memory and the settings allow, the most recently used last."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch import nn

from modules.base.errors import WebuiError
from modules.clip.bpe import ClipBPE
from modules.networks.device import Mode, Placement, available_bytes, release_memory
from modules.networks.families import FAMILIES, family_of
from modules.networks.files.foreign import FIELD, real_path
from modules.networks.files.headers import Stamp, stamp_of
from modules.networks.files.listing import HashCache
from modules.networks.files.loras import LoraRequest
from modules.networks.files.own_notes import written_prediction
from modules.networks.hypernetworks import Hypernetworks
from modules.networks.lora.patch import Patch
from modules.networks.memory import LEFT_FREE, Fp8, MemoryMode, Needs, mode_for, needs_of, takes_fp8
from modules.networks.model import Family, LoadTools, MissingVae, Model, VaeSlot
from modules.networks.offload import Offloading
from modules.networks.previews import PreviewMap, fit_preview
from modules.schema.catalog import Checkpoint, Vae

log = logging.getLogger(__name__)

MOST: Final = 3  # per job: one, another for its second pass, and a refiner; each may have a separate VAE


class Limits(NamedTuple):
    """The limits for loaded checkpoints: how many, and how many bytes (0: all free memory)."""

    most: int = MOST
    ram: int = 0
    vram: int = 0
    fp8: Fp8 = "Disable"


class Forecast(NamedTuple):
    """What `take` will do. `lets_go`: names of the checkpoints it will unload; `mode`: how it will hold this one."""

    is_loaded: bool
    mode: Mode
    is_fp8: bool
    needs: Needs
    free: int
    lets_go: tuple[str, ...]


class Loaded(NamedTuple):
    """A checkpoint in memory, its preview map, and the objects that apply other networks to it."""

    model: Model
    previews: PreviewMap
    patch: Patch
    hypernetworks: Hypernetworks
    prediction: tuple[Any, Any] = (None, None)  # as in the JSON next to the checkpoint


class Stamps:
    """The states of a job's files when the job first used them."""

    def __init__(self) -> None:
        self._first: dict[Path, tuple[Stamp, ...]] = {}
        self._predictions: dict[Path, tuple[Any, Any]] = {}

    def of(self, path: Path) -> tuple[Stamp, ...]:
        """The stamps of all files of a checkpoint or VAE, which may be a folder; () if it does not exist."""
        if path not in self._first:
            self._first[path] = _stamps(path)
        return self._first[path]

    def prediction(self, checkpoint: Path) -> tuple[Any, Any]:
        """The prediction noted in the JSON next to a checkpoint."""
        return self._predictions.setdefault(checkpoint, written_prediction(checkpoint))


class VaeKey(NamedTuple):
    """A VAE's file, and what else its loading depends on (`VaeSlot.key`)."""

    stamps: tuple[Stamp, ...]
    read_by: float


class LoadedVae(NamedTuple):
    """A VAE from a separate file, and the start of its hash."""

    part: Any
    previews: PreviewMap
    digits: str


class ModelCache:
    """Holds as many checkpoints as `limits` allow. If memory is short, others are unloaded before the next is loaded.

    A caller should not keep a checkpoint longer than it needs it: its memory is freed when nobody references it.
    `asked` is the memory mode from the command line, if given.
    """

    def __init__(
        self,
        place: Placement,
        tokenizer: ClipBPE,
        hashes: HashCache,
        families: Sequence[Family] = FAMILIES,
        memory: MemoryMode = "auto",
    ) -> None:
        self.limits = Limits()
        self._offloading = Offloading()
        self._place = replace(place, ready=self._offloading.ready)
        self._memory: MemoryMode = memory
        self._families = tuple(families)
        self._tokenizer = tokenizer
        self._hashes = hashes
        self._held: OrderedDict[tuple[Stamp, ...], Loaded] = OrderedDict()
        self._vaes: OrderedDict[VaeKey, LoadedVae] = OrderedDict()
        self._needs: dict[tuple[Stamp, ...], Needs] = {}

    def __contains__(self, checkpoint: Checkpoint) -> bool:
        return _stamps(checkpoint.path) in self._held

    def __len__(self) -> int:
        return len(self._held)

    def family_of(self, checkpoint: Checkpoint) -> Family:
        """The family of a checkpoint, loaded or not."""
        loaded = self._held.get(_stamps(checkpoint.path))
        return family_of(checkpoint, self._families) if loaded is None else loaded.model.family

    def take(self, checkpoint: Checkpoint, vae: Vae | None = None, stamps: Stamps | None = None) -> Loaded:
        """`checkpoint`, loaded if necessary, with the VAE from the file `vae` instead of its own.

        Its own VAE is kept and used again without `vae`. With the `stamps` of a job, the files are those that the job
        started with, even if they have been replaced since. Raises WebuiError for a file that cannot be loaded or was
        replaced before loading, and for a VAE that does not fit; MissingVae for a checkpoint without a VAE.
        Other checkpoints are unloaded only after its header was checked.
        """
        stamps = stamps or Stamps()
        stamp = stamps.of(checkpoint.path)
        prediction = stamps.prediction(checkpoint.path)
        if stamp in self._held and (
            self._held[stamp].prediction != prediction
            or self._held[stamp].model.place.is_fp8 != self.forecast(checkpoint).is_fp8
        ):
            self._offloading.rest()
            del self._held[stamp]
        if stamp not in self._held:
            _require_unchanged(checkpoint.name, checkpoint.path, stamp)
            forecast = self.forecast(checkpoint)
            place = replace(self._place, mode=forecast.mode, is_fp8=forecast.is_fp8)

            def make_room(least: int) -> None:
                needed = forecast.needs.of(forecast.mode)
                self._require_memory(checkpoint, least if forecast.mode == "whole" else needed)
                self._make_room(needed)

            spare = vae.path if vae is not None else None
            tools = LoadTools(place, self._tokenizer, self._hashes, spare, make_room)
            model = family_of(checkpoint, self._families).load(checkpoint, tools)
            for name, part in model.parts.items():
                self._manage(name, part, model.place)
            previews = fit_preview(model.encode, model.latent.cell)
            _require_unchanged(checkpoint.name, checkpoint.path, stamp)
            self._held[stamp] = Loaded(model, previews, Patch(model), Hypernetworks(model), prediction)
            slot = model.vae_slot
            if spare is not None and slot is not None and not slot.is_own:
                self._vaes[VaeKey(stamps.of(spare), slot.key)] = LoadedVae(
                    slot.part, previews, self._hashes.short(spare)
                )
        elif [one.inode for one in _stamps(checkpoint.path)] == [one.inode for one in stamp]:
            _require_unchanged(checkpoint.name, checkpoint.path, stamp)  # weights may be mapped from the file
        self._held.move_to_end(stamp)
        loaded = self._held[stamp]
        slot = loaded.model.vae_slot
        if vae is None or slot is None:
            if slot is not None and not slot.is_own:
                raise MissingVae(f"{checkpoint.name} has no VAE inside.", "Choose a VAE in the settings.", FIELD)
            return loaded
        other = self._other(vae, loaded.model, slot, stamps.of(vae.path))
        model = slot.placed(other.part, vae.name, other.digits)
        return loaded._replace(model=model, previews=other.previews)

    def _other(self, vae: Vae, model: Model, slot: VaeSlot, stamps: tuple[Stamp, ...]) -> LoadedVae:
        key = VaeKey(stamps, slot.key)
        if key not in self._vaes:
            _require_unchanged(vae.name, vae.path, stamps)
            part = slot.load(vae.path)
            slot.require_fit(vae.name, part)
            self._manage("vae", part, model.place)
            digits = self._hashes.short(vae.path)
            _require_unchanged(vae.name, vae.path, stamps)
            while len(self._vaes) >= MOST:
                self._vaes.popitem(last=False)
            self._vaes[key] = LoadedVae(part, fit_preview(slot.encoder(part), model.latent.cell), digits)
        else:
            slot.require_fit(vae.name, self._vaes[key].part)
        self._vaes.move_to_end(key)
        return self._vaes[key]

    def with_loras(self, loaded: Loaded, loras: Sequence[LoraRequest]) -> Model:
        """A checkpoint of this cache with exactly `loras` in its weights. Raises like `Patch.changed`."""
        if tuple(loras) != loaded.patch.requests:
            self._offloading.rest()
        return loaded.patch.changed(loras)

    def forecast(self, checkpoint: Checkpoint) -> Forecast:
        """What `take` will do for a checkpoint, as far as its header shows."""
        loaded = self._held.get(_stamps(checkpoint.path))
        needs = self._needs_of(checkpoint)
        free = available_bytes(self._place.device)
        is_fp8 = takes_fp8(needs, self.limits.fp8, self._place)
        if loaded is not None and loaded.model.place.is_fp8 == is_fp8:
            return Forecast(True, loaded.model.place.mode, is_fp8, needs, free, ())
        sizes = [each.model.size for each in self._held.values()]
        mode = mode_for(needs, free + sum(sizes), self._memory, self._place)
        going = 0
        while going < len(sizes) and self._is_short(
            needs.of(mode), len(sizes) - going, sum(sizes[going:]), free + sum(sizes[:going])
        ):
            going += 1
        names = [each.model.name for each in self._held.values()]
        return Forecast(False, mode, is_fp8, needs, free, tuple(names[:going]))

    def _needs_of(self, checkpoint: Checkpoint) -> Needs:
        """The memory needs from the file's header, which is read once.

        A checkpoint without a text encoder uses one of `text_encoders`; the largest is assumed.
        """
        stamps = _stamps(checkpoint.path)
        if stamps not in self._needs:
            needs = needs_of(checkpoint.path, self._place)
            texts = [needs_of(path, self._place) for path in checkpoint.text_encoders]
            self._needs[stamps] = needs.beside(max(texts, key=lambda each: each.whole)) if texts else needs
        return self._needs[stamps]

    def clear(self) -> None:
        self._offloading.rest()
        self._held.clear()
        self._vaes.clear()
        release_memory(self._place.device)

    def _manage(self, name: str, part: nn.Module, place: Placement) -> None:
        """Sets how a part is moved. Only the denoiser goes layer by layer: other parts are small and run once per
        picture."""
        is_denoiser = name == "denoiser"
        dtype = place.dtype if is_denoiser else place.vae_dtype if name == "vae" else place.text_dtype
        mode = "parts" if place.mode == "layers" and not is_denoiser else place.mode
        self._offloading.manage(part, place, dtype, mode, place.is_fp8 and is_denoiser)

    def _is_short(self, needed: int, count: int, held: int, free: int) -> bool:
        """Whether memory is short for a checkpoint of `needed` bytes, with `count` others loaded that take `held`."""
        limit = self.limits.vram if self._place.device.type == "cuda" else self.limits.ram
        if count >= self.limits.most or (limit and held + needed > limit):
            return True
        return free < needed + LEFT_FREE

    def _require_memory(self, checkpoint: Checkpoint, least: int) -> None:
        """Raises WebuiError, before unloading anything, if the weights would not fit even with nothing else loaded."""
        held = sum(loaded.model.size for loaded in self._held.values())
        free = available_bytes(self._place.device) + held
        if least > free:
            raise WebuiError(
                f"{checkpoint.name} needs {least / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB can be had.",
                "Close other programs, or choose a smaller checkpoint.",
                "sd_model_checkpoint",
            )

    def _make_room(self, needed: int) -> None:
        while self._held:
            held = sum(each.model.size for each in self._held.values())
            if not self._is_short(needed, len(self._held), held, available_bytes(self._place.device)):
                return
            self._offloading.rest()
            self._vaes.clear()
            _, loaded = self._held.popitem(last=False)
            log.info("Let go of %s", loaded.model.name)
            del loaded
            release_memory(self._place.device)


def _require_unchanged(name: str, path: Path, stamps: tuple[Stamp, ...]) -> None:
    """Raises WebuiError if a file was replaced or modified since the stamps were taken."""
    if _stamps(path) != stamps:
        raise WebuiError(
            f"The file {name} was replaced while the job ran: the rest would come from another model.",
            "Generate again.",
            FIELD,
        )


def _stamps(path: Path) -> tuple[Stamp, ...]:
    path = real_path(path)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return tuple(stamp_of(file) for file in files if file.exists())
