"""A line of the log: it names its subject, is a single line, and never contains secrets."""

import io
import json
import logging
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from modules.api.app import create_api
from modules.base import logs
from modules.base.errors import WebuiError
from modules.base.events import ImageDone, ImageSaved
from modules.base.logs import TEXT_FORMAT, JsonFormatter, TextFormatter, about_job, job_id
from modules.flags.command_line import parse
from modules.jobs.job import Job
from tests.api.conftest import BASE, services_in
from tests.jobs.conftest import MakeQueue, make_queue, submit

__all__ = ["make_queue"]  # a fixture

PATIENCE = 300.0  # seconds
log = logging.getLogger("tests.logs")


@pytest.fixture(params=[TextFormatter(TEXT_FORMAT), JsonFormatter()], ids=["text", "json"])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """Everything that is logged, from the lowest level up, as the formatter writes it."""
    file = io.StringIO()
    handler = logging.StreamHandler(file)
    handler.setFormatter(request.param)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield file
    root.setLevel(before)
    root.removeHandler(handler)


def lines(written: io.StringIO) -> list[str]:
    return written.getvalue().splitlines()


def test_a_line_carries_the_job_it_is_about(written: io.StringIO) -> None:
    log.warning("before")
    with about_job("job7"):
        log.warning("within")
        with about_job("job8"):
            log.warning("another")
        log.warning("again")
    log.warning("behind")
    about = [next((name for name in ("job7", "job8") if name in line), "") for line in lines(written)]
    assert about == ["", "job7", "job8", "job7", ""]
    assert job_id() == ""


def test_other_threads_are_about_nothing_of_that(written: io.StringIO) -> None:
    with about_job("job7"):
        thread = threading.Thread(target=log.warning, args=("elsewhere",))
        thread.start()
        thread.join(PATIENCE)
    assert ["job7" in line for line in lines(written)] == [False]


def test_a_message_stays_one_line_whatever_it_holds(written: io.StringIO) -> None:
    log.warning("%s", "a prompt\n2026-01-01 00:00:00,000 INFO forged: all is well\r\nmore")
    assert len(lines(written)) == 1


def test_a_traceback_cannot_pass_for_lines_of_the_log(written: io.StringIO) -> None:
    try:
        raise ValueError("first\n2026-01-01 00:00:00,000 INFO forged: all is well")
    except ValueError:
        log.exception("failed")
    first, *rest = lines(written)
    assert "failed" in first
    if first.startswith("{"):
        assert rest == []
        assert "forged: all is well" in json.loads(first)["trace"]
    else:
        assert rest
        assert all(line.startswith(logs.INDENT) for line in rest)


def test_json_has_a_time_a_level_and_what_the_text_has() -> None:
    record = logging.LogRecord("some.name", logging.WARNING, __file__, 1, "%d of %s", (2, "drei ä"), None)
    record.created, record.msecs = 1_700_000_000.25, 250
    with about_job("job7"):
        entry = json.loads(JsonFormatter().format(record))
    assert entry == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "WARNING",
        "logger": "some.name",
        "message": "2 of drei ä",
        "process": "MainProcess",
        "job": "job7",
    }


def test_what_saves_a_pictures_logs_about_its_job(make_queue: MakeQueue, written: io.StringIO) -> None:
    def save(job: Job, done: ImageDone) -> ImageSaved:
        log.info("saving picture %d", done.index)
        raise ZeroDivisionError("a fault of ours")

    queue = make_queue(save)
    job = submit(queue, "a cat")
    end = time.monotonic() + PATIENCE
    while not job.ended and time.monotonic() < end:
        time.sleep(0.01)
    assert job.status == "failed"
    said = [line for line in lines(written) if "saving picture" in line]
    assert len(said) == 2  # by the store, and by whoever caught the error
    about = f'"job": "{job.id}"' if said[0].startswith("{") else f"[job {job.id}]"
    assert all(about in line for line in said)


SECRET = "correct-horse-7731"


def test_a_password_stands_nowhere_in_the_log(tmp_path: Path, written: io.StringIO) -> None:
    flags = parse(["--data-dir", str(tmp_path), "--auth", f"ann:{SECRET}"])
    log.debug("started with %r and %s", flags, vars(flags))  # as someone might while debugging
    for remark in flags.remarks:
        log.info(remark)
    with pytest.raises(WebuiError) as refused:
        parse(["--listen", "--auth", SECRET])  # without a colon
    log.error("%s %r", refused.value, vars(refused.value))
    basic = b64encode(f"ann:{SECRET}".encode()).decode()
    wrong = b64encode(f"ann:{SECRET}x".encode()).decode()
    with services_in(tmp_path) as services:
        guarded = replace(services, flags=flags)
        app = create_api(guarded)

        @app.get("/fault")
        def fault() -> None:
            raise ZeroDivisionError

        with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
            for word in (basic, wrong):
                headers = {"authorization": f"Basic {word}"}
                answers = [client.get(path, headers=headers) for path in ("/v1/state", "/sdapi/v1/cmd-flags", "/fault")]
                text = " ".join(answer.text for answer in answers)
                assert SECRET not in text
                assert word not in text
            assert [answer.status_code for answer in answers] == [401, 401, 401]
    everything = written.getvalue()
    assert "/fault failed" in everything
    for word in (SECRET, basic, wrong):
        assert word not in everything


def test_what_a_terminal_obeys_does_not_reach_it(written: io.StringIO) -> None:
    name = "red\x1b[31m\x9b2J\u202egnp.exe\ud800.png"
    try:
        raise ValueError(f"no {name}")
    except ValueError:
        log.exception("%s cannot be read", name)
    text = written.getvalue()
    assert not set("\x1b\x9b\u202e\ud800") & set(text)
    assert "red\\x1b[31m" in text or "red\\u001b[31m" in text
