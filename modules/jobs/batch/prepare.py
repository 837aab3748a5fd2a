"""Turns a file of a batch into a request: its own prompt, its mask, its size, the batch's seeds."""

import hashlib
from dataclasses import dataclass, replace

from modules.base.errors import WebuiError
from modules.base.picture import Picture
from modules.jobs.admission import Admission
from modules.jobs.batch.batch import Batch
from modules.jobs.batch.files import BatchFile
from modules.jobs.batch.keys import key_of
from modules.jobs.batch.masks import Masks
from modules.jobs.batch.materials import without_styles
from modules.jobs.batch.results import Done
from modules.jobs.batch.sizes import fitted, masked_alone, sized
from modules.jobs.job import JobSpec
from modules.processing.kinds.generate import IMG2IMG
from modules.prompts.styles import style_names
from modules.schema.request import Img2ImgRequest


@dataclass(frozen=True)
class PreparedFile:
    """The job to submit for a file. `key` identifies its results; `notes` are sentences about it."""

    spec: JobSpec
    source: Picture
    key: str
    notes: tuple[str, ...]


class FilePreparer:
    """Prepares the files of one batch, one after another."""

    def __init__(self, batch: Batch, admission: Admission) -> None:
        self._admission = admission
        self._batch = batch
        self._materials = batch.materials
        self._masks = Masks(batch.materials)

    def prepared(self, file: BatchFile) -> PreparedFile | Done:
        """The file's request, or the results of an earlier run with the same key.

        Raises LeftOut for a file that is skipped, WebuiError for one that fails.
        """
        materials, options = self._materials, self._materials.options
        data = file.read()
        if not data:
            raise WebuiError(f"{file.name}: the file is empty (0 bytes).")
        changes = self._batch.texts.changes(
            file, header := header_of(file, data), materials.settings, materials.catalog
        )
        mask, mask_notes = self._masks.of(file)
        values = changes.over(materials.form, options.words_mode == "append")
        styles = style_names(values)
        request = Img2ImgRequest.parse({**without_styles(values), "init_images": (header,), "mask": mask})
        settings = materials.settings.overridden(IMG2IMG.overrides(request))
        rule = self._admission.checkpoint(settings.sd_model_checkpoint).sizes.rule
        request, size_notes = masked_alone(sized(request, options, rule), options, rule)
        spec = self._admission.admitted(IMG2IMG, request, materials.settings, styles=styles)
        request, files = spec.request, spec.resources
        key = key_of(request, spec.settings, files.checkpoint, files.vae.name if files.vae else "")
        done = self._batch.results.finished(file.name, key) if options.skip_finished else None
        if done is not None:
            return done
        picture = Picture.from_bytes(data, file.name)
        request, fit_notes = fitted(request, picture, options, rule)
        seeds = {name: seed for name, seed in self._batch.seeds.items() if getattr(request, name) == -1}
        notes = (*picture.notes, *changes.notes, *mask_notes, *size_notes, *fit_notes)
        spec = replace(spec, request=request.model_copy(update=seeds))
        return PreparedFile(spec, request.init_images[0], key, notes)


def header_of(file: BatchFile, data: bytes) -> Picture:
    """The picture as described by its header; it is decoded only if the file really has to be made."""
    try:
        return Picture.checked_before(data, hashlib.sha256(data).hexdigest())
    except WebuiError:
        return Picture.from_bytes(data, file.name)  # raises WebuiError that names the file
