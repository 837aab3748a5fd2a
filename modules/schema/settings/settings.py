"""All settings in one frozen object, which each job carries, and the file that stores them."""

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
from modules.schema.settings.memory import MemorySettings
from modules.schema.settings.output import OutputSettings
from modules.schema.settings.sampling import SamplerSettings
from modules.schema.settings.sdxl import StableDiffusionXLSettings
from modules.schema.settings.stable_diffusion import StableDiffusionSettings

log = logging.getLogger(__name__)

MASK, COMPOSITE = "-mask", "-mask-composite"  # suffixes of file names
MOST_REPORTED = 20  # ignored entries of a settings file that get a log line each


class Settings(  # pydantic lists the fields of the last base first, and the page and infotexts keep that order
    OutputSettings,
    CompatibilitySettings,
    SamplerSettings,
    Img2ImgSettings,
    MemorySettings,
    StableDiffusionXLSettings,
    StableDiffusionSettings,
):
    """All settings of Palimpsest, with A1111's names where they mean the same."""

    def overridden(self, values: dict[str, Any]) -> Self:
        """A copy with `values` changed. Raises WebuiError for the first invalid one."""
        if not values:
            return self
        try:
            return type(self)(**{**self.model_dump(), **few(type(self), values)})
        except ValidationError as error:
            raise explained(type(self), error) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """The settings in a JSON file. Missing ones get their defaults; invalid ones are logged and ignored."""
        settings, unread = cls.read(path)
        for reason in unread[:MOST_REPORTED]:
            log.warning("%s: an entry was ignored: %s", path, reason)
        if len(unread) > MOST_REPORTED:
            log.warning("%s: %d more entries were ignored.", path, len(unread) - MOST_REPORTED)
        return settings

    @classmethod
    def read(cls, path: Path) -> tuple[Self, tuple[str, ...]]:
        """(the settings in a file, why parts of it could not be read). A missing file means all defaults."""
        settings = cls()
        try:
            values = read_json(path, any_number=True)
        except FileNotFoundError:
            return settings, ()
        except Unreadable as reason:
            return settings, (f"{reason}.",)
        if not isinstance(values, dict):
            return settings, ("it is not a JSON object.",)
        unread: list[str] = []
        for name, value in cast(dict[str, Any], values).items():
            try:
                settings = settings.overridden({name: value})
            except WebuiError as error:
                unread.append(str(error))
        return settings, tuple(unread)

    @property
    def beside(self) -> Mapping[str, bool]:
        """The extra pictures of an inpainted one: file name suffix -> whether the picture is shown."""
        extras = {
            MASK: (self.return_mask, self.save_mask),
            COMPOSITE: (self.return_mask_composite, self.save_mask_composite),
        }
        return {suffix: shown for suffix, (shown, saved) in extras.items() if shown or saved}

    def is_saved(self, suffix: str) -> bool:
        """Whether a picture with this suffix is saved even if the client asked for no files."""
        return {MASK: self.save_mask, COMPOSITE: self.save_mask_composite}.get(suffix, True)

    def save(self, path: Path) -> None:
        """Write what differs from the defaults, durably. Keeps a copy of the old file if part of it was unreadable.

        Raises OSError if writing fails; the old file is then unchanged.
        """
        if self.read(path)[1]:
            copy_aside(path)
        text = json.dumps(self.model_dump(exclude_defaults=True), indent=2, ensure_ascii=False)
        write_over(path, f"{text}\n".encode())
