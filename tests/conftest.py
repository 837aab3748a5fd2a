"""For every test: repeatable hypothesis runs, failures reported at once, and no connections to other machines."""

import os
import shutil
import socket
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# As modules.app sets it for the engine process; torch must not be imported before this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # two threads per worker would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=False
)
settings.load_profile("repeatable")

SECONDS = {"slow": 10.0, "browser": 3.0, "parity": 1.5}  # rough duration of a test with this mark
UNMARKED_SECONDS = 0.1
FAILURE_LINES = 30  # of a traceback, printed at once; the full one is at the end of the run
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test of names that are not Unicode logs them; xdist cannot send such a log, and its process would end."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that no worker is left without work during a long file at the end."""
    seconds: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        seconds[item.path] += max((SECONDS[name] for name in marks & SECONDS.keys()), default=UNMARKED_SECONDS)
    items.sort(key=lambda item: -seconds[item.path])  # stable: a file's tests stay together and in order


class FailuresAtOnce:
    """Prints a failed test's name and the end of its traceback as soon as it fails: a run that is cut off has shown
    them.
    """

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
    """Lists tests that failed and passed when run again, with their first failure, so that nobody overlooks them."""
    stats = terminalreporter.stats
    failed = {report.nodeid for report in [*stats.get("failed", []), *stats.get("error", [])]}
    unsteady = [report for report in stats.get("rerun", []) if report.nodeid not in failed]
    if unsteady:
        terminalreporter.section("unsteady", yellow=True)
        for report in unsteady:
            terminalreporter.write_line(f"UNSTEADY {report.nodeid} ({report.when}): failed, then passed", yellow=True)
            terminalreporter.write_line(report.longreprtext)


@pytest.hookimpl(trylast=True)  # after the terminal reporter is registered
def pytest_configure(config: pytest.Config) -> None:
    """With xdist, reports go to the controller, the only process with a terminal to print to."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(terminal), "failures-at-once")


@pytest.fixture(autouse=True, scope="session")
def only_this_machine() -> Iterator[None]:
    """Every connection to another machine fails, with the address in the message."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"  # the path of a Unix socket
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
