"""Files of a batch whose job kind takes one picture and no values per file: Extras."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modules.base.errors import WebuiError
from modules.base.fields import Strict
from modules.base.picture import Picture
from modules.jobs.admission import Admission
from modules.jobs.batch.files import BatchFile
from modules.jobs.batch.materials import BLANK, Materials
from modules.jobs.batch.prepare import PreparedFile, header_of
from modules.jobs.batch.results import Done, Results
from modules.processing.kinds.kind import JobKind
from modules.schema.settings import Settings


def checked_plain(
    kind: JobKind[Any], form: Mapping[str, Any], settings: Settings, admission: Admission
) -> dict[str, Any]:
    """The values of a form with its names resolved. Raises WebuiError if every file would fail."""
    if form.get(kind.source_field):
        raise WebuiError(f"request: {kind.source_field} is set by each file of a batch.", "Leave it out.", "request")
    request = JobKind.parse(kind, {**form, kind.source_field: BLANK})  # sizes are not checked: each file has its own
    spec = admission.admitted(kind, request, settings)
    return {name: getattr(spec.request, name) for name in form if name != kind.source_field}


class PlainPreparer:
    """Prepares the files of one batch, one after another."""

    def __init__(self, kind: JobKind[Any], materials: Materials, results: Results, admission: Admission) -> None:
        self._kind = kind
        self._materials = materials
        self._results = results
        self._admission = admission

    def prepared(self, file: BatchFile) -> PreparedFile | Done:
        """The file's request, or the results of an earlier run with the same key. Raises WebuiError for an unusable
        file."""
        materials, kind = self._materials, self._kind
        data = file.read()
        if not data:
            raise WebuiError(f"{file.name}: the file is empty (0 bytes).")
        request: Strict = kind.parse({**materials.form, kind.source_field: header_of(file, data)})
        key = self._key(request, hashlib.sha256(data).hexdigest())
        done = self._results.finished(file.name, key) if materials.options.skip_finished else None
        if done is not None:
            return done
        picture = Picture.from_bytes(data, file.name)
        spec = self._admission.admitted(kind, request, materials.settings)
        spec = replace(spec, request=spec.request.model_copy(update={kind.source_field: picture}))
        return PreparedFile(spec, picture, key, picture.notes)

    def _key(self, request: Strict, sha256: str) -> str:
        """The hash of everything that determines a file's pictures."""
        values = request.model_dump(mode="json", exclude={self._kind.source_field})
        made_of = {"kind": self._kind.name, "source": sha256, "request": values}
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
