"""All settings in one frozen object, which travels with each job, and the file that holds them."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from pydantic import ValidationError

from modules.base.disk import write_over
from modules.base.errors import WebuiError
from modules.base.fields import explained, few
from modules.base.kept import Unreadable, copy_aside, read_json
from modules.schema.settings.compatibility import CompatibilitySettings
from modules.schema.settings.img2img import Img2ImgSettings
from modules.schema.settings.output import OutputSettings
from modules.schema.settings.sampling import SamplerSettings
from modules.schema.settings.stable_diffusion import StableDiffusionSettings

log = logging.getLogger(__name__)

MASK, COMPOSITE = "-mask", "-mask-composite"  # ends of file names
MOST_TOLD = 20  # entries of a settings file that are passed over, each in a line of its own


class Settings(  # pydantic lists the fields of the last base first, and the page and infotexts keep that order
    OutputSettings,
    CompatibilitySettings,
    SamplerSettings,
    Img2ImgSettings,
    StableDiffusionSettings,
):
    """All settings of Palimpsest, with A1111's names where they mean the same."""

    def overridden(self, values: dict[str, Any]) -> Self:
        """Another Settings with `values` in place. Raises WebuiError naming the first that does not fit."""
        if not values:
            return self
        try:
            return type(self)(**{**self.model_dump(), **few(type(self), values)})
        except ValidationError as error:
            raise explained(type(self), error) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a JSON file, as far as it can be read; what is missing has its default. What cannot be read is told."""
        settings, unread = cls.read(path)
        for reason in unread[:MOST_TOLD]:
            log.warning("%s is passed over where it says: %s", path, reason)
        if len(unread) > MOST_TOLD:
            log.warning("%s: %d more of its entries are passed over.", path, len(unread) - MOST_TOLD)
        return settings

    @classmethod
    def read(cls, path: Path) -> tuple[Self, tuple[str, ...]]:
        """(the settings in a file, why some of it could not be read). A missing file is all defaults."""
        settings = cls()
        try:
            values = read_json(path)
        except FileNotFoundError:
            return settings, ()
        except Unreadable as reason:
            return settings, (f"{reason}.",)
        if not isinstance(values, dict):
            return settings, ("it is no JSON object.",)
        unread: list[str] = []
        for name, value in cast(dict[str, Any], values).items():
            try:
                settings = settings.overridden({name: value})
            except WebuiError as error:
                unread.append(str(error))
        return settings, tuple(unread)

    @property
    def beside(self) -> Mapping[str, bool]:
        """What belongs to an inpainted picture, by the suffix of its name, and whether it is shown."""
        wanted = {
            MASK: (self.return_mask, self.save_mask),
            COMPOSITE: (self.return_mask_composite, self.save_mask_composite),
        }
        return {suffix: shown for suffix, (shown, saved) in wanted.items() if shown or saved}

    def is_saved(self, suffix: str) -> bool:
        """Whether a picture with this suffix has a file also where its client alone is to have it."""
        return {MASK: self.save_mask, COMPOSITE: self.save_mask_composite}.get(suffix, True)

    def save(self, path: Path) -> None:
        """Write what differs from the defaults, durably; a file that was not understood whole is kept beside it.

        Raises OSError if the disk refuses; then the old file stands.
        """
        if self.read(path)[1]:
            copy_aside(path)
        text = json.dumps(self.model_dump(exclude_defaults=True), indent=2, ensure_ascii=False)
        write_over(path, f"{text}\n".encode())
