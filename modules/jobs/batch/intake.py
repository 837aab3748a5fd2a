"""Creating batches: finds the files by their names and ids, and starts a batch with them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modules.base.errors import WebuiError
from modules.jobs.batch.batch import Batch
from modules.jobs.batch.batches import Batches
from modules.jobs.batch.files import BatchFile, FileSet, Folders, from_files, in_order, sorted_out
from modules.jobs.batch.materials import Materials
from modules.jobs.batch.options import BatchOptions
from modules.processing.kinds.generate import IMG2IMG
from modules.processing.kinds.registry import BUILT_IN
from modules.prompts.style_file import Style
from modules.schema.catalog import Catalog
from modules.schema.settings import Settings
from modules.store.spool import Spool

log = logging.getLogger(__name__)


class UploadedFile(NamedTuple):
    """A file in the spool, and its name."""

    name: str
    id: str


class Files(NamedTuple):
    """Uploaded files, and a folder on the server, "" for none."""

    uploads: Sequence[UploadedFile] = ()
    folder: str = ""


@dataclass(frozen=True)
class BatchIntake:
    """The batches, their uploaded files, and the folders they may read."""

    batches: Batches
    spool: Spool
    folders: Folders

    @classmethod
    def of(cls, batches: Batches, data_dir: Path, outputs_dir: Path) -> "BatchIntake":
        """The intake with its folders inside `data_dir`."""
        roots = {"inputs": data_dir / "inputs", "outputs": outputs_dir}
        return cls(batches, Spool(data_dir / "cache" / "batches"), Folders(roots))

    def start(
        self,
        form: Mapping[str, Any],
        options: BatchOptions,
        settings: Settings,
        catalog: Catalog,
        files: Files = Files(),  # noqa: B008  # it is frozen
        masks: Files = Files(),  # noqa: B008
        leave_out_missing: bool = False,
        kind: str = IMG2IMG.name,
    ) -> Batch:
        """Starts a batch with uploaded files and the files in the folders.

        Raises WebuiError for missing files, invalid zips or folders, and everything that `Batches.start` rejects.
        """
        form = self.batches.require_names(form, settings, catalog, leave_out_missing, kind)
        uploads = {
            "files": tuple(files.uploads),
            "folder": files.folder,
            "masks": tuple(masks.uploads),
            "mask_folder": masks.folder,
        }
        sets = self._file_set(files), self._file_set(masks)
        materials = Materials(form, *sets, options, settings, catalog, uploads, kind=kind)
        ids = [each.id for each in (*files.uploads, *masks.uploads)]
        return self.batches.start(materials, lambda batch: self.spool.claim(batch, ids), self.spool.release)

    def _file_set(self, files: Files) -> FileSet:
        entries = from_files([(uploads.name, self.spool.path(uploads.id)) for uploads in files.uploads])
        if files.folder:
            entries += self.folders.entries(files.folder)
        return sorted_out(entries)

    def reopen(self, catalog: Catalog) -> None:
        """Restore the batches of earlier runs.

        Call this before the queue resumes its jobs; `Batches.resume_all` then continues the unfinished batches.
        """
        for past in self.batches.journals.past_batches():
            begun = past.begun
            try:
                known = {name: value for name, value in begun.settings.items() if name in Settings.model_fields}
                materials = Materials(
                    begun.form,
                    in_order(begun.names, () if past.ending else self._found(begun.files, begun.folder)),
                    sorted_out(() if past.ending else self._found(begun.masks, begun.mask_folder)),
                    BatchOptions.model_validate(begun.options),
                    Settings().overridden(known),
                    catalog,
                    styles={row[0]: Style(*row) for row in begun.styles},
                    kind=BUILT_IN.named(begun.kind).name,
                )
                self.batches.take_up(past, materials, self.spool.release)
            except Exception as error:  # anything, from another version or a damaged disk: startup goes on
                log.warning("Batch %s cannot be resumed; its results are kept: %s", begun.id, error)
                log.debug("batch %s", begun.id, exc_info=error)
                self.batches.journals.of(begun.id).put_aside("the batch cannot be resumed")
                continue
            if not past.ending:
                ids = [file_id for _, file_id in (*begun.files, *begun.masks)]
                self.spool.claim(begun.id, [file_id for file_id in ids if self.spool.has(file_id)])

    def _found(self, files: Sequence[tuple[str, str]], folder: str) -> list[BatchFile]:
        """The uploaded files and the files from the folder that still exist."""
        entries: list[BatchFile] = []
        for name, file_id in files:
            try:
                entries += from_files([(name, self.spool.path(file_id))])
            except WebuiError as error:
                log.warning("%s: %s", name, error)
        try:
            entries += self.folders.entries(folder) if folder else []
        except WebuiError as error:
            log.warning("%s", error)
        return entries
