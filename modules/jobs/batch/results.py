"""The results of a batch: a folder in outputs, pictures named after their sources, and a manifest of finished files.

The manifest lets a later run skip finished files. It has one line of JSON per file, with the hash of everything that
determines the file's pictures.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modules.base.disk import append_line, refusal
from modules.base.errors import WebuiError
from modules.base.kept import Unreadable, parsed, read_bytes
from modules.base.paths import below, checked_folder, plain_part
from modules.store.outputs import Outputs

log = logging.getLogger(__name__)

MANIFEST = "palimpsest-batch.jsonl"


@dataclass(frozen=True)
class Done:
    """An entry of the manifest. `key` is the hash of what made the pictures, `pictures` are names for
    `Outputs.locate`."""

    name: str
    key: str
    pictures: tuple[str, ...]


class Results:
    """The folder `folder` in outputs. Normally one batch uses it at a time, but two can share it without loss."""

    def __init__(self, outputs: Outputs, folder: str) -> None:
        self.folder = checked_folder(folder)
        self.outputs = outputs
        self._manifest = self._inside(f"{self.folder}/{MANIFEST}")
        self._done = {(done.name, done.key): done for done in self._read()}

    def finished(self, name: str, key: str) -> Done | None:
        """The file with this name, if it was made with the same key before and all its pictures still exist."""
        done = self._done.get((name, key))
        return done if done is not None and all(self._is_there(path) for path in done.pictures) else None

    def free_name(self, name: str, pictures: int) -> str:
        """An unused name for the results of the source `name`, relative to the outputs folder and without suffix.

        "holiday/photo.png" becomes "batch/holiday/photo", or "batch/holiday/photo_2" and so on if that is in use. With
        several `pictures`, the first is "batch/holiday/photo-1". Raises WebuiError if a link leads outside outputs.
        """
        path = PurePosixPath(name)
        parent = PurePosixPath(self.folder, *(plain_part(part) for part in path.parent.parts))
        self._inside(parent.as_posix())
        stem = plain_part(path.stem)
        folder = self.outputs.root / parent
        taken = {file.stem.casefold() for file in folder.iterdir()} if folder.is_dir() else set[str]()
        number = 1
        while True:
            base = stem if number == 1 else f"{stem}_{number}"
            if taken.isdisjoint(numbered(base, index, pictures).casefold() for index in range(pictures)):
                return f"{parent}/{base}"
            number += 1

    def note(self, done: Done) -> None:
        """Adds a finished file to the manifest, durably. Raises WebuiError if the disk refuses."""
        line = json.dumps({"name": done.name, "key": done.key, "pictures": done.pictures}, ensure_ascii=False)
        try:
            append_line(self._manifest, line.encode("utf-8", "replace"))
        except OSError as error:
            raise refusal("The list of finished files", self._manifest.parent, error) from error
        self._done[done.name, done.key] = done

    def _inside(self, relative: str) -> Path:
        """A path inside the outputs folder. Raises WebuiError if a link on the way leads outside."""
        if below(self.outputs.root, relative) is None:
            raise WebuiError(
                f"output = {self.folder[:200]!r}: it contains a link that leads outside the outputs folder.",
                "Choose another folder, or replace the link with a folder.",
                "output",
            )
        return self.outputs.root / relative

    def _is_there(self, path: str) -> bool:
        try:
            self.outputs.locate(path)
        except WebuiError:
            return False
        return True

    def _read(self) -> Iterable[Done]:
        """The entries of the manifest; invalid lines (truncated by a crash, or edited) are skipped."""
        try:
            lines = read_bytes(self._manifest).splitlines()
        except FileNotFoundError:
            return
        except Unreadable as reason:
            log.warning("%s cannot be read (%s): finished files will be made again", self._manifest, reason)
            return
        for number, line in enumerate(lines, 1):
            try:
                entry = parsed(line)
                yield Done(str(entry["name"]), str(entry["key"]), tuple(map(str, entry["pictures"])))
            except (Unreadable, KeyError, TypeError):
                log.warning("%s: line %d was skipped: it is not a manifest entry", self._manifest, number)


def numbered(base: str, index: int, pictures: int) -> str:
    """The name of picture `index` (from 0) of several; a single picture gets no number."""
    return base if pictures == 1 else f"{base}-{index + 1}"
