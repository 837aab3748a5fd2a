"""Batches: many files processed with one form, each as a job of its own, on the server rather than in the page.

A batch has at most two jobs in the queue, one running and one waiting, so that other jobs run in between and at most
two source pictures are in memory, whatever the size of the batch.
"""

import logging
import random
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from modules.base.errors import WebuiError
from modules.extension.loading import Extensions
from modules.jobs.admission import NO_SCRIPTS, Admission, FixedCatalog
from modules.jobs.batch.batch import Batch
from modules.jobs.batch.journal import Journals, PastBatch
from modules.jobs.batch.materials import Materials, checked_form, require_pictures
from modules.jobs.batch.plain import checked_plain
from modules.jobs.batch.results import Results
from modules.jobs.batch.run import BatchRun, Queue
from modules.jobs.saving import JobSavers
from modules.processing.kinds.generate import IMG2IMG
from modules.processing.kinds.registry import BUILT_IN
from modules.prompts.style_file import Style
from modules.prompts.styles import require_styles, style_names
from modules.schema.catalog import Catalog
from modules.schema.request import SEED_RANGE
from modules.schema.settings import Settings
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures

log = logging.getLogger(__name__)

REMEMBERED_BATCHES = 20  # ended batches


class Batches:
    """Runs batches one after another, and keeps the last twenty. Safe from any thread."""

    def __init__(
        self,
        queue: Queue,
        savers: JobSavers,
        outputs: Outputs,
        pictures: Pictures,
        draw: random.Random | None = None,
        journals: Journals | None = None,
        scripts: Extensions = NO_SCRIPTS,
        styles: Callable[[], Mapping[str, Style]] = dict[str, Style],
    ) -> None:
        self.outputs = outputs
        self.journals = journals or Journals()
        self._queue = queue
        self._savers = savers
        self._pictures = pictures
        self._draw = draw or random.SystemRandom()
        self._scripts = scripts
        self._styles = styles
        self._lock = threading.Lock()
        self._batches: dict[str, Batch] = {}
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._resumed: list[tuple[Batch, BatchRun, Callable[[str], None]]] = []
        self._closing = False

    def start(
        self, materials: Materials, prepare: Callable[[str], None] = lambda batch_id: None,
        on_end: Callable[[str], None] = lambda batch_id: None,
    ) -> Batch:  # fmt: skip
        """Start a batch. `prepare` is called with its id before it starts, `on_end` after it has ended.

        Raises WebuiError if the form, the options or the files as a whole are invalid.
        """
        # As in A1111, all files use the same first seed.
        seeds = {name: self._draw.randrange(SEED_RANGE) for name in ("seed", "subseed")}
        results = Results(self.outputs, materials.options.output)
        materials = replace(materials, styles=self._styles_of(materials.form))
        require_pictures(materials.files)
        form = checked_for(materials.kind, materials.form, materials.settings, self._admission(materials))
        batch = Batch(replace(materials, form=form), results, seeds, self.journals)
        try:
            prepare(batch.id)
            with self._lock:
                if self._closing:
                    raise WebuiError("Palimpsest is shutting down.", "Start it again.", status=503)
                self._add(batch)
                self._runner.submit(self._carry_out, batch, on_end)
        except BaseException:
            batch.journal.forget()
            raise
        return batch

    def take_up(
        self, past: PastBatch, materials: Materials, on_end: Callable[[str], None] = lambda batch_id: None
    ) -> Batch:
        """Restores a batch of an earlier run. `resume_all` continues it if it was unfinished.

        Call this before the queue resumes its jobs, so that all pictures of the batch's jobs are saved as the batch's.
        Raises WebuiError if this version cannot resume the batch.
        """
        batch = Batch(materials, Results(self.outputs, materials.options.output), {}, self.journals, past)
        with self._lock:
            self._add(batch)
        if not batch.ended:
            run = self._run_of(batch)
            run.expect()
            self._resumed.append((batch, run, on_end))
        return batch

    def resume_all(self) -> None:
        """Continues the batches restored by `take_up`, in order. Call this after the queue has resumed its jobs."""
        for batch, run, on_end in self._resumed:
            log.info("Resuming batch %s: %d of %d files are finished.", batch.id, len(batch.settled()), batch.total)
            self._runner.submit(self._carry_out, batch, on_end, run)
        self._resumed.clear()

    def _add(self, batch: Batch) -> None:
        self._batches[batch.id] = batch
        ended = [batch_id for batch_id, old in self._batches.items() if old.ended]
        for batch_id in ended[:-REMEMBERED_BATCHES]:
            self._batches.pop(batch_id).journal.forget()

    def require_names(
        self,
        form: Mapping[str, Any],
        settings: Settings,
        catalog: Catalog,
        leave_out_missing: bool = False,
        kind: str = IMG2IMG.name,
    ) -> dict[str, Any]:
        """The form with its names resolved. Raises WebuiError as `start` does, before any file is read."""
        admission = Admission(FixedCatalog(catalog), self._scripts, self._styles)
        return checked_for(kind, form, settings, admission, leave_out_missing)

    def _admission(self, materials: Materials) -> Admission:
        return Admission(FixedCatalog(materials.catalog), self._scripts, lambda: materials.styles)

    def _styles_of(self, form: Mapping[str, Any]) -> dict[str, Style]:
        """The styles that a form names. Raises WebuiError for an unknown style."""
        names, known = style_names(form), self._styles()
        require_styles(names, known)
        return {name: known[name] for name in names}

    def _run_of(self, batch: Batch) -> BatchRun:
        return BatchRun(batch, self._queue, self._savers, self._pictures, self._admission(batch.materials))

    def batch(self, batch_id: str) -> Batch:
        """Raises WebuiError (404) for an unknown or forgotten batch."""
        with self._lock:
            batch = self._batches.get(batch_id)
        if batch is None:
            raise WebuiError(
                f"There is no batch {batch_id[:40]!r}.",
                f"The last {REMEMBERED_BATCHES} finished batches are remembered. A new run skips finished files.",
                "id",
                status=404,
            )
        return batch

    def batches(self) -> tuple[Batch, ...]:
        """All remembered batches, newest first."""
        with self._lock:
            return tuple(reversed(self._batches.values()))

    def close(self) -> None:
        """Pauses all batches until the next start.

        Call this before the queue is closed: the batch's jobs stay in the queue, and pictures that the engine returns
        before it closes are saved as the batch's.
        """
        with self._lock:
            self._closing = True
        for batch in self.batches():
            batch.park()
        self._runner.shutdown()

    def _carry_out(self, batch: Batch, on_end: Callable[[str], None], run: "BatchRun | None" = None) -> None:
        """Runs `batch` to its end, whatever happens."""
        if batch.is_parked:
            return
        try:
            (run or self._run_of(batch)).go()
        except Exception:
            trace_id = secrets.token_hex(3)
            log.exception("batch %s failed (id %s)", batch.id, trace_id)
            batch.end("failed", f"The batch ended with an internal error (id {trace_id} in the log).")
        finally:
            if batch.ended:
                on_end(batch.id)


def checked_for(
    kind: str, form: Mapping[str, Any], settings: Settings, admission: Admission, leave_out_missing: bool = False
) -> dict[str, Any]:
    """The values of a form of this kind, with names resolved. Raises WebuiError if every file would fail."""
    if kind == IMG2IMG.name:
        return checked_form(form, settings, admission, leave_out_missing)
    return checked_plain(BUILT_IN.named(kind), form, settings, admission)
