"""The recipe of a merge, and the metadata of the merged file. Does not import torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from modules.networks.files.foreign import open_file
from modules.networks.files.loras import LoraRequest
from modules.networks.merging.blocks import BlockWeights

Method = Literal["No interpolation", "Weighted sum", "Add difference", "SLERP", "Triple sum"]
Precision = Literal["same", "fp32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2"]

RECIPE, MODELS = "sd_merge_recipe", "sd_merge_models"  # A1111's names in a file's metadata
LONGEST_COPIED: Final = 2**20  # characters of metadata copied from a source; longer values are pictures
_LEGACY_START, _LEGACY_BYTES = 0x100000, 0x10000  # the bytes that A1111's old eight-digit hash covers


COUNTS: Final[Mapping[Method, int]] = {
    "No interpolation": 1, "Weighted sum": 2, "Add difference": 3, "SLERP": 2, "Triple sum": 3,
}  # how many checkpoints a method takes  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A merge with all names resolved.

    sources: A, B and C, as many as the method takes.  multiplier: of B, or of B - C.  multiplier_c: of C in a triple
    sum.  vae: its tensors replace A's.  discard: a regular expression; tensors whose keys contain a match are left
    out.  loras: baked into the merged tensors.  metadata: written to the new file.  target: the path of the new file.
    """

    sources: tuple[Path, ...]
    target: Path
    method: Method = "Weighted sum"
    multiplier: float = 0.3
    multiplier_c: float = 0.0
    blocks: BlockWeights | None = None
    save_as: Precision = "same"
    vae: Path | None = None
    discard: str = ""
    loras: tuple[LoraRequest, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    overwrite: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        return (*self.sources, *((self.vae,) if self.vae else ()), *(one.stamp.path for one in self.loras))


class Source(NamedTuple):
    """A merged checkpoint, as described in the metadata. `sha256` is in hex."""

    name: str
    path: Path
    sha256: str
    metadata: Mapping[str, str]


def merge_notes(sources: Sequence[Source], settings: Mapping[str, Any]) -> dict[str, str]:
    """A1111's metadata of a merge: `sd_merge_recipe` with `settings`, and `sd_merge_models` by the sources' hashes,
    including those of earlier merges."""
    hashes = [source.sha256 for source in sources] + [None] * 3
    keys = ("primary_model_hash", "secondary_model_hash", "tertiary_model_hash")
    recipe = {"type": "webui", **dict(zip(keys, hashes, strict=False)), **settings}
    models: dict[str, Any] = {}
    for source in sources:
        models[source.sha256] = {
            "name": source.name,
            "legacy_hash": legacy_hash(source.path),
            RECIPE: _json(source.metadata.get(RECIPE)),
        }
        earlier = _json(source.metadata.get(MODELS))
        models |= earlier if isinstance(earlier, dict) else {}
    return {RECIPE: json.dumps(recipe), MODELS: json.dumps(models)}


def copied_notes(sources: Sequence[Source]) -> dict[str, str]:
    """The sources' own metadata without merges and pictures; later sources override earlier ones."""
    notes: dict[str, str] = {}
    for source in sources:
        notes |= {key: text for key, text in source.metadata.items() if len(text) <= LONGEST_COPIED}
    return {key: text for key, text in notes.items() if key not in (RECIPE, MODELS)}


def legacy_hash(path: Path) -> str:
    """A1111's model hash before 2023: eight hex digits of the sha256 of 64 KB, 1 MB into the file."""
    with open_file(path) as file:
        file.seek(_LEGACY_START)
        return hashlib.sha256(file.read(_LEGACY_BYTES)).hexdigest()[:8]


def _json(text: str | None) -> Any:
    """The parsed value; None for None, and the text itself if it is not JSON."""
    try:
        return json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        return text
