"""The engine process as the web process sees it: start, load, run, stop, and the error when it dies."""

import contextlib
import ctypes
import logging
import multiprocessing
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import RawArray
from typing import Any

from modules.base import logs
from modules.base.events import EngineState, Event, Stop
from modules.jobs.listeners import Listeners
from modules.jobs.workers import child
from modules.processing.kinds.kind import Work
from modules.schema.catalog import Checkpoint, Vae
from modules.schema.settings import Settings

log = logging.getLogger(__name__)

ENGINE_FACTORY = "modules.processing.engine:create_engine"
SECONDS_TO_HEAR = 1.5  # for the engine to react to an interrupt, before its process is killed
SECONDS_TO_END = 5.0  # for a process to quit, before it is killed

# Negative exit codes are signals; a process killed by a container's memory limit exits with 137 = 128 + 9.
CUT_OFF = -signal.Signals.SIGBUS.value if hasattr(signal, "SIGBUS") else None  # a mapped file was truncated
KILLED = (-signal.Signals.SIGKILL.value if hasattr(signal, "SIGKILL") else -9, 137)


class EngineDied(Exception):
    """The engine process died. `message` is one sentence for the user, `hint` is the remedy.

    `of_file`: the cause was a file, not a picture.
    """

    def __init__(self, message: str, hint: str = "", of_file: bool = False) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint
        self.of_file = of_file


@dataclass(frozen=True)
class _Started:
    process: SpawnProcess
    pipe: Any  # a Connection, on Windows a PipeConnection
    flags: Any  # 64 bit integers, see child.INTERRUPTED_RUN, child.SKIPS and child.HEARD_RUN


class EngineProcess:
    """One spawned process with one engine. Call `load` and `run` from one thread only; `ask` and `close` from any.

    The process is started when needed, and again after it has died. It ends when the web process does, even if that was
    killed. `listeners` are called when the process ends.
    """

    def __init__(self, factory: str = ENGINE_FACTORY, options: Mapping[str, str] | None = None) -> None:
        self.listeners = Listeners()
        self._factory = factory
        self._options = dict(options or {})
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()  # guards sending and the fields below
        self._started: _Started | None = None
        self._reaping = threading.Lock()  # if two threads wait for a process, only one gets its exit code
        self._number = 0
        self._interrupted = 0
        self._skips = 0
        self._running = 0  # number of the current run
        self._ended_deaf: SpawnProcess | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process id; None while there is no process."""
        started = self._started
        return started.process.pid if started else None

    @property
    def died(self) -> bool:
        """Whether a started process has died; the next `load` or `run` would raise EngineDied."""
        started = self._started
        return started is not None and not self._closed and bool(connection.wait([started.process.sentinel], 0))

    def start(self) -> None:
        """Starts the process if it is not running, and waits until the engine is built. Raises EngineDied."""
        if self._started is not None:
            return
        with self._lock:
            if self._closed:
                raise EngineDied("The engine was stopped.")
            self._started = self._spawn()
        threading.Thread(target=self._watch, args=(self._started.process,), name="engine watch", daemon=True).start()
        reason = ""
        try:
            for answer in self._answers():
                reason = answer.message if isinstance(answer, EngineState) else ""
        except EngineDied as death:
            if reason:
                raise EngineDied(reason) from death
            raise

    def load(self, checkpoint: Checkpoint, settings: Settings, vae: Vae | None) -> Iterator[EngineState]:
        """Loads `checkpoint` and yields the engine's states; the last one is ready or failed. Raises EngineDied."""
        self.start()
        self._send(child.Load(checkpoint, settings, vae))
        for answer in self._answers():
            assert isinstance(answer, EngineState), answer
            yield answer

    def run(self, work: Work) -> Iterator[Event | EngineState]:
        """Runs a job and yields its events. The iteration raises EngineDied.

        From the call on, `ask` applies to this run; iterate to the end before the next call.
        """
        with self._lock:
            self._number += 1
            command = child.Run(self._number, self._skips, work, logs.job_id())
        return self._run(command)

    def _run(self, command: child.Run) -> Iterator[Event | EngineState]:
        self.start()
        self._send(command)
        with self._lock:
            self._running = command.number
            if self._interrupted == command.number:
                self._watch_ear()
        try:
            for answer in self._answers():
                assert not isinstance(answer, child.Done)
                yield answer
        finally:
            self._running = 0

    def ask(self, stop: Stop) -> None:
        """Stops the current run, or skips its batch.

        If the engine does not react to an interrupt within SECONDS_TO_HEAR, because it is in the middle of a long call,
        it is killed and the run raises EngineDied.
        """
        with self._lock:
            if stop == Stop.SKIP:
                self._skips += 1
            if stop == Stop.INTERRUPT:
                self._interrupted = self._number
            if self._started is not None:
                self._started.flags[child.INTERRUPTED_RUN] = self._interrupted
                self._started.flags[child.SKIPS] = self._skips
            if stop == Stop.INTERRUPT and self._running:
                self._watch_ear()

    def _watch_ear(self) -> None:
        """Makes sure that an interrupted run ends. Call this while holding the lock."""
        timer = threading.Timer(SECONDS_TO_HEAR, self._end_if_deaf, (self._running, self._started))
        timer.daemon = True
        timer.start()

    def _end_if_deaf(self, number: int, started: _Started | None) -> None:
        """Kills the process if it is still in the run `number` and has not reacted to the interrupt.

        It is killed rather than asked to quit: on a busy machine, a process was still running 5 s after the request.
        """
        with self._lock:
            is_at_it = self._started is started and self._running == number
            if started is None or not is_at_it or self._closed or started.flags[child.HEARD_RUN] == number:
                return
            self._ended_deaf = started.process
            log.info("The engine is in the middle of a long call; it will be stopped and restarted.")
            started.process.kill()

    def release(self) -> None:
        """Ends the process to free all its memory. The next `load` or `run` starts another.

        Call this from the same thread as `load` and `run`.
        """
        with self._lock:
            started, self._started = self._started, None
            if started is None:
                return
            with contextlib.suppress(OSError):  # it may have died just now
                started.pipe.send(child.Quit())
        self._reap(started.process)
        started.pipe.close()

    def close(self) -> None:
        """Ends the process for good."""
        with self._lock:
            self._closed = True
            started = self._started
            if started is None:
                return
            with contextlib.suppress(OSError):  # it may have died just now
                started.pipe.send(child.Quit())
        self._reap(started.process)

    def _spawn(self) -> _Started:
        ours, theirs = self._context.Pipe(duplex=True)
        flags = RawArray(ctypes.c_longlong, [self._interrupted, self._skips, 0])
        process = self._context.Process(
            target=child.main,
            args=(self._factory, self._options, theirs, flags, log.getEffectiveLevel(), logs.is_json()),
            name="palimpsest engine",
            daemon=True,
        )
        process.start()
        theirs.close()  # only the child has it now, so its death shows as an end of file here
        return _Started(process, ours, flags)

    def _watch(self, process: SpawnProcess) -> None:
        connection.wait([process.sentinel])
        self.listeners.call()

    def _send(self, command: child.Command) -> None:
        with self._lock:
            started = self._started
            assert started is not None
            try:
                started.pipe.send(command)
                return
            except OSError as error:
                cause = error
        raise self.bury() from cause

    def _answers(self) -> Iterator[child.Answer]:
        """The answers of the process, up to its next `Done`. Raises EngineDied if the process dies first."""
        started = self._started
        assert started is not None
        while True:
            try:
                answer: child.Answer = started.pipe.recv()
            except (EOFError, OSError) as error:
                raise self.bury() from error
            if isinstance(answer, child.Done):
                return
            yield answer

    def bury(self) -> EngineDied:
        """Cleans up after a dead process, so that the next call starts another. Returns the error to report."""
        with self._lock:
            started, self._started = self._started, None
        assert started is not None
        self._reap(started.process)
        started.pipe.close()
        code = started.process.exitcode
        if self._ended_deaf is started.process:
            return EngineDied(
                "The engine was restarted, because it was in the middle of a long call when it was stopped."
            )
        level = logging.DEBUG if self._closed else logging.WARNING
        log.log(level, "The engine process (pid %s) ended with exit code %s.", started.process.pid, code)
        return _death(code)

    def _reap(self, process: SpawnProcess) -> None:
        with self._reaping:
            process.join(SECONDS_TO_END)
            if process.is_alive():
                process.kill()
                process.join()


def _death(code: int | None) -> EngineDied:
    if code in KILLED:
        return EngineDied(
            "The engine process was killed, most often because memory ran out.",
            "Choose a smaller size or batch size, or close other programs. The engine restarts automatically.",
        )
    if code is not None and code == CUT_OFF:
        return EngineDied(
            "The engine process ended (SIGBUS), most often because a model file was truncated or overwritten while it "
            "was read.",
            "Restore the complete file, then retry the job. The engine restarts automatically.",
            of_file=True,
        )
    how = f"exit code {code}"
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):  # a signal without a name
            how = signal.Signals(-code).name
    return EngineDied(
        f"The engine process ended unexpectedly ({how}).",
        "It restarts automatically; if this happens again, the log may say why.",
    )
