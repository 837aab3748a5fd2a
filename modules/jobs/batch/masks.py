"""Which mask belongs to which picture of a batch."""

from modules.base.picture import Picture
from modules.jobs.batch.files import BatchFile, FileSet
from modules.jobs.batch.materials import Materials

MASK_ENDINGS = ("", "_mask", "-mask", ".mask")


class LeftOut(Exception):
    """A file is skipped; the message says why."""


class Masks:
    """Finds the mask of a picture. Masks are read when needed; a mask for all pictures is read once."""

    def __init__(self, materials: Materials) -> None:
        self._options = materials.options
        self._masks = materials.masks.pictures
        self._by_key = {file.key: file for file in reversed(self._masks)}
        self._by_stem = {file.stem: file for file in reversed(self._masks)}
        self._is_one = self._one_for_all(materials.files)
        self._one: Picture | None = None

    def of(self, file: BatchFile) -> tuple[Picture | None, tuple[str, ...]]:
        """The picture's mask, and notes about it. Raises LeftOut, or WebuiError if it cannot be read."""
        if not self._masks:
            return None, ()
        if self._is_one:
            self._one = self._one or self._read(self._masks[0])
            return self._one, ()
        found = self._named(file)
        if found is not None:
            return self._read(found), ()
        if self._options.unmasked == "whole":
            return None, ("No mask has its name, so all of it was redrawn.",)
        raise LeftOut("No mask has its name.")

    def _one_for_all(self, files: FileSet) -> bool:
        if self._options.masks_for != "auto":
            return self._options.masks_for == "all"
        if len(self._masks) != 1:
            return False
        return len(files.pictures) == 1 or all(self._named(file) is None for file in files.pictures)

    def _named(self, file: BatchFile) -> BatchFile | None:
        """The mask with the picture's name, in the same folder or else in any other."""
        for names, name in ((self._by_key, file.key), (self._by_stem, file.stem)):
            for ending in MASK_ENDINGS:
                if name + ending in names:
                    return names[name + ending]
        return None

    def _read(self, file: BatchFile) -> Picture:
        return Picture.from_bytes(file.read(), f"the mask {file.name}")
