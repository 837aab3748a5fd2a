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
    """Within this context, log lines of this thread or task are marked with the job `job_id`."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


def job_id() -> str:
    """The job that this thread or task works on, "" if none."""
    return _job.get()


def is_json() -> bool:
    """Whether this process logs JSON objects."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def set_up(level: str | int, as_json: bool = False) -> None:
    """Make the whole process log to stderr from `level` up. Call it once."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(TEXT_FORMAT))
    logging.basicConfig(level=level, handlers=[handler])


class TextFormatter(logging.Formatter):
    """A line of text, with ` [job ID]` if it is about a job. Line breaks in a message are escaped.

    Terminal control sequences, which file names may hold, are escaped too. A traceback follows indented, so that
    no error text can pass for a log line.
    """

    def format(self, record: logging.LogRecord) -> str:
        record.about = f" [job {job_id()}]" if job_id() else ""
        record.exc_text = None  # another formatter's cached traceback
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)  # no message can forge log lines or control the terminal
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        lines = super().formatException(ei).split("\n")
        return textwrap.indent("\n".join(map(printable, lines)), INDENT, lambda line: True)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, message; job, trace and process if there are any."""

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
        return json.dumps(entry)  # ASCII: no terminal control sequences, and it can always be written
