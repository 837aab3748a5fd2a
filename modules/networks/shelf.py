"""Loaded checkpoints: as many as memory allows, the latest used last."""

import logging
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from diffusers import AutoencoderKL

from modules.catalog import Checkpoint, Vae
from modules.clip_bpe import ClipBPE
from modules.errors import WebuiError
from modules.networks.checkpoint import MissingVae, StableDiffusion, load_checkpoint, load_vae
from modules.networks.device import Place, available_bytes, release_memory
from modules.networks.files import HashCache
from modules.networks.foreign import FIELD, real_path
from modules.networks.lora import Patch
from modules.networks.previews import PreviewMap, fit_preview
from modules.networks.vae import cell_size

log = logging.getLogger(__name__)

MOST: Final = 3  # a job has one, another for its second pass, and a refiner; each may have a VAE from a file
_GROWTH: Final = 2  # fp16 on disk becomes fp32 at worst
_LEFT_FREE: Final = 2 * 2**30  # bytes that the work itself needs


class Loaded(NamedTuple):
    """A checkpoint in memory, how its latents are shown while they grow, and what lays LoRAs over its weights."""

    model: StableDiffusion
    previews: PreviewMap
    patch: Patch


class Stamp(NamedTuple):
    """A file as it was when it was read."""

    path: Path
    changed: int


class VaeKey(NamedTuple):
    """A VAE's file, and the scale of the latents of the checkpoint it serves."""

    stamp: Stamp
    scaling_factor: float


class LoadedVae(NamedTuple):
    """A VAE from a file of its own."""

    part: AutoencoderKL
    previews: PreviewMap


class Shelf:
    """Holds up to `MOST` checkpoints. Another one is loaded only after those that leave no memory for it are gone.

    Whoever takes a checkpoint should not keep it longer than for its work: it is freed when nobody holds it.
    """

    def __init__(self, place: Place, tokenizer: ClipBPE, hashes: HashCache) -> None:
        self._place = place
        self._tokenizer = tokenizer
        self._hashes = hashes
        self._held: OrderedDict[Stamp, Loaded] = OrderedDict()
        self._vaes: OrderedDict[VaeKey, LoadedVae] = OrderedDict()

    def __contains__(self, checkpoint: Checkpoint) -> bool:
        return _stamp(checkpoint.path) in self._held

    def __len__(self) -> int:
        return len(self._held)

    def take(self, checkpoint: Checkpoint, vae: Vae | None = None) -> Loaded:
        """`checkpoint`, loaded unless it is there, with the VAE from the file `vae` in the place of its own.

        Nothing is written over: without `vae`, its own is there as before. Raises WebuiError for a file that cannot be
        loaded, and for a VAE that does not fit; MissingVae for one without a VAE inside. Others are let go only once
        all that its header shows is in order.
        """
        stamp = _stamp(checkpoint.path)
        if stamp not in self._held:
            needed = _bytes_on_disk(checkpoint.path) * _GROWTH + _LEFT_FREE

            def make_room(least: int) -> None:
                self._require_memory(checkpoint, least)
                self._make_room(needed)

            spare = vae.path if vae is not None else None
            model = load_checkpoint(
                checkpoint, self._place, self._tokenizer, self._hashes, spare=spare, make_room=make_room
            )
            previews = fit_preview(model.vae)
            self._held[stamp] = Loaded(model, previews, Patch(model))
            if spare is not None and not model.has_own_vae:
                self._vaes[_vae_key(spare, model)] = LoadedVae(model.vae, previews)
        self._held.move_to_end(stamp)
        loaded = self._held[stamp]
        if vae is None:
            if not loaded.model.has_own_vae:
                raise MissingVae(f"{checkpoint.name} has no VAE inside.", "Choose a VAE in the settings.", FIELD)
            return loaded
        other = self._other(vae, loaded.model)
        digits = self._hashes.short(vae.path)
        model = replace(loaded.model, vae=other.part, vae_name=vae.name, vae_hash=digits)
        return loaded._replace(model=model, previews=other.previews)

    def _other(self, vae: Vae, model: StableDiffusion) -> LoadedVae:
        key = _vae_key(vae.path, model)
        if key not in self._vaes:
            part = load_vae(vae.path, self._place, key.scaling_factor)
            _require_fit(vae, part, model)
            while len(self._vaes) >= MOST:
                self._vaes.popitem(last=False)
            self._vaes[key] = LoadedVae(part, fit_preview(part))
        else:
            _require_fit(vae, self._vaes[key].part, model)
        self._vaes.move_to_end(key)
        return self._vaes[key]

    def clear(self) -> None:
        self._held.clear()
        self._vaes.clear()
        release_memory(self._place.device)

    def _require_memory(self, checkpoint: Checkpoint, least: int) -> None:
        """Raises WebuiError, and nothing has been let go, if the weights do not fit even where nothing else is held."""
        held = sum(loaded.model.size for loaded in self._held.values())
        free = available_bytes(self._place.device) + held
        if least > free:
            raise WebuiError(
                f"{checkpoint.name} needs {least / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB can be had.",
                "Close other programs, or choose a smaller checkpoint.",
                "sd_model_checkpoint",
            )

    def _make_room(self, needed: int) -> None:
        while self._held and (len(self._held) >= MOST or available_bytes(self._place.device) < needed):
            self._vaes.clear()
            stamp, _ = self._held.popitem(last=False)
            log.info("Let go of %s", stamp.path.name)
            release_memory(self._place.device)


def _require_fit(vae: Vae, part: AutoencoderKL, model: StableDiffusion) -> None:
    """Raises WebuiError for latents that the checkpoint's UNet does not know."""
    channels, cell = part.config["latent_channels"], cell_size(part)
    if (channels, cell) != (model.latent_channels, model.scale):
        raise WebuiError(
            f"The VAE {vae.name} does not fit the checkpoint {model.name}: its latents have {channels} channels and "
            f"cells of {cell} pixels, expected {model.latent_channels} and {model.scale}.",
            "Choose another.",
            "sd_vae",
        )


def _vae_key(path: Path, model: StableDiffusion) -> VaeKey:
    return VaeKey(_stamp(path), float(model.vae.config["scaling_factor"]))


def _stamp(path: Path) -> Stamp:
    path = real_path(path)
    return Stamp(path, path.stat().st_mtime_ns if path.exists() else 0)


def _bytes_on_disk(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
