"""How fast this machine enlarges, learned from finished jobs: seconds and bytes by upscaler, in one small file."""

import json
import logging
import statistics
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from modules.base.disk import write_over
from modules.base.kept import Unreadable, parsed, read_bytes

log = logging.getLogger(__name__)

REMEMBERED: Final = 8  # runs per upscaler: machines change, and one slow day must not count for ever
MOST_NAMES: Final = 200
Positive = Annotated[float, Field(gt=0, lt=1e15)]


class Run(NamedTuple):
    """One finished run. `work` determines its time (pixels read by a network, or redrawn pixels times steps); `pixels`
    is the pixel count of the result, `size` its file size in bytes."""

    work: Positive
    seconds: Positive
    pixels: Positive
    size: Positive


Runs = TypeAdapter(dict[str, list[Run]])


class Speeds:
    """The last runs by name, stored in `file`, or only in memory without one. Safe to use from several threads."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._runs = _read(file) if file is not None else {}

    def note(self, name: str, run: Run) -> None:
        """Records a run and writes the file; a disk error is only logged."""
        with self._lock:
            self._runs[name] = [*self._runs.get(name, ()), run][-REMEMBERED:]
            while len(self._runs) > MOST_NAMES:
                self._runs.pop(next(iter(self._runs)))
            if self._file is None:
                return
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                write_over(self._file, json.dumps(self._runs, ensure_ascii=False).encode("utf-8", "replace"))
            except OSError as error:
                log.warning("%s cannot be written: %s", self._file, error)

    def runs(self, name: str) -> Sequence[Run]:
        """The last runs of `name`, oldest first."""
        with self._lock:
            return tuple(self._runs.get(name, ()))


def seconds_for(runs: Sequence[Run], work: float) -> float | None:
    """How many seconds `work` will take; None if nothing was measured.

    Fixed costs (loading a network, writing a file) make small runs slower per unit of work, so runs of a similar amount
    count most: this is the median of the rates, weighted by how close their amounts are.
    """
    if not runs:
        return None
    rated = sorted((run.seconds / run.work, _closeness(run.work, work)) for run in runs)
    half = sum(weight for _, weight in rated) / 2
    for rate, weight in rated:
        half -= weight
        if half <= 0:
            return rate * work
    return rated[-1][0] * work


def bytes_for(runs: Sequence[Run], pixels: float) -> float | None:
    """The expected file size, in bytes, of a result with `pixels` pixels; None if nothing was measured."""
    return statistics.median(run.size / run.pixels for run in runs) * pixels if runs else None


def _closeness(one: float, other: float) -> float:
    """1 for equal amounts, falling with their ratio: 0.5 at a factor of two."""
    return min(one, other) / max(one, other)


def _read(file: Path) -> dict[str, list[Run]]:
    try:
        return Runs.validate_python(parsed(read_bytes(file)))
    except FileNotFoundError:
        return {}
    except (Unreadable, ValidationError) as reason:
        log.warning("%s is not used (%s): how long enlarging takes is measured anew.", file, type(reason).__name__)
        return {}
