"""The names on offer: what the page's dropdowns list and what a request may name."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules.errors import WebuiError
from modules.sampler_names import SAMPLERS, SCHEDULES


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk. `defaults` come from the small JSON beside it (width, height, steps, cfg_scale …)."""

    name: str
    path: Path
    defaults: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalog:
    """Names by list, as `Control.choices` refers to them."""

    checkpoints: tuple[Checkpoint, ...] = ()

    def names(self, which: str) -> tuple[str, ...]:
        """The labels of one list: checkpoints, samplers or schedulers."""
        return {
            "checkpoints": tuple(c.name for c in self.checkpoints),
            "samplers": tuple(s.name for s in SAMPLERS),
            "schedulers": tuple(s.name for s in SCHEDULES),
        }[which]

    def checkpoint(self, name: str) -> Checkpoint:
        """By name, file name or `name [hash]`, any letter case; the first one for "". Raises WebuiError."""
        if not self.checkpoints:
            raise WebuiError(
                "There is no checkpoint.",
                "Put a .safetensors file into models/Stable-diffusion.",
                "sd_model_checkpoint",
            )
        wanted = name.partition(" [")[0].strip().lower()
        if not wanted:
            return self.checkpoints[0]
        for checkpoint in self.checkpoints:
            if wanted in (checkpoint.name.lower(), checkpoint.path.name.lower(), checkpoint.path.stem.lower()):
                return checkpoint
        near = difflib.get_close_matches(name, [c.name for c in self.checkpoints], 1, 0.0)
        raise WebuiError(f"no checkpoint named {name!r}; did you mean {near[0]!r}?", field="sd_model_checkpoint")
