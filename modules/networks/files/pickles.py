"""Reads files saved by torch in a separate process: if a file crashes it, only that file is lost."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from modules.base.errors import WebuiError
from modules.base.root import ROOT
from modules.networks.files.foreign import FIELD
from modules.networks.files.pickle_machine import Bounds
from modules.networks.files.torch_pickle import CHECKPOINT, Content, MoreThanWeights, Stored, read_content

log = logging.getLogger(__name__)

PATIENCE: Final = 60.0  # seconds for one file, enough on a busy machine
MOST_MEMORY: Final = 2**30  # bytes of the process's address space
_TENSOR, _DICT = "tensor", "dict"


class PickleReader:
    """Reads files in a process that starts with the first file, restarts after a crash, and ends with the `with` block.

    Use it from one thread. `patience` is in seconds; `command` are the interpreter's arguments.
    """

    def __init__(self, patience: float = PATIENCE, command: tuple[str, ...] = ("-m", __name__)) -> None:
        self._patience = patience
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def read(self, path: Path, bounds: Bounds) -> Content:
        """The content of `path`. Raises WebuiError as `read_content` does, and if the process died; OSError."""
        process = self._process = self._process or self._start()
        question = json.dumps([str(path.absolute()), *bounds]).encode()
        assert process.stdin is not None
        assert process.stdout is not None
        clock = threading.Timer(self._patience, process.kill)
        clock.start()
        try:
            process.stdin.write(question + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:  # the process has exited
            line = b""
        finally:
            clock.cancel()
        if not line.endswith(b"\n"):
            code = self._end()
            log.warning("%s ended the process that looked into it (%s).", path, code)
            raise WebuiError(
                f"{path.name} cannot be read: it ended the process that looked into it.",
                "Remove it, or use the .safetensors version of it.",
                FIELD,
            )
        answer = cast(dict[str, Any], json.loads(line))
        if "refused" in answer:
            raise (MoreThanWeights if answer["is_code"] else WebuiError)(*answer["refused"])
        if "failed" in answer:
            raise OSError(*answer["failed"])
        return _unpacked(answer["content"])

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, *self._command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # closing flushes the rest of the request, which nobody reads any more
            process.stdin.close()
        with process:  # waits, and closes the other pipe
            pass
        return process.returncode


def read_pickle(path: Path, bounds: Bounds = CHECKPOINT) -> Content:
    """The content of one file. Raises like `PickleReader.read`."""
    with PickleReader() as reader:
        return reader.read(path, bounds)


def _packed(content: Content) -> Any:
    """`content` as JSON values."""
    if isinstance(content, Stored):
        return {_TENSOR: content}
    if isinstance(content, Mapping):
        return {_DICT: {key: _packed(value) for key, value in content.items()}}
    return content


def _unpacked(message: Any) -> Content:
    if not isinstance(message, dict):
        return cast(Content, message)
    if _TENSOR in message:
        dtype, shape, stride, offset, start, length = cast(list[Any], message[_TENSOR])
        return Stored(dtype, tuple(shape), tuple(stride), offset, start, length)
    return {key: _unpacked(value) for key, value in cast(dict[str, Any], message[_DICT]).items()}


# ---- in the reading process ----


def _limit() -> None:
    """Limits the memory of the process and disables core dumps. Windows has no such limits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C goes to all processes; the parent ends this one
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  # does not exist on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


def _answer(question: bytes) -> dict[str, Any]:
    path, *bounds = json.loads(question)
    try:
        return {"content": _packed(read_content(Path(path), Bounds(*bounds)))}
    except WebuiError as error:
        details = (error.message, error.hint, error.field, error.status)
        return {"refused": details, "is_code": isinstance(error, MoreThanWeights)}
    except OSError as error:
        return {"failed": (error.errno, error.strerror or str(error), os.fspath(path))}


def main() -> None:
    """Answers each line of the standard input, a file's path and bounds, with a line of JSON."""
    _limit()
    for question in sys.stdin.buffer:
        sys.stdout.buffer.write(json.dumps(_answer(question)).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
