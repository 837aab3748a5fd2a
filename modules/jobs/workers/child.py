"""The code that runs in the engine process: builds the engine, reads commands from the pipe, sends events back.

It imports little, because it is imported before the engine is: the engine process never imports gradio or fastapi.
"""

import importlib
import logging
import os
import queue
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, MutableSequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from modules.base import logs
from modules.base.errors import WebuiError
from modules.base.events import EngineState, Event, Failed, Stop
from modules.processing.kinds.kind import Work
from modules.schema.catalog import Checkpoint, Vae
from modules.schema.settings import Settings

log = logging.getLogger(__name__)

# Slots of the flags that parent and child share. Each slot has only one writer, so no lock is needed, and a killed
# child cannot leave one locked.
INTERRUPTED_RUN = 0  # number of the last run that the parent interrupted
SKIPS = 1  # total number of skip requests
HEARD_RUN = 2  # number of the last run whose interrupt the engine has seen; written by the child


class LoadsCheckpoints(Protocol):
    """What an engine factory returns; the job kinds know what else it can do."""

    def load(self, checkpoint: Checkpoint, settings: Settings, vae: Vae | None) -> Iterator[EngineState]: ...


@dataclass(frozen=True)
class Load:
    """Command: load this checkpoint, with `vae` if it contains none. Answered by `EngineState`s."""

    checkpoint: Checkpoint
    settings: Settings
    vae: Vae | None


@dataclass(frozen=True)
class Run:
    """Command: run a job. Answered by events, which may include an `EngineState`.

    `number` and `skips` distinguish stop requests for this run from earlier ones.
    """

    number: int
    skips: int
    work: Work
    job: str = ""  # id, for the log


@dataclass(frozen=True)
class Quit:
    """Command: exit at once, whatever is running."""


@dataclass(frozen=True)
class Done:
    """Answer: the command has been executed."""


Command = Load | Run | Quit
Answer = Event | EngineState | Done


def main(
    factory: str,
    options: Mapping[str, str],
    pipe: Connection,
    flags: MutableSequence[int],
    loglevel: int,
    log_json: bool = False,
) -> None:
    """Runs the engine process. `factory` is "package.module:function", called with `options` as keyword arguments."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C goes to all processes; the web process ends this one
    logs.set_up(loglevel, log_json)
    commands: queue.SimpleQueue[Load | Run] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, commands), name="commands", daemon=True).start()
    try:
        engine = _create(factory, options)
    except Exception as error:
        pipe.send(EngineState("failed", message=_sentence(error, "The engine could not be started")))
        pipe.close()
        raise SystemExit(1) from error
    pipe.send(Done())
    while True:
        command = commands.get()
        with logs.about_job(command.job if isinstance(command, Run) else ""):
            for answer in _load(engine, command) if isinstance(command, Load) else _run(engine, command, flags):
                pipe.send(answer)
        pipe.send(Done())


def _create(factory: str, options: Mapping[str, str]) -> LoadsCheckpoints:
    module, _, function = factory.partition(":")
    return getattr(importlib.import_module(module), function)(**options)


def _receive(pipe: Connection, commands: "queue.SimpleQueue[Load | Run]") -> None:
    """Passes commands on. Ends the process at once, however busy, on Quit or when the web process has died."""
    try:
        while not isinstance(command := pipe.recv(), Quit):
            commands.put(command)
    except (EOFError, OSError):
        log.info("The web process has gone; the engine process is exiting.")
    os._exit(0)  # not sys.exit: the main thread may be in the middle of a forward pass


def _load(engine: LoadsCheckpoints, command: Load) -> Iterator[EngineState]:
    try:
        yield from engine.load(command.checkpoint, command.settings, command.vae)
    except Exception as error:
        name = command.checkpoint.name
        yield EngineState("failed", name, message=_sentence(error, f"{name} could not be loaded"))


def _run(engine: LoadsCheckpoints, command: Run, flags: MutableSequence[int]) -> Iterator[Event | EngineState]:
    should_stop = _should_stop(command, flags)
    try:
        yield from command.work.kind.run(engine, command.work, should_stop)
    except WebuiError as error:
        yield Failed(error.message, error.hint, error.field)
    except Exception as error:
        yield Failed(_sentence(error, "The engine failed"), "See the log for details; the next job can run.")


def _should_stop(command: Run, flags: MutableSequence[int]) -> Callable[[], Stop]:
    skips_seen = command.skips

    def should_stop() -> Stop:
        nonlocal skips_seen
        if flags[INTERRUPTED_RUN] == command.number:
            flags[HEARD_RUN] = command.number
            return Stop.INTERRUPT
        if flags[SKIPS] != skips_seen:
            skips_seen = flags[SKIPS]
            return Stop.SKIP
        return Stop.NONE

    return should_stop


def _sentence(error: Exception, what: str) -> str:
    """One sentence for the user; the traceback of an unexpected error goes to the log with an id."""
    if isinstance(error, WebuiError):
        return str(error)
    trace_id = secrets.token_hex(3)
    log.error("%s (id %s)", what, trace_id, exc_info=error)
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"{what}: {type(error).__name__}{f': {first_line}' if first_line else ''} (id {trace_id} in the log)."
