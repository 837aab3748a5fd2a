"""The format of the log: lines of text or JSON objects, with the job that a line is about."""

import json
import logging
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from modules.base.paths import printable

INDENT = "    "  # before each line of a traceback
TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s%(about)s: %(message)s"

_job: ContextVar[str] = ContextVar("job", default="")


@contextmanager
def about_job(job_id: str) -> Iterator[None]:
    """While this is entered, what this thread or task logs is about the job `job_id`."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


def job_id() -> str:
    """The job that is being worked on here, "" if none is."""
    return _job.get()


def is_json() -> bool:
    """Whether this process logs JSON objects."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def set_up(level: str | int, as_json: bool = False) -> None:
    """Have the whole process log to stderr from `level` up. Call it once."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(TEXT_FORMAT))
    logging.basicConfig(level=level, handlers=[handler])


class TextFormatter(logging.Formatter):
    """A line as people read it, with ` [job ID]` where it is about one. Line breaks in a message stay one line.

    What a terminal would obey, and names of files may hold, is escaped. A traceback follows it indented, so that
    nothing an error says can pass for a line of the log.
    """

    def format(self, record: logging.LogRecord) -> str:
        record.about = f" [job {job_id()}]" if job_id() else ""
        record.exc_text = None  # another formatter's way with the traceback
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)  # nobody writes lines of his own, or commands to the terminal
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        lines = super().formatException(ei).split("\n")
        return textwrap.indent("\n".join(map(printable, lines)), INDENT, lambda line: True)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and job, trace and process where there are any."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.processName,
        }
        if job_id():
            entry["job"] = job_id()
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry)  # in ASCII: nothing in it that a terminal obeys, or that cannot be written
