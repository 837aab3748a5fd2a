"""Batches on disk: the request of each and the outcomes of its files, so that it can continue after a restart.

Each batch has a file of JSON lines. The first line is written when the batch starts; each further line records one
change, and is on disk before the batch proceeds. A truncated or unreadable line is skipped;
a journal without its first line is set aside.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from modules.base.disk import append_line, refusal, write_new
from modules.base.kept import Unreadable, parsed, put_aside, read_bytes

log = logging.getLogger(__name__)

NAME = re.compile(r"[0-9a-f]{16}\.jsonl")
LATEST = 253_402_300_800.0  # seconds: the year 10000, beyond Python's calendar


@dataclass(frozen=True)
class BatchStart:
    """The request of a batch as stored: names and ids, no bytes.

    `files` and `masks` are [name, id in the spool]; `names` are those of the pictures, in order, so that files added to
    a folder later are not part of the batch. `form`, `options` and `settings` are JSON values; `styles` are the rows
    (name, prompt, negative prompt) that the form names.
    """

    id: str
    created: Annotated[float, Field(ge=0, lt=LATEST)]
    names: tuple[str, ...]
    form: Mapping[str, Any]
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    seeds: Mapping[str, int]
    files: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    masks: tuple[tuple[str, str], ...] = ()
    mask_folder: str = ""
    styles: tuple[tuple[str, str, str], ...] = ()
    kind: str = "img2img"


@dataclass(frozen=True)
class SubmittedFile:
    """A journal entry: the file's job is about to be queued with this id. `key` identifies its results."""

    index: Annotated[int, Field(ge=0)]
    job: str
    key: str
    notes: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class PastBatch:
    """A batch of an earlier run. `files` are the finished ones as JSON, in order.

    `ending` is its status and message, None if it had not ended; `is_stopping` says whether a person had stopped it.
    """

    begun: BatchStart
    submitted: Mapping[int, SubmittedFile] = field(default_factory=dict)
    files: tuple[Mapping[str, Any], ...] = ()
    is_stopping: bool = False
    ending: tuple[str, str] | None = None


class Journal:
    """The file `path` of one batch; without a path, nothing is stored."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def begin(self, begun: BatchStart) -> None:
        """Raises WebuiError, with the reason, if the disk refuses."""
        if self._path is None:
            return
        try:
            write_new(self._path, _line({"begun": asdict(begun)}) + b"\n")
        except OSError as error:
            raise refusal("The batch", self._path.parent, error) from error

    def submit(self, submitted: SubmittedFile) -> None:
        self._add({"taken": asdict(submitted)})

    def settle(self, file: Mapping[str, Any]) -> None:
        self._add({"file": file})

    def stop(self) -> None:
        self._add({"stopping": True})

    def end(self, status: str, message: str) -> None:
        self._add({"ending": [status, message]})

    def forget(self) -> None:
        if self._path is not None:
            try:
                self._path.unlink(missing_ok=True)
            except OSError as error:
                log.error("%s cannot be removed: %s.", self._path, error)

    def put_aside(self, reason: object) -> None:
        """The batch cannot be resumed: its journal is kept but not read again."""
        if self._path is not None:
            put_aside(self._path, reason)

    def _add(self, entry: Mapping[str, Any]) -> None:
        """Appends a line. If the disk refuses, the batch continues: after a restart its report may differ, but the
        manifest of results is correct."""
        if self._path is None:
            return
        try:
            append_line(self._path, _line(entry), new=False)
        except OSError as error:
            log.error("%s: %s. After a restart this batch may be reported differently.", self._path, error)


class Journals:
    """The journals in `folder`; without a folder, nothing is stored."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def of(self, batch_id: str) -> Journal:
        return Journal(None if self._folder is None else self._folder / f"{batch_id}.jsonl")

    def past_batches(self) -> list[PastBatch]:
        """The batches of earlier runs, oldest first."""
        if self._folder is None or not self._folder.is_dir():
            return []
        try:
            paths = [path for path in self._folder.iterdir() if NAME.fullmatch(path.name)]
        except OSError as error:
            log.error("%s cannot be read: %s. Its batches are not resumed.", self._folder, error)
            return []
        found = [_read(path) for path in paths]
        return sorted((past for past in found if past is not None), key=lambda past: past.begun.created)


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace")


BEGUN, TAKEN = TypeAdapter(BatchStart), TypeAdapter(SubmittedFile)


def _read(path: Path) -> PastBatch | None:
    """None for a file that is not a journal; it is set aside."""
    begun: BatchStart | None = None
    taken: dict[int, SubmittedFile] = {}
    files: list[Mapping[str, Any]] = []
    is_stopping, ending = False, None
    try:
        lines = read_bytes(path).splitlines()
    except (Unreadable, FileNotFoundError) as reason:
        put_aside(path, reason)
        return None
    for number, line in enumerate(lines, 1):
        try:
            match parsed(line):
                case {"begun": dict(values)}:
                    begun = BEGUN.validate_python(values)
                case {"taken": dict(values)}:
                    one = TAKEN.validate_python(values)
                    taken[one.index] = one
                case {"file": dict(values)}:
                    files.append(values)
                case {"stopping": True}:
                    is_stopping = True
                case {"ending": [str(status), str(message)]}:
                    ending = status, message
                case _:
                    raise Unreadable("it is not a journal entry")
        except (Unreadable, ValidationError) as reason:
            log.warning("%s: line %d was skipped: %s", path, number, _in_a_line(reason))
    if begun is None or f"{begun.id}.jsonl" != path.name:
        put_aside(path, "it does not contain the batch's request; the batch is dropped, its results are kept")
        return None
    # If another line was damaged, a line may refer to a file that does not exist.
    taken = {index: one for index, one in taken.items() if index < len(begun.names)}
    return PastBatch(begun, taken, tuple(files), is_stopping, ending)


def _in_a_line(reason: Exception) -> str:
    if isinstance(reason, ValidationError):
        first = reason.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(reason)
