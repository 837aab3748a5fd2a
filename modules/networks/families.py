"""The table of model families, and which family a checkpoint belongs to."""

import logging
from collections.abc import Sequence
from typing import Final

from modules.base.errors import WebuiError
from modules.networks.files.checkpoints import family_of_folder
from modules.networks.files.foreign import read_json
from modules.networks.files.ggufs import header_of
from modules.networks.files.listing import DIFFUSERS_INDEX
from modules.networks.flux2.checkpoint import FLUX2_KLEIN
from modules.networks.model import Family, FileSigns
from modules.networks.sd1.checkpoint import SD1
from modules.networks.sd2.checkpoint import SD2
from modules.networks.sdxl.checkpoint import SDXL
from modules.networks.weights import open_weights
from modules.networks.zimage.checkpoint import ZIMAGE
from modules.schema.catalog import Checkpoint

log = logging.getLogger(__name__)

FAMILIES: Final = (FLUX2_KLEIN, ZIMAGE, SDXL, SD2, SD1)


def family_of(checkpoint: Checkpoint, families: Sequence[Family] = FAMILIES) -> Family:
    """The first of `families` that recognizes the file; if none does, the last one, whose loader reports the error."""
    signs = _signs(checkpoint)
    return next((family for family in families if family.matches(signs)), families[-1])


def _signs(checkpoint: Checkpoint) -> FileSigns:
    """What the file shows before any weights are read; empty for an unreadable file."""
    path = checkpoint.path
    try:
        if path.is_dir():
            pipeline = str(read_json(path / DIFFUSERS_INDEX).get("_class_name", ""))
            return FileSigns({}, pipeline, family_of_folder(path).name)
        return FileSigns(header_of(path) or open_weights(path).header)
    except (WebuiError, OSError, ValueError) as error:  # the loader reports this error
        log.info("The family of %s cannot be told: %s", path.name, error)
    return FileSigns({})
