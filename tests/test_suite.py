"""The suite itself: a hanging test fails alone, failures are reported at once, unsteady tests are listed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = """
import threading
import pytest

@pytest.mark.timeout(1)
def test_hangs():
    threading.Event().wait()

def test_passes():
    pass

def test_fails():
    assert 1 == 2
"""


def test_a_hanging_test_fails_alone_and_failures_are_told_before_the_end(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_three.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    told, _, summary = ran.stdout.partition("= FAILURES =")
    assert (ran.returncode, "2 failed, 1 passed" in summary) == (1, True), ran.stdout + ran.stderr
    assert "FAILED now: test_three.py::test_hangs (call)" in told
    assert "Timeout (>1.0s) from pytest-timeout" in told
    assert "FAILED now: test_three.py::test_fails (call)" in told
    assert "assert 1 == 2" in told


# As in tests/browser. `unsteady` passes on the second run, `broken` never; a warning is an error on the first run too.
RERUN = """
import warnings
from pathlib import Path

import pytest

@pytest.mark.flaky(reruns=1)
@pytest.mark.parametrize("how", ["assert", "warn"])
def test_unsteady(how, request):
    seen = Path(request.config.rootpath, how)
    if not seen.exists():
        seen.touch()
        if how == "warn":
            warnings.warn("the first time")
        assert how == "warn", "not yet"

@pytest.mark.flaky(reruns=1)
def test_broken():
    assert 1 == 2

def test_fails_without_another_try():
    assert 3 == 4
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_test_that_passes_when_run_again_is_listed_as_unsteady(tmp_path: Path, workers: tuple[str, ...]) -> None:
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_rerun.py").write_text(RERUN)
    command = [sys.executable, "-m", "pytest", *workers, "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    _, _, unsteady = ran.stdout.partition("= unsteady =")
    assert (ran.returncode, "2 failed, 2 passed, 3 rerun" in ran.stdout) == (1, True), ran.stdout + ran.stderr
    assert "UNSTEADY test_rerun.py::test_unsteady[assert] (call): failed, then passed" in unsteady
    assert "AssertionError: not yet" in unsteady
    assert "UserWarning: the first time" in unsteady
    assert "UNSTEADY test_rerun.py::test_broken" not in unsteady


@pytest.mark.slow
def test_the_browser_tests_are_run_again_and_no_others() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "--collect-only", "-q", "-m", "flaky"]
    ran = subprocess.run(
        [*command, "tests/browser/test_seeds.py", "tests/clip"], cwd=ROOT, capture_output=True, text=True
    )
    found = [line for line in ran.stdout.splitlines() if "::" in line]
    assert found, ran.stdout + ran.stderr
    assert all(line.startswith("tests/browser/") for line in found)
