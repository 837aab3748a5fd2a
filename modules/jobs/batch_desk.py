"""Where batches are handed in: names and ids become files, files become a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modules.catalog import Catalog
from modules.jobs.batch import Batch, Batches, BatchOptions, Materials
from modules.jobs.batch_files import FileSet, Folders, from_files, sorted_out
from modules.settings import Settings
from modules.store.spool import Spool


class Brought(NamedTuple):
    """A file of the spool under the name it came with."""

    name: str
    id: str


@dataclass(frozen=True)
class Desk:
    """The batches, what they were brought, and the folders they may read."""

    batches: Batches
    spool: Spool
    folders: Folders

    @classmethod
    def of(cls, batches: Batches, data_dir: Path, outputs_dir: Path) -> "Desk":
        """A desk with its places below `data_dir`."""
        roots = {"inputs": data_dir / "inputs", "outputs": outputs_dir}
        return cls(batches, Spool(data_dir / "cache" / "batches"), Folders(roots))

    def start(
        self,
        form: Mapping[str, Any],
        options: BatchOptions,
        settings: Settings,
        catalog: Catalog,
        files: Sequence[Brought] = (),
        folder: str = "",
        masks: Sequence[Brought] = (),
        mask_folder: str = "",
    ) -> Batch:
        """Begin a batch with what was brought and what lies in the folders.

        Raises WebuiError for files that are not here, zips that are refused, folders that are none, and whatever
        `Batches.start` finds wrong.
        """
        materials = Materials(
            form, self._file_set(files, folder), self._file_set(masks, mask_folder), options, settings, catalog
        )
        ids = [brought.id for brought in (*files, *masks)]
        return self.batches.start(materials, lambda batch: self.spool.claim(batch, ids), self.spool.release)

    def _file_set(self, files: Sequence[Brought], folder: str) -> FileSet:
        entries = from_files([(brought.name, self.spool.path(brought.id)) for brought in files])
        if folder:
            entries += self.folders.entries(folder)
        return sorted_out(entries)
