"""Tracks which checkpoint the engine process has loaded, which one it should load, and its last reported state."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from threading import Condition
from typing import NamedTuple, Protocol

from modules.base.events import EngineState, Event, Stop
from modules.jobs.listeners import Listeners
from modules.jobs.recovery import DiedLoading
from modules.jobs.workers.process import EngineDied
from modules.processing.kinds.kind import Work
from modules.schema.catalog import Checkpoint, Vae
from modules.schema.settings import Settings

DEATHS_IN_A_ROW = 2  # crashes of the engine process outside of runs, before it is restarted only on request


class EngineWorker(Protocol):
    """What the queue needs from an engine process; `workers.process.EngineProcess` implements it."""

    listeners: Listeners

    @property
    def died(self) -> bool: ...
    def bury(self) -> EngineDied: ...
    def load(self, checkpoint: Checkpoint, settings: Settings, vae: Vae | None) -> Iterator[EngineState]: ...
    def run(self, work: Work) -> Iterator[Event | EngineState]: ...
    def ask(self, stop: Stop) -> None: ...
    def release(self) -> None: ...
    def close(self) -> None: ...


class Choice(NamedTuple):
    """A checkpoint to load, and the settings to load it with. `vae` is used if the checkpoint contains none."""

    checkpoint: Checkpoint
    settings: Settings
    vae: Vae | None = None


class Loader:
    """Loads checkpoints on the queue's thread. `changed` guards its fields, `listeners` get each new state.

    If the engine process dies twice in a row without running a job, its state is failed, and it is restarted only when
    a checkpoint is selected or a job arrives.
    """

    def __init__(self, engine: EngineWorker, changed: Condition, listeners: Listeners) -> None:
        self._engine = engine
        self._changed = changed
        self._listeners = listeners
        self.pending: Choice | None = None  # to be loaded when no job is waiting
        self.is_releasing = False  # the engine process should end when no job is waiting
        self._loaded: Choice | None = None
        self._refusal = ""  # why the checkpoint requested last is not the loaded one
        self._loading_deaths: Counter[str] = Counter()  # by checkpoint, since it was last loaded
        self._deaths = 0
        self._death_of = ""  # the checkpoint that was loaded or loading when the process last died
        self._state = EngineState("starting")

    @property
    def state(self) -> EngineState:
        with self._changed:
            return self._state

    def set_state(self, state: EngineState) -> None:
        with self._changed:
            self._state = state
        self._listeners.call()

    def select(self, choice: Choice) -> None:
        """Loads `choice` as soon as no job is waiting, even after crashes. Call this while holding `changed`."""
        self.pending = choice
        self._refusal = ""
        self.is_releasing = False
        self._deaths = 0
        del self._loading_deaths[choice.checkpoint.name]

    def idle(self) -> None:
        """No job is waiting: ends the process if it should be released, else loads a pending checkpoint."""
        with self._changed:
            is_releasing = self.is_releasing
            pending, refusal = None, ""
            if not is_releasing:
                pending, self.pending = self.pending, None
                refusal, self._refusal = self._refusal, ""
        if is_releasing:
            self._release()
        elif pending:
            try:
                state = self.load(pending)
            except EngineDied:  # already recorded
                return
            if refusal and state.state == "ready":  # why this is not the checkpoint requested last
                self.set_state(replace(state, message=refusal))

    def load(self, choice: Choice) -> EngineState:
        """The state after loading. Raises EngineDied after recording it."""
        name, state = choice.checkpoint.name, self.state
        # The reason for the restart stays visible until the new process reports its own state.
        state = EngineState("loading", name, message=state.message if state.state == "starting" else "")
        self.set_state(state)
        try:
            for state in self._engine.load(*choice):
                self.set_state(state)
        except EngineDied as death:
            self._note_death(death, choice)
            raise DiedLoading(death, name, self.died_loading(name)) from death
        if state.state == "ready":
            self._loaded = choice
            del self._loading_deaths[name]
        elif state.state != "failed":
            state = EngineState("failed", name, message=f"{name} was not loaded.")
            self.set_state(state)
        if state.state == "failed":
            self._go_back(choice.checkpoint, state.message)
        return state

    def died_loading(self, what: str) -> int:
        """The process died while loading `what`; returns how often that has happened."""
        self._loading_deaths[what] += 1
        return self._loading_deaths[what]

    def died_running(self, death: EngineDied, choice: Choice | None) -> None:
        """The process died in a job: load the job's checkpoint again, or the previous one if the job needs none."""
        with self._changed:
            choice = choice or self._loaded
            self.pending = self.pending or choice
        self.set_state(EngineState("starting", choice.checkpoint.name if choice else "", message=death.message))

    def has_run(self) -> None:
        """The process has completed a job."""
        self._deaths = 0

    def bury(self) -> None:
        """The process died while idle."""
        self._note_death(self._engine.bury(), self._loaded)

    def _release(self) -> None:
        self._engine.release()
        with self._changed:
            self._loaded = None
            self.is_releasing = False
            self._changed.notify_all()
        self.set_state(EngineState("unloaded"))

    def _go_back(self, refused: Checkpoint, reason: str) -> None:
        """The engine still has the previous checkpoint: reports that as ready if no other is pending."""
        with self._changed:
            if self._loaded is not None and self._loaded.checkpoint != refused and self.pending is None:
                self.pending, self._refusal = self._loaded, reason

    def _note_death(self, death: EngineDied, loaded: Choice | None) -> None:
        """The process died while loading or idle: tries the same again, a limited number of times."""
        name = loaded.checkpoint.name if loaded else ""
        with self._changed:
            self._deaths = self._deaths + 1 if name == self._death_of else 1
            self._death_of = name
            again = self._deaths < DEATHS_IN_A_ROW
            if again:
                self.pending = self.pending or loaded
        self.set_state(EngineState("starting" if again else "failed", name, message=f"{death.message} {death.hint}"))
