"""Latents that are sampled and not decoded yet, on the disk: sampling is long, and decoding may find no memory.

A file is named by all that its latents follow from, so whoever makes the same batch again (Retry, or a job that is
resumed after its engine process was killed) begins where the other ended. It is removed once the batch is decoded.
Nothing depends on it: what is missing, damaged or could not be written is sampled again.
"""

import hashlib
import json
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import modules
from modules.base.disk import DRAFT
from modules.networks.device import Placement
from modules.processing.plan import ImagePlan
from modules.schema.request import GenerationRequest
from modules.schema.resources import Resources
from modules.schema.settings import Settings
from modules.store.job_store_rows import request_text

log = logging.getLogger(__name__)

FOLDER: Final = "latents"  # of the cache folder
_MOST: Final = 64  # files of jobs that failed and were not retried
_SUFFIX: Final = ".safetensors"
_SIDE_FILES: Final = (".json", ".yaml")
_TOLD: Final = "palimpsest"
_LATENTS: Final = "latents"


@dataclass(frozen=True)
class KeptPass:
    """What came of pass `index` of a batch, and what was found out until then (`Findings`).

    is_refined: whether it ended with the refiner.  latents: (B, C, h, w), fp32.
    """

    index: int
    is_refined: bool
    latents: Tensor
    noted: frozenset[str]
    pairs: dict[str, str]


class KeptLatents:
    """The latents of one job in `folder`; `origin` is all that they follow from, besides the batch.

    Without a folder none are kept.
    """

    def __init__(self, folder: Path | None, origin: str = "") -> None:
        self._folder = folder
        self._origin = origin

    def keep(self, batch: int, images: Sequence[ImagePlan], kept: KeptPass) -> None:
        """Write what came of a pass, in the place of the pass before. A disk that refuses is logged."""
        told = {"index": kept.index, "is_refined": kept.is_refined, "noted": sorted(kept.noted), "pairs": kept.pairs}
        path = self._path(batch, images)
        if path is None:
            return
        draft = path.with_name(f"{secrets.token_hex(4)}{DRAFT}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_oldest(path.parent)
            # Not synced, unlike other files: a power cut loses some minutes, and each picture would wait for the disk.
            save_file({_LATENTS: kept.latents.cpu().contiguous()}, draft, {_TOLD: json.dumps(told)})
            draft.replace(path)
        except (OSError, SafetensorError) as error:
            log.warning("The latents of batch %d cannot be kept until they are decoded: %s", batch, error)
            with suppress(OSError):  # it may not have come into being
                draft.unlink(missing_ok=True)

    def find(self, batch: int, images: Sequence[ImagePlan]) -> KeptPass | None:
        """What was kept of a batch; None if nothing was, or nothing that can be read."""
        path = self._path(batch, images)
        if path is None or not path.is_file():
            return None
        try:
            with cast(Any, safe_open(path, framework="pt", device="cpu")) as file:
                told = json.loads(file.metadata()[_TOLD])
                latents = file.get_tensor(_LATENTS).clone()
            return KeptPass(told["index"], told["is_refined"], latents, frozenset(told["noted"]), dict(told["pairs"]))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            log.warning("Kept latents cannot be read, they are sampled again: %s", error)
            return None

    def forget(self, batch: int, images: Sequence[ImagePlan]) -> None:
        """The batch is decoded, or nobody wants it any more."""
        path = self._path(batch, images)
        try:
            if path is not None:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("Latents that are decoded cannot be removed: %s", error)

    def _path(self, batch: int, images: Sequence[ImagePlan]) -> Path | None:
        if self._folder is None:
            return None
        seeds = [(image.index, image.seed, image.subseed) for image in images]
        name = hashlib.sha256(f"{self._origin}\n{batch}\n{seeds}".encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder / f"{name[:32]}{_SUFFIX}"


def kept_latents(
    cache: Path, request: GenerationRequest, settings: Settings, resources: Resources, place: Placement
) -> KeptLatents:
    """The latents of a job. How many batches it has is left out: Retry asks for fewer, and each is the same."""
    roles = {
        "checkpoint": resources.checkpoint, "refiner": resources.refiner, "hires": resources.hires_checkpoint,
        "vae": resources.vae, "refiner_vae": resources.refiner_vae, "hires_vae": resources.hires_vae,
    }  # fmt: skip
    origin = [
        modules.__version__,
        f"{place.device.type} {place.dtype} {place.vae_dtype}",
        type(request).__name__,
        request_text(request.model_copy(update={"n_iter": 1}), lambda picture: None),
        settings.model_dump_json(),
        repr([(role, str(file.path)) for role, file in roles.items() if file is not None]),
        repr([_stamp(path) for file in resources.files for path in (file.path, *_beside(file.path))]),
    ]
    return KeptLatents(cache / FOLDER, "\n".join(origin))


def _remove_oldest(folder: Path) -> None:
    files = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda file: file.stat().st_mtime)
    for file in files[: max(0, len(files) + 1 - _MOST)]:
        file.unlink(missing_ok=True)


def _beside(path: Path) -> list[Path]:
    """The files that may say what a checkpoint predicts."""
    return [path.with_suffix(suffix) for suffix in _SIDE_FILES]


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:  # none, or gone: whoever needs it says so
        return str(path), -1, 0
    return str(path), status.st_size, status.st_mtime_ns
