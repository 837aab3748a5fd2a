"""The picture size that a checkpoint was trained at. Free of torch."""

import logging
from pathlib import Path

from modules.base.errors import WebuiError
from modules.networks.files.detect import PIPELINES, FileType, detect, family_named
from modules.networks.files.foreign import read_json
from modules.networks.files.listing import DIFFUSERS_INDEX, is_diffusers_folder, read_header
from modules.schema.catalog import Checkpoint

log = logging.getLogger(__name__)

ASSUMED = "sd1"  # the family of a file that does not tell one: a pickle, which is not opened for this, or a damaged one


class NativeSizes:
    """Sizes by checkpoint: what the JSON beside it says, else what its family has. Each header is read once."""

    def __init__(self) -> None:
        self._sides: dict[tuple[Path, int], int] = {}

    def of(self, checkpoint: Checkpoint) -> tuple[int, int]:
        """(width, height) in pixels. One side alone in the JSON means both."""
        said = [side for name in ("width", "height") if isinstance(side := checkpoint.defaults.get(name), int)]
        if said:
            return said[0], said[-1]
        side = self._side(checkpoint.path)
        return side, side

    def _side(self, path: Path) -> int:
        key = (path, path.stat().st_mtime_ns if path.exists() else 0)
        if key not in self._sides:
            self._sides[key] = _family(path).side or family_named(ASSUMED).side
        return self._sides[key]


def _family(path: Path) -> FileType:
    try:
        if is_diffusers_folder(path):
            return family_named(PIPELINES.get(str(read_json(path / DIFFUSERS_INDEX).get("_class_name")), ""))
        if path.suffix.lower() == ".safetensors":
            return detect(read_header(path))
    except (WebuiError, OSError, ValueError) as error:
        log.info("The family of %s cannot be told: %s", path.name, error)
    return family_named(ASSUMED)
