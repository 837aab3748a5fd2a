"""The states of a batch and of each of its files."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from modules.base.events import ImageSaved

log = logging.getLogger(__name__)

Status = Literal["waiting", "running", "finished", "stopped", "failed"]
Outcome = Literal["waiting", "running", "done", "kept", "failed", "left out", "skipped"]
SETTLED: tuple[Outcome, ...] = ("done", "kept", "failed", "left out", "skipped")


@dataclass(frozen=True)
class FileState:
    """One file of a batch. `pictures` are its results, `earlier` the names of those from an earlier run.

    `source` is its id under /v1/pictures, if it was stored there.
    """

    index: int
    name: str
    outcome: Outcome = "waiting"
    sentence: str = ""
    notes: tuple[str, ...] = ()
    pictures: tuple[ImageSaved, ...] = ()
    earlier: tuple[str, ...] = ()
    source: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """All results, as names for `Outputs.locate`."""
        return (*self.earlier, *(picture.path for picture in self.pictures))


FILE_STATE = TypeAdapter(FileState)


def file_state(values: Mapping[str, Any]) -> FileState | None:
    """The inverse of `asdict`, from JSON; None for anything else."""
    try:
        return FILE_STATE.validate_python(values)
    except ValidationError as error:
        log.warning("The state of a file in a batch cannot be read: %s", error.errors()[0]["msg"])
        return None


def ended_status(name: str) -> Status:
    return "stopped" if name == "stopped" else "failed" if name == "failed" else "finished"
