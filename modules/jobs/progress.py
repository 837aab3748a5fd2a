"""The progress of a job, folded from its events. The page, the API and late subscribers all use it."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from modules.base.events import Event, Failed, Finished, ImageSaved, Queued, Staged, Started, Stepped

Status = Literal["queued", "running", "finished", "interrupted", "failed"]

REMEMBERED_STEPS = 16  # step times averaged for the estimate: enough to be stable, few enough to notice a slowdown


@dataclass(frozen=True)
class Progress:
    """The progress of a job.

    `fraction` runs from 0 to 1 and never decreases. `step` of `steps` counts within the current batch. `image` of
    `images` is the current picture (from 1) or, once the job has ended, the number of saved pictures. `eta_seconds` is
    None until a step has been measured. `seconds` count from the end of waiting to the end of the job.
    """

    fraction: float = 0.0
    step: int = 0
    steps: int = 0
    image: int = 0
    images: int = 0
    stage: str = "waiting"
    eta_seconds: float | None = None
    seconds: float = 0.0


class ProgressFold:
    """Takes a job's events one by one, with their times in seconds (of any one clock).

    The work of a job is counted in units: each step of each batch is one, and decoding a batch is one more.
    """

    def __init__(self) -> None:
        self.status: Status = "queued"
        self._started = Started(images=0, batches=0, steps=0, width=0, height=0, seed=0)
        self._batch = 0
        self._step = self._steps = 0
        self._stage = "waiting"
        self._saved = 0
        self._fraction = 0.0
        self._step_times: deque[float] = deque(maxlen=REMEMBERED_STEPS)
        self._first_step_time: float | None = None  # used only while there is no other: it includes the warm-up
        self._decode_time: float | None = None
        self._begun_at: float | None = None
        self._marked_at: float | None = None  # the last step or stage
        self._ended_at: float | None = None

    def add(self, event: Event, at: float) -> None:
        """Adds an event; `at` is its time in seconds."""
        if isinstance(event, Queued):
            if self.status == "running":  # handed back: it restarts at its first unsaved picture
                self.status, self._stage = "queued", "waiting"
                self._begun_at = self._marked_at = None
                self._batch = self._step = 0
            return
        if self._begun_at is None:
            self._begun_at = at
            self.status = "running"
        match event:
            case Started():
                self._started = event
            case Staged():
                self._end_decode(at)
                self._stage = event.stage
                self._marked_at = at
            case Stepped():
                self._add_step(event, at)
            case ImageSaved(suffix=""):
                self._saved += 1
            case Finished():
                self._ended_at = at
                self.status = self._stage = "interrupted" if event.interrupted else "finished"
                self._fraction = self._fraction if event.interrupted else 1.0
            case Failed():
                self._ended_at = at
                self.status = self._stage = "failed"
            case _:
                pass

    def progress(self, now: float) -> Progress:
        """The progress at `now`, which is no earlier than the last event."""
        ended = self._ended_at is not None
        until = self._ended_at if self._ended_at is not None else now
        per_batch = self._started.images // max(self._started.batches, 1)
        current = min(self._batch * per_batch + 1, self._started.images)
        return Progress(
            fraction=self._fraction,
            step=self._step,
            steps=self._steps or self._started.steps,
            image=self._saved if ended else current,
            images=self._started.images,
            stage=self._stage,
            eta_seconds=None if ended else self._eta(now),
            seconds=until - self._begun_at if self._begun_at is not None else 0.0,
        )

    def _add_step(self, event: Stepped, at: float) -> None:
        new_batch = event.batch != self._batch
        if new_batch:
            self._end_decode(at)
        if self._marked_at is not None:
            if event.step > 1 and not new_batch:
                self._step_times.append(at - self._marked_at)
            elif self._first_step_time is None:
                self._first_step_time = at - self._marked_at
        self._batch, self._step, self._steps, self._marked_at = event.batch, event.step, event.steps, at
        # The runs of a script may differ in steps: each batch counts the same, however many steps it has.
        done = event.batch * (self._started.steps + 1) + event.step * self._started.steps / max(event.steps, 1)
        self._fraction = max(self._fraction, min(done / max(self._units, 1), 1.0))

    def _end_decode(self, at: float) -> None:
        if self._stage == "decoding" and self._marked_at is not None:
            self._decode_time = at - self._marked_at
            self._stage = "sampling"

    @property
    def _units(self) -> int:
        return self._started.batches * (self._started.steps + 1)

    def _eta(self, now: float) -> float | None:
        if self._step_times:
            step_time = sum(self._step_times) / len(self._step_times)
        elif self._first_step_time is not None:
            step_time = self._first_step_time
        else:
            return None
        decode_time = self._decode_time if self._decode_time is not None else step_time
        batches_left = self._started.batches - self._batch
        steps_left = batches_left * self._started.steps - self._step
        since = now - self._marked_at if self._marked_at is not None else 0.0
        return max(steps_left * step_time + batches_left * decode_time - since, 0.0)
