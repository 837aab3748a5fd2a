"""Loaded checkpoints: as many as memory allows, the latest used last."""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple

from modules.catalog import Checkpoint
from modules.clip_bpe import ClipBPE
from modules.networks.checkpoint import StableDiffusion, load_checkpoint
from modules.networks.device import Place, available_bytes, release_memory
from modules.networks.files import HashCache
from modules.networks.lora import Patch
from modules.networks.previews import PreviewMap, fit_preview

log = logging.getLogger(__name__)

MOST: Final = 3  # a job has one, another for its second pass, and a refiner
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


class Shelf:
    """Holds up to `MOST` checkpoints. Another one is loaded only after those that leave no memory for it are gone.

    Whoever takes a checkpoint should not keep it longer than for its work: it is freed when nobody holds it.
    """

    def __init__(self, place: Place, tokenizer: ClipBPE, hashes: HashCache) -> None:
        self._place = place
        self._tokenizer = tokenizer
        self._hashes = hashes
        self._held: OrderedDict[Stamp, Loaded] = OrderedDict()

    def __contains__(self, checkpoint: Checkpoint) -> bool:
        return _stamp(checkpoint) in self._held

    def __len__(self) -> int:
        return len(self._held)

    def take(self, checkpoint: Checkpoint) -> Loaded:
        """`checkpoint`, loaded unless it is there. Raises WebuiError for a file that cannot be loaded."""
        stamp = _stamp(checkpoint)
        if stamp not in self._held:
            self._make_room(_bytes_on_disk(checkpoint.path) * _GROWTH + _LEFT_FREE)
            model = load_checkpoint(checkpoint, self._place, self._tokenizer, self._hashes)
            self._held[stamp] = Loaded(model, fit_preview(model.vae), Patch(model))
        self._held.move_to_end(stamp)
        return self._held[stamp]

    def clear(self) -> None:
        self._held.clear()
        release_memory(self._place.device)

    def _make_room(self, needed: int) -> None:
        while self._held and (len(self._held) >= MOST or available_bytes(self._place.device) < needed):
            stamp, _ = self._held.popitem(last=False)
            log.info("Let go of %s", stamp.path.name)
            release_memory(self._place.device)


def _stamp(checkpoint: Checkpoint) -> Stamp:
    path = checkpoint.path.resolve()
    return Stamp(path, path.stat().st_mtime_ns if path.exists() else 0)


def _bytes_on_disk(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
