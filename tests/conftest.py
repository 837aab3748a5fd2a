"""What every test gets: repeatable hypothesis runs, failures told at once, and no way out of the machine."""

import os
import shutil
import socket
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# As modules.app sets it for the engine process; torch must not have been imported before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores: two threads each would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=False
)
settings.load_profile("repeatable")

SECONDS = {"slow": 10.0, "browser": 3.0, "parity": 1.5}  # that a test with this mark takes, roughly
UNMARKED_SECONDS = 0.1
FAILURE_LINES = 30  # of a traceback, printed when it happens; the whole stands at the end of the run
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test of names that are not Unicode logs them; xdist could not send such a log, and its process would end."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that the last ones, when a worker may be without work, are short."""
    seconds: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        seconds[item.path] += max((SECONDS[name] for name in marks & SECONDS.keys()), default=UNMARKED_SECONDS)
    items.sort(key=lambda item: -seconds[item.path])  # stable: a file's tests stay together and in order


class FailuresAtOnce:
    """Prints a failed test's name and the end of its traceback when it fails: a run that is cut off has told them."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self.terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.terminal.ensure_newline()
            self.terminal.write_line(f"FAILED now: {report.nodeid} ({report.when})", red=True)
            self.terminal.write_line("\n".join(report.longreprtext.splitlines()[-FAILURE_LINES:]))
            self.terminal.flush()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the tests that failed, were run again and passed, with their first failure: nobody shall overlook them."""
    stats = terminalreporter.stats
    failed = {report.nodeid for report in [*stats.get("failed", []), *stats.get("error", [])]}
    unsteady = [report for report in stats.get("rerun", []) if report.nodeid not in failed]
    if unsteady:
        terminalreporter.section("unsteady", yellow=True)
        for report in unsteady:
            terminalreporter.write_line(f"UNSTEADY {report.nodeid} ({report.when}): failed, then passed", yellow=True)
            terminalreporter.write_line(report.longreprtext)


@pytest.hookimpl(trylast=True)  # after the terminal has come
def pytest_configure(config: pytest.Config) -> None:
    """With xdist, reports come to the controller, which is the only one with a terminal to print to."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(terminal), "failures-at-once")


@pytest.fixture(autouse=True, scope="session")
def only_this_machine() -> Iterator[None]:
    """Every connection that leaves the machine fails, with the address in the message."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"  # a Unix socket is a path
        assert str(host).startswith("127.") or host in ("::1", "localhost"), f"a test reached for {address}"
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the Chromium that browser tests drive; `python launch.py test` names it in CHROMIUM."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    assert path, "no Chromium found: start the tests with `python launch.py test`, which installs one"
    return path
